"""The training loop, the only one: restore, evaluate, save, next batch, step, log."""

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax.train import checkpoint, hosts, preempt, shards
from genjax.types import BadInput


class Plan(NamedTuple):
  """When things happen, in steps. `steps_per_dispatch` divides every other number."""

  steps: int
  steps_per_dispatch: int
  log_every: int
  save_every: int
  keep_last: int
  keep_every: int
  select_every: int  # 0: the last step is the result
  nan_steps_allowed: int = 0  # in a row


class Diverged(BadInput):
  """A loss, or the state that it led to, is not finite."""


def train(state, meta: dict, dispatch: Callable, batches: Iterator, plan: Plan, directory: str, *,
          validate: Callable | None, write: Callable, progress: Any) -> Any:
  """Runs from `state` to plan.steps and returns the last state; a save resumes bit for bit.

  dispatch(state, rows) -> state, {metric: [k]}; batches: the raw rows of each dispatch, from the
  state's step on. validate(state) -> a number, smaller is better; the step
  with the smallest is kept as 'best' in the checkpoint's meta. write(step, {metric: float}).
  progress: a tqdm bar. Raises Diverged with the step, its loss terms and the last good checkpoint,
  and Preempted, after a save, where all hosts agreed to stop.
  Checkpoints are written by a thread while training goes on; all are whole when this returns.
  """
  try:
    with futures.ThreadPoolExecutor(1) as writer:
      return _train(state, meta, dispatch, batches, plan, directory, writer, validate, write,
                    progress)
  except Diverged as error:  # by now every save has ended
    saved = checkpoint.steps(directory)
    raise Diverged(f'{error}; last good checkpoint: '
                   f'{f"step {saved[-1]}" if saved else "none"} in {directory}') from None


def _train(state, meta, dispatch, batches, plan, directory, writer, validate, write, progress):
  step = started = int(state.step)
  best, pending, metrics, clock = meta.get('best'), [], {}, time.perf_counter()
  saving, saved = None, started if meta else None
  owed = meta.get('owed', False)  # a validation that a preemption cut short

  def save(owed=False):
    nonlocal saving, saved, pending, clock
    pending, clock = _flush(pending, clock, write, progress, plan)
    if saving:
      saving.result()  # one at a time, and its failure ends the run
    terms = _terms({k: np.atleast_1d(v) for k, v in jax.device_get(metrics).items()}, -1)
    content = {'best': best, **({'owed': True} if owed else {})}
    saving = writer.submit(_save, directory, step, shards.snapshot(state), content, plan, terms)
    saved = step

  while True:
    stop, improved = preempt.poll(), False
    new = step != started
    owed = bool(validate and (new or owed)
                and (step % plan.select_every == 0 or step == plan.steps))
    if owed:
      pending, clock = _flush(pending, clock, write, progress, plan)
      value, stop = (None, True) if stop else _validated(validate, state)
      owed = stop
      if not owed:
        write(step, {'validation': value})
        improved = bool(np.isfinite(value) and (best is None or value < best['value']))
        best = {'step': step, 'value': value} if improved else best
    if improved or owed or new and (step % plan.save_every == 0 or step == plan.steps):
      save(owed)
    if stop and saved != step:
      save()
    if saving and (stop or step >= plan.steps):
      saving.result()
    if stop and step < plan.steps or owed:
      raise preempt.Preempted(f'stopped at step {step}, saved in {directory}')
    if step >= plan.steps:
      return state
    state, metrics = dispatch(state, next(batches))
    pending.append((step, metrics))
    step += plan.steps_per_dispatch
    if step % plan.log_every == 0 or step == plan.steps:
      pending, clock = _flush(pending, clock, write, progress, plan)


def _validated(validate: Callable, state) -> tuple[float | None, bool]:
  """The figure and whether a preemption cut it short: then it is owed."""
  try:
    return validate(state), False
  except preempt.Preempted:
    return None, True


def _flush(pending: list, clock: float, write: Callable, progress, plan: Plan) -> tuple:
  """Fetches the metrics that waited on the device, checks them, and logs their means."""
  if not pending:
    return [], clock
  first = pending[0][0]
  fetched = jax.device_get([metrics for _, metrics in pending])
  metrics = {k: np.concatenate([np.atleast_1d(m[k]) for m in fetched]) for k in fetched[0]}
  count = len(next(iter(metrics.values())))
  skipped = metrics.pop('skipped', np.zeros(count)) > 0
  _check_finite(metrics, first, skipped, plan.nan_steps_allowed)
  now = time.perf_counter()
  means = {} if skipped.all() else {
      k: float(v[~skipped].mean()) for k, v in metrics.items() if k != 'skipped_in_a_row'}
  counted = {'skipped': int(skipped.sum())} if plan.nan_steps_allowed else {}
  write(first + count, {**means, **counted,
                        'steps_per_second': count / max(now - clock, 1e-9)})
  losses = {k.split('/')[0]: v for k, v in means.items() if k.endswith('/loss')}
  progress.update(count)
  progress.set_postfix({k: f'{v:.4g}' for k, v in losses.items()}, refresh=False)
  return [], now


def _check_finite(metrics: dict, first: int, skipped: np.ndarray, allowed: int) -> None:
  bad = metrics.get('skipped_in_a_row', np.zeros(len(skipped))) > allowed
  for name, values in metrics.items():
    if name.endswith(('/loss', '/grad_norm')):
      bad |= ~np.isfinite(values) & ~skipped
  if not bad.any():
    return
  i = int(np.argmax(bad))
  in_a_row = f', the {allowed + 1} last steps alike' if allowed else ''
  raise Diverged(f'training diverged at step {first + i + 1}{in_a_row}: {_terms(metrics, i)}')


def _save(directory: str, step: int, kept: dict, meta: dict, plan: Plan, terms: str) -> None:
  """Saves and deletes what is no longer to be kept; runs in a thread. Raises Diverged.

  Of a state that is not finite although its losses are, it says as much as of a loss.
  """
  try:
    checkpoint.write(directory, step, kept, meta)
  except checkpoint.NotFinite as error:
    raise Diverged(f'training diverged: {error}; {terms}') from None
  if hosts.is_lead():
    protect = (meta['best']['step'],) if meta['best'] else ()
    checkpoint.prune(directory, plan.keep_last, plan.keep_every, protect)


def _terms(metrics: dict, i: int) -> str:
  return ', '.join(f'{k}={float(v[i]):.6g}' for k, v in metrics.items())


def fit(init: Callable, fitted: Callable, directory: str, write: Callable):
  """The one step of a closed form or EM: fits, saves as step 1, and returns the state."""
  clock = time.perf_counter()
  state = init()
  params = jax.block_until_ready(fitted())
  state = state._replace(step=np.int32(1), params={**state.params, 'model': params},
                         ema=params if jax.tree.leaves(state.ema) else ())
  # the log reaches as far as the checkpoints, wherever a kill falls
  write(1, {'fit_seconds': time.perf_counter() - clock})
  checkpoint.save(directory, 1, state, {'best': None})
  return state
