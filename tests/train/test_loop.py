"""The loop on a step that is no training: when it saves, logs, selects, and stops."""

import itertools
import types

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.cluster import checkpoint, preempt
from genjax.train import loop
from genjax.types import TrainState

BAR = types.SimpleNamespace(update=lambda n: None, set_postfix=lambda *args, **kw: None)


def start():
  return TrainState(jnp.int32(0), {'model': {'w': jnp.zeros(3)}}, {}, (), ())


def steps(loss=lambda step: 1.0, param=lambda step: 0.0, k=5):
  """A dispatch of k steps; loss and param are functions of the step that is reached."""
  def dispatch(state, rows):
    reached = int(state.step) + 1 + np.arange(k)
    losses = np.array([loss(n) for n in reached], np.float32)
    last = int(reached[-1])
    params = {'model': {'w': jnp.full(3, param(last), jnp.float32)}}
    return state._replace(step=jnp.int32(last), params=params), {
        'model/nll': jnp.asarray(losses), 'model/loss': jnp.asarray(losses)}

  return dispatch


def train(directory, dispatch, *, num=40, log_every=10, save_every=10, validate=None, keep_last=9,
          nan_steps_allowed=0, state=None, meta=None):
  written = []
  plan = loop.Plan(num, 5, log_every, save_every, keep_last, 0, 10, nan_steps_allowed)
  last = loop.train(state or start(), meta or {}, dispatch, itertools.repeat(()), plan, directory,
                    progress=BAR, validate=validate, write=lambda *row: written.append(row))
  return last, written


def test_logs_and_saves_at_its_intervals(tmp_path):
  last, written = train(tmp_path, steps(loss=float), num=25)
  assert int(last.step) == 25 and checkpoint.steps(tmp_path) == [10, 20, 25]
  assert [step for step, _ in written] == [10, 20, 25]
  assert [row['model/loss'] for _, row in written] == [5.5, 15.5, 23.0]


def test_a_loss_that_is_not_finite_stops_at_its_step_and_names_the_last_good_one(tmp_path):
  bad = steps(loss=lambda step: np.nan if step >= 23 else 0.5)
  with pytest.raises(loop.Diverged, match=(
      rf'diverged at step 23: model/loss=nan, model/nll=nan; '
      rf'last good checkpoint: step 20 in {tmp_path}')):
    train(tmp_path, bad, log_every=40)  # found at the save, before it is made
  assert checkpoint.steps(tmp_path) == [10, 20]


def test_a_state_that_is_not_finite_although_its_loss_is(tmp_path):
  bad = steps(param=lambda step: np.inf if step > 20 else 0.0)
  with pytest.raises(loop.Diverged, match=(
      'diverged: the state of step 30 is not finite and was not saved: params/model/w; '
      'model/loss=1, model/nll=1; last good checkpoint: step 20 in ')):
    train(tmp_path, bad)
  assert checkpoint.steps(tmp_path) == [10, 20]


def test_none_is_said_when_nothing_was_saved(tmp_path):
  with pytest.raises(loop.Diverged, match='step 1: .*last good checkpoint: none in '):
    train(tmp_path, steps(loss=lambda step: np.inf))
  assert checkpoint.steps(tmp_path) == []


def test_the_best_validated_step_is_kept(tmp_path):
  values = {10: 3.0, 20: 1.0, 30: float('nan'), 40: 2.0}
  train(tmp_path, steps(), validate=lambda state: values[int(state.step)], keep_last=1)
  assert checkpoint.steps(tmp_path) == [20, 40]
  meta = checkpoint.restore(tmp_path, start())[1]
  assert meta == {'best': {'step': 20, 'value': 1.0}}


def skipping(bad, k=5):
  """A dispatch whose steps in `bad` were skipped."""
  def dispatch(state, rows):
    reached = int(state.step) + 1 + np.arange(k)
    losses = np.array([np.nan if n in bad else float(n) for n in reached], np.float32)
    in_a_row = [sum(all(m in bad for m in range(j, n + 1)) for j in range(1, n + 1))
                for n in reached]
    return state._replace(step=jnp.int32(reached[-1])), {
        'model/loss': jnp.asarray(losses), 'skipped': jnp.asarray(np.isin(reached, bad), jnp.int32),
        'skipped_in_a_row': jnp.asarray(in_a_row)}

  return dispatch


def test_skipped_steps_are_counted_and_in_no_mean(tmp_path):
  _, written = train(tmp_path, skipping([3, 4, 12]), num=20, nan_steps_allowed=2)
  rows = dict(written)
  assert [rows[n]['skipped'] for n in (10, 20)] == [2, 1]
  assert rows[10]['model/loss'] == np.mean([1, 2, 5, 6, 7, 8, 9, 10])
  assert 'skipped_in_a_row' not in rows[10]


