"""The one training loop: validate, save, next batch, step, log."""

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax.cluster import checkpoint, hosts, preempt, shards
from genjax.types import BadInput

_AHEAD, _MOST = 0.02, 64  # limits of the dispatches under way: their seconds, their number
_SHOWN = 5.0  # seconds between updates of the loss in the progress bar, if log lines are rarer


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
  """A loss, or the state after it, is not finite."""


def train(state, meta: dict, dispatch: Callable, batches: Iterator, plan: Plan, directory: str, *,
          validate: Callable | None, write: Callable, progress: Any,
          check_owned: Callable = lambda: None) -> Any:
  """Trains from `state` to plan.steps and returns the last state; a save resumes bit for bit.

  meta: of the checkpoint from which the run continues; {} for a new run.
  dispatch: (state, rows) -> state, {metric: jax array [k]}.
  batches: the raw rows of each dispatch, from the state's step on.
  directory: of the checkpoints.
  validate: state -> a number, smaller is better. The step with the smallest is 'best' in meta.
  write: (step, {metric: float}) -> None, the log.
  progress: an object with the `update` and `set_postfix` of a tqdm bar.
  check_owned: called before each save; raises if the run directory belongs to another process.

  At most two dispatches are under way at a time (for short ones, as many as take 20 ms), so that a
  request to stop is soon obeyed. A thread writes checkpoints while training continues; all are
  complete on return. Raises Diverged with the step, its loss terms and the last good checkpoint,
  and after a save Preempted, if all hosts agreed to stop.
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
  """(value, False), or (None, True) if a preemption cut the validation short."""
  try:
    return validate(state), False
  except preempt.Preempted:
    return None, True


class _Log:
  """Metrics that are still on the device, and how many dispatches it has not finished."""

  def __init__(self, plan: Plan, write: Callable, progress: Any, step: int):
    self.plan, self.write, self.progress = plan, write, progress
    self.pending, self.terms, self.counted = [], '', step
    self.ahead, self.most = 0, 2  # dispatches under way: now, at most
    self.clock = self.shown = self.waited = time.perf_counter()

  def add(self, first: int, metrics: dict) -> None:
    """Adds the metrics of a dispatch from step `first` on; waits if too many are under way.

    At most two are, or as many as take _AHEAD seconds: a wait for each short dispatch would cost a
    tenth of its time.
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
    """Fetches the metrics, checks them, logs their means; returns the last step's terms as text."""
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
  """{metric: its values [steps]} of consecutive dispatches.

  jax.device_get takes 9 us per value on a CPU, where nothing needs to be copied: 7 % of a step of
  1 ms with 8 metrics.
  """
  for metrics in pending if jax.default_backend() != 'cpu' else ():
    for value in metrics.values():
      value.copy_to_host_async()  # start all copies before waiting for the first
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
  """Saves, and deletes old checkpoints; runs in a thread.

  Raises Diverged for a non-finite state, as for a non-finite loss.
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
  """Fits in closed form or by EM, saves the result as step 1, and returns the state."""
  clock = time.perf_counter()
  state = init()
  params = jax.block_until_ready(fitted())
  state = state._replace(step=np.int32(1), params={**state.params, 'model': params},
                         ema=params if jax.tree.leaves(state.ema) else ())
  # the log is written first, so that it reaches as far as the checkpoints even after a kill
  write(1, {'fit_seconds': time.perf_counter() - clock})
  checkpoint.save(directory, 1, state, {'best': None})
  return state
