"""The training loop, the only one: restore, evaluate, save, next batch, step, log."""

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax.cluster import checkpoint, hosts, preempt, shards
from genjax.types import BadInput

_AHEAD, _MOST = 0.02, 64  # seconds, and number, of the dispatches that may be under way
_SHOWN = 5.0  # seconds between two looks at the loss where log lines are rarer


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
          validate: Callable | None, write: Callable, progress: Any,
          check_owned: Callable = lambda: None) -> Any:
  """Runs from `state` to plan.steps and returns the last state; a save resumes bit for bit.

  dispatch(state, rows) -> state, {metric: jax array [k]}; batches: the raw rows of each dispatch,
  from the state's step on. validate(state) -> a number, smaller is better; the step
  with the smallest is kept as 'best' in the checkpoint's meta. write(step, {metric: float}).
  progress: a tqdm bar, or what has its update and set_postfix. check_owned(): called before each
  save, raises where the run directory belongs to another process.
  At most two dispatches are under way at a time (of short ones, as many as take 20 ms): whoever
  asks the run to stop waits no longer.
  Raises Diverged with the step, its loss terms and the last good checkpoint, and Preempted, after a
  save, where all hosts agreed to stop.
  Checkpoints are written by a thread while training goes on; all are whole when this returns.
  """
  try:
    with futures.ThreadPoolExecutor(1) as writer:
      return _train(state, meta, dispatch, batches, plan, directory, writer, validate,
                    _Log(plan, write, progress, int(state.step)), check_owned)
  except Diverged as error:  # by now every save has ended
    saved = checkpoint.steps(directory)
    raise Diverged(f'{error}; last good checkpoint: '
                   f'{f"step {saved[-1]}" if saved else "none"} in {directory}') from None


def _train(state, meta, dispatch, batches, plan, directory, writer, validate, log, check_owned):
  step = started = int(state.step)
  best, saving, saved = meta.get('best'), None, started if meta else None
  owed = meta.get('owed', False)  # a validation that a preemption cut short

  def save(owed=False):
    nonlocal saving, saved
    terms = log.flush()
    if saving:
      saving.result()  # one at a time, and its failure ends the run
    content = {'best': best, **({'owed': True} if owed else {})}
    saving = writer.submit(_save, directory, step, shards.snapshot(state), content, plan, terms,
                           check_owned)
    saved = step

  while True:
    stop, improved = preempt.poll(), False
    new = step != started
    owed = bool(validate and (new or owed)
                and (step % plan.select_every == 0 or step == plan.steps))
    if owed:
      log.flush()
      value, stop = (None, True) if stop else _validated(validate, state)
      owed = stop
      if not owed:
        log.write(step, {'validation': value})
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
    log.add(step, metrics)
    step += plan.steps_per_dispatch
    if step % plan.log_every == 0 or step == plan.steps:
      log.flush()


def _validated(validate: Callable, state) -> tuple[float | None, bool]:
  """The figure and whether a preemption cut it short: then it is owed."""
  try:
    return validate(state), False
  except preempt.Preempted:
    return None, True


class _Log:
  """The metrics that wait on the device, and what is known of how far the device is."""

  def __init__(self, plan: Plan, write: Callable, progress: Any, step: int):
    self.plan, self.write, self.progress = plan, write, progress
    self.pending, self.terms, self.counted = [], '', step
    self.ahead, self.most = 0, 2  # dispatches under way: now, and how many may be
    self.clock = self.shown = self.waited = time.perf_counter()

  def add(self, first: int, metrics: dict) -> None:
    """Metrics of a dispatch at step `first`, just begun; waits where too much is under way.

    At most two dispatches are, or as many as take _AHEAD seconds: to wait for each of the short
    ones would cost them a tenth of their time.
    """
    self.pending.append((first, metrics))
    self.ahead += 1
    if self.ahead < self.most:
      return
    left = self.most // 2
    done = self.pending[-1 - left][1]
    next(iter(done.values())).block_until_ready()
    now = time.perf_counter()
    seconds = (now - self.waited) / (self.ahead - left)  # of a dispatch
    self.most = int(min(max(_AHEAD / max(seconds, 1e-9), 2), _MOST))
    self.ahead, self.waited = left, now
    self._count(self.pending[-left][0])
    if now - self.shown > _SHOWN:
      self._show({name: np.mean(jax.device_get(value)) for name, value in done.items()
                  if name.endswith('/loss')})

  def flush(self) -> str:
    """Fetches what waits, checks it and logs its means; the terms of the last step as a text."""
    if not self.pending:
      return self.terms
    first, plan = self.pending[0][0], self.plan
    metrics = _fetched([metrics for _, metrics in self.pending])
    self.terms, self.pending = _terms(metrics, -1), []
    count = len(next(iter(metrics.values())))
    skipped = metrics.pop('skipped', np.zeros(count)) > 0
    _check_finite(metrics, first, skipped, plan.nan_steps_allowed)
    now = time.perf_counter()
    means = {} if skipped.all() else {
        k: float(v[~skipped].mean()) for k, v in metrics.items() if k != 'skipped_in_a_row'}
    counted = {'skipped': int(skipped.sum())} if plan.nan_steps_allowed else {}
    self.write(first + count, {**means, **counted,
                               'steps_per_second': count / max(now - self.clock, 1e-9)})
    self._count(first + count)
    self._show({k: v for k, v in means.items() if k.endswith('/loss')})
    self.ahead, self.clock, self.waited = 0, now, now
    return self.terms

  def _count(self, step: int) -> None:
    self.progress.update(step - self.counted)
    self.counted = step

  def _show(self, losses: dict) -> None:
    self.progress.set_postfix({k.split('/')[0]: f'{v:.4g}' for k, v in losses.items()},
                              refresh=False)
    self.shown = time.perf_counter()


def _fetched(pending: list[dict]) -> dict[str, np.ndarray]:
  """{metric: its values [steps]} of the metrics of dispatches, in their order.

  jax.device_get takes 9 us a value on a CPU, where there is nothing to copy: with 8 metrics a step
  7 % of a step of 1 ms.
  """
  for metrics in pending if jax.default_backend() != 'cpu' else ():
    for value in metrics.values():
      value.copy_to_host_async()  # all are under way before the first is waited for
  return {name: np.concatenate([np.ravel(metrics[name]) for metrics in pending])
          for name in sorted(pending[0])}


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


def _save(directory: str, step: int, kept: dict, meta: dict, plan: Plan, terms: str,
          check_owned: Callable) -> None:
  """Saves and deletes what is no longer to be kept; runs in a thread. Raises Diverged.

  A state that is not finite although its losses are is reported like a loss.
  """
  check_owned()
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