def test_more_in_a_row_than_allowed_is_the_end(tmp_path):
  with pytest.raises(loop.Diverged, match='at step 14, the 3 last steps alike: model/loss=nan'):
    train(tmp_path, skipping([3, 4, 12, 13, 14, 15]), nan_steps_allowed=2)


class Notice:
  """SIGTERM is noticed at the n-th poll."""

  def __init__(self, monkeypatch, at):
    self.left = at
    monkeypatch.setattr(preempt, 'poll', self)

  def __call__(self):
    self.left -= 1
    return self.left < 0


def test_a_preemption_saves_the_step_it_finds_and_the_rest_is_as_if_it_had_not_been(
    tmp_path, monkeypatch):
  whole, _ = train(tmp_path / 'whole', steps(param=float))
  with monkeypatch.context() as patch:
    Notice(patch, 5)  # before steps 0, 5, 10, 15, 20: found before 25
    with pytest.raises(preempt.Preempted, match='stopped at step 25'):
      train(tmp_path / 'run', steps(param=float))
  state, meta, step, _ = checkpoint.restore(tmp_path / 'run', start())
  assert step == 25 and checkpoint.steps(tmp_path / 'run') == [10, 20, 25]
  last, _ = train(tmp_path / 'run', steps(param=float), state=state, meta=meta)
  np.testing.assert_array_equal(last.params['model']['w'], whole.params['model']['w'])


def test_a_validation_that_a_preemption_cut_short_is_made_up_for(tmp_path, monkeypatch):
  values = {10: 3.0, 20: 1.0, 30: 5.0, 40: 2.0}

  def cut(state):
    if int(state.step) == 20:
      raise preempt.Preempted
    return values[int(state.step)]

  with pytest.raises(preempt.Preempted, match='stopped at step 20'):
    train(tmp_path, steps(), validate=cut)
  state, meta, step, _ = checkpoint.restore(tmp_path, start())
  assert step == 20 and meta == {'best': {'step': 10, 'value': 3.0}, 'owed': True}
  train(tmp_path, steps(), validate=lambda state: values[int(state.step)], state=state, meta=meta)
  assert checkpoint.restore(tmp_path, start())[1] == {'best': {'step': 20, 'value': 1.0}}


def test_a_notice_at_a_validated_step_leaves_the_validation_owed(tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    Notice(patch, 4)  # before 20, where a validation is due
    with pytest.raises(preempt.Preempted, match='stopped at step 20'):
      train(tmp_path, steps(), validate=lambda state: 1.0)
  assert checkpoint.restore(tmp_path, start())[1]['owed'] is True


class Computed:
  """A metric that is on its way until somebody has waited for it."""

  def __init__(self, on_its_way):
    self.on_its_way = on_its_way
    on_its_way.append(self)

  def block_until_ready(self):
    if self in self.on_its_way:
      del self.on_its_way[:self.on_its_way.index(self) + 1]
    return self

  def __array__(self, dtype=None, copy=None):
    self.block_until_ready()
    return np.full(5, 0.5, np.float32)


@pytest.mark.parametrize('seconds, allowed', [(0.0, 2), (0.02, loop._MOST)])
def test_at_most_two_dispatches_are_on_their_way_or_those_of_20_ms(
    tmp_path, monkeypatch, seconds, allowed):
  """Log lines are rare: a signal must not wait for the steps until the next."""
  on_its_way, most, seen = [], [], []
  real = steps()
  monkeypatch.setattr(loop, '_AHEAD', seconds)

  def dispatch(state, rows):
    most.append(len(on_its_way) + 1)
    return real(state, rows)[0], {'model/loss': Computed(on_its_way)}

  bar = types.SimpleNamespace(update=seen.append, set_postfix=lambda *args, **kw: None)
  plan = loop.Plan(1000, 5, 1000, 1000, 9, 0, 0)
  loop.train(start(), {}, dispatch, itertools.repeat(()), plan, tmp_path, progress=bar,
             validate=None, write=lambda *row: None)
  assert (2 if seconds == 0.0 else 3) <= max(most) <= allowed
  assert sum(seen) == 1000 and len(most) == 200
  assert seconds or seen == [5] * 200  # the bar moves with every step


def test_a_directory_of_another_owner_is_not_written(tmp_path):
  class TakenOver(Exception):
    pass

  def check_owned():
    raise TakenOver

  plan = loop.Plan(40, 5, 10, 10, 9, 0, 0)
  with pytest.raises(TakenOver):
    loop.train(start(), {}, steps(), itertools.repeat(()), plan, tmp_path, progress=BAR,
               validate=None, write=lambda *row: None, check_owned=check_owned)
  assert checkpoint.steps(tmp_path) == []
