"""The train step against what it must do, written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import defaults
from genjax import sharding, wiring
from genjax.numerics import streams
from genjax.train import step
from genjax.types import Aux, BadInput, Model, Objective, Player

LR = 0.1


def init(rng, batch):
  del rng, batch
  return {'model': {'w': jnp.ones(2)}, 'critic': {'v': jnp.ones(2)}, 'target': {'w': jnp.zeros(2)},
          'frozen': {'w': jnp.full(2, 5.0)}}, ()


def model_loss(params, carry, batch, rng, t):
  del rng, t
  loss = jnp.mean(batch['x'] @ params['model']['w'] * params['critic']['v'].sum())
  return loss, Aux({'term': loss}, carry, {'target/w': params['model']['w']})


def critic_loss(params, carry, batch, rng, t):
  del rng, t
  return -jnp.mean(batch['x'] @ params['model']['w']) * params['critic']['v'].sum(), Aux({}, carry)


def through_sampless(num_critic=2):
  return Objective(init, (Player('critic', critic_loss, ('critic',), num_critic),
                          Player('model', model_loss, ('model',))), Model(init))


def start(objective, ema=0.0):
  rules = {p.name: optax.sgd(LR) for p in objective.players}
  params, carry = objective.init(None, None)
  made = step.make_step(objective, rules, seed=0, ema=ema, prepare=lambda batch, rng: batch)
  return made, step.init_state(objective, rules, params, carry, ema)


def test_each_update_sees_its_own_slice_and_moves_its_own_subtrees():
  made, state = start(through_sampless())
  x = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
  after, metrics = jax.jit(made)(state, {'x': x})
  w, v = np.ones(2), np.ones(2)
  for i in range(2):  # the critic, on rows 0, 3, 6, 9 and then 1, 4, 7, 10
    v = v + LR * np.mean(x[i::3] @ w)
  w_after = w - LR * x[2::3].mean(0) * v.sum()
  np.testing.assert_allclose(after.params['critic']['v'], v, rtol=1e-5)
  np.testing.assert_allclose(after.params['model']['w'], w_after, rtol=1e-5)
  np.testing.assert_array_equal(after.params['frozen']['w'], 5.0)
  # written through Aux.writes: what the model was when its loss was computed
  np.testing.assert_array_equal(after.params['target']['w'], 1.0)
  assert set(after.opt_state) == {'critic', 'model'}
  assert {'critic/loss', 'model/loss', 'model/term', 'model/grad_norm'} <= set(metrics)
  assert int(after.step) == 1


def test_the_average_warms_up():
  made, state = start(through_sampless(), ema=0.9)
  x = np.ones((12, 2), np.float32)
  after, _ = made(state, {'x': x})
  decay = min(0.9, 1 / 10)
  np.testing.assert_allclose(
      after.ema['w'], decay * 1.0 + (1 - decay) * np.asarray(after.params['model']['w']), rtol=1e-6)


def test_k_steps_in_one_dispatch_are_k_steps():
  made, state = start(through_sampless())
  x = np.random.default_rng(0).normal(size=(4, 12, 2)).astype(np.float32)
  one = state
  for rows in x:
    one, _ = made(one, {'x': rows})
  many, metrics = jax.jit(step.repeat(made, 4))(state, {'x': x})
  assert metrics['model/loss'].shape == (4,)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def noisy_loss(params, carry, batch, rng, t):
  del t
  noise = jax.random.normal(rng, batch['x'].shape)
  return jnp.mean((batch['x'] + noise) @ params['model']['w']), Aux({}, carry)


def test_every_slice_and_step_has_its_own_noise():
  objective = Objective(init, (Player('model', noisy_loss, ('model',), 2),), Model(init))
  made, state = start(objective)
  x = {'x': np.zeros((8, 2), np.float32)}
  first, m1 = made(state, x)
  _, m2 = made(first, x)
  again, _ = made(state, x)
  assert float(m1['model/loss']) != float(m2['model/loss'])
  np.testing.assert_array_equal(first.params['model']['w'], again.params['model']['w'])
  moved = np.ones(2) - np.asarray(first.params['model']['w'])
  rng = streams.stream(0, streams.Purpose.TRAINING, 0)
  noise = [jax.random.normal(jax.random.fold_in(rng, i), (4, 2)).mean(0) for i in range(2)]
  np.testing.assert_allclose(moved, LR * (noise[0] + noise[1]), rtol=1e-4)


def start_accumulating(objective, k, nan_steps_allowed=0):
  rules = {p.name: optax.sgd(LR) for p in objective.players}
  params, carry = objective.init(None, None)
  made = step.make_step(objective, rules, seed=0, ema=0.0, prepare=lambda batch, rng: batch,
                        accumulate=k, nan_steps_allowed=nan_steps_allowed)
  return made, step.init_state(objective, rules, params, carry, 0.0, nan_steps_allowed)


def test_accumulated_gradients_are_the_mean_of_k_gradients_with_k_keys():
  objective = Objective(init, (Player('model', noisy_loss, ('model',), 2),), Model(init))
  made, state = start_accumulating(objective, 3)
  x = np.random.default_rng(0).normal(size=(24, 2)).astype(np.float32)
  after, metrics = jax.jit(made)(state, {'x': x})
  w, losses = np.ones(2), []
  rng = streams.stream(0, streams.Purpose.TRAINING, 0)
  for i in range(2):
    gradients = []
    for part in range(3):
      rows = x[i::2][part::3]
      noise = jax.random.normal(jax.random.fold_in(jax.random.fold_in(rng, i), part), rows.shape)
      gradients.append(np.mean(rows + noise, 0))
      losses.append(gradients[-1] @ w)
      losses[-1] = float(np.mean((rows + noise) @ w))
    w = w - LR * np.mean(gradients, 0)
  np.testing.assert_allclose(after.params['model']['w'], w, rtol=1e-5)
  np.testing.assert_allclose(metrics['model/loss'], np.mean(losses), rtol=1e-5)


def test_rows_of_the_carry_are_cut_like_the_batch_and_keep_their_places():
  def init_rows(rng, batch):
    return {'model': {'w': jnp.ones(2)}}, {'rows': {'seen': jnp.zeros((6, 2))},
                                           'rest': jnp.zeros(())}

  def loss(params, carry, batch, rng, t):
    rows = {'seen': carry['rows']['seen'] + batch['x']}
    carry = {'rows': rows, 'rest': carry['rest'] + 1}
    return jnp.mean(batch['x'] @ params['model']['w']), Aux({}, carry)

  objective = Objective(init_rows, (Player('model', loss, ('model',)),), Model(init_rows))
  made, state = start_accumulating(objective, 3)
  x = np.arange(12, dtype=np.float32).reshape(6, 2)
  after, _ = jax.jit(made)(state, {'x': x})
  np.testing.assert_array_equal(after.carry['rows']['seen'], x)
  assert float(after.carry['rest']) == 3


@pytest.mark.parametrize('poisoned', ['model', 'critic'])
def test_a_step_that_is_not_finite_changes_no_player_and_is_counted(poisoned):
  made, state = start_accumulating(through_sampless(), 1, nan_steps_allowed=2)
  made = jax.jit(made)
  good = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
  bad = good.copy()
  bad[{'critic': 0, 'model': 2}[poisoned]] = np.nan  # a row of that player's slice
  one, m_one = made(state, {'x': good})
  two, m_two = made(one, {'x': bad})
  three, m_three = made(two, {'x': good})
  assert [int(m['skipped']) for m in (m_one, m_two, m_three)] == [0, 1, 0]
  assert [int(m['skipped_in_a_row']) for m in (m_one, m_two, m_three)] == [0, 1, 0]
  assert not np.isfinite(m_two[f'{poisoned}/loss'])
  assert int(two.step) == 2 and list(np.asarray(three.skipped)) == [1, 0]
  for name in ('params', 'opt_state', 'ema', 'carry'):
    for a, b in zip(jax.tree.leaves(getattr(one, name)), jax.tree.leaves(getattr(two, name)),
                    strict=True):
      np.testing.assert_array_equal(a, b)
  assert not np.array_equal(three.params['model']['w'], two.params['model']['w'])


REFUSED = (('wasserstein', {'estimator': 'sinkhorn'}, 'transport plan'),
           ('kl', {'free_bits': 0.5}, 'free bits'))


@pytest.mark.parametrize('name,kw,words', REFUSED)
def test_what_couples_examples_is_not_accumulated(name, kw, words):
  config = defaults.get()
  config.accumulate, config.batch_size = 2, 8
  config.objective.name = name
  config.objective.kw = kw
  with pytest.raises(BadInput, match=f'accumulate=2.*{words}.*allowed: accumulate=1'):
    wiring.run(config)


def test_parts_must_divide_the_batch():
  config = defaults.get()
  config.accumulate, config.batch_size = 3, 8
  with pytest.raises(BadInput, match='accumulate=3 does not divide batch_size=8'):
    wiring.run(config)


def convolving(params, carry, batch, rng, t):
  """A loss of a convolution, of which the noise differs by step."""
  del t
  y = jax.lax.conv_general_dilated(batch['x'], params['model']['k'], (1, 1), 'SAME',
                                   dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  loss = jnp.mean((y - jax.random.normal(rng, y.shape)) ** 2)
  return loss, Aux({'term': loss}, carry)


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='loops are slow on a CPU alone')
def test_steps_with_convolutions_stand_in_no_loop_on_a_cpu(monkeypatch):
  """Three steps in one dispatch are those of the loop, and compiled without one."""
  objective = Objective(None, (Player('model', convolving, ('model',)),), Model(None))
  rules = {'model': optax.sgd(LR)}
  params = {'model': {'k': jnp.ones((3, 3, 2, 2)) / 18.0}}
  made = step.make_step(objective, rules, seed=0, ema=0.0, prepare=lambda batch, rng: batch)
  state = step.init_state(objective, rules, params, (), 0.0)
  rows = {'x': np.random.default_rng(0).normal(size=(3, 4, 5, 5, 2)).astype(np.float32)}
  expected, metrics = jax.jit(step.repeat(made, 3))(state, rows)
  run, compiled = [], sharding.compiled
  monkeypatch.setattr(sharding, 'compiled', lambda lowered, *words: run.append(lowered) or
                      compiled(lowered))
  shapes = jax.eval_shape(lambda: (state, {'x': jnp.zeros((4, 5, 5, 2))}))
  found, terms = step.compile_step(made, 3, sharding.make_mesh(devices=jax.devices()[:1]),
                                   *shapes)(state, rows)
  assert len(run) == 1 and '3x4x5x5x2xf32' not in run[0].as_text()  # the rows of one step
  assert int(found.step) == 3 and terms['model/loss'].shape == (3,)
  np.testing.assert_allclose(found.params['model']['k'], expected.params['model']['k'], rtol=1e-5)
  assert jax.tree.structure(terms) == jax.tree.structure(metrics)
  np.testing.assert_allclose(terms['model/loss'], metrics['model/loss'], rtol=1e-5)
