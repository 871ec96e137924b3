"""The loop on a step that is no training: when it saves, logs, selects, and stops."""

import itertools
import types

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.train import checkpoint, loop
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
        'model/nll': losses, 'model/loss': losses}

  return dispatch


def train(directory, dispatch, *, num=40, log_every=10, save_every=10, validate=None, keep_last=9):
  written = []
  plan = loop.Plan(num, 5, log_every, save_every, keep_last, 0, 10)
  last = loop.train(start(), {}, dispatch, itertools.repeat(()), plan, directory, progress=BAR,
                    validate=validate, write=lambda *row: written.append(row))
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
