"""The train step against what it must do, written out by hand."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.train import step
from genjax.types import Aux, Model, Objective, Player

ROOT = pathlib.Path(__file__).parent.parent.parent
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


def two_players(num_critic=2):
  return Objective(init, (Player('critic', critic_loss, ('critic',), num_critic),
                          Player('model', model_loss, ('model',))), Model(init))


def start(objective, ema=0.0):
  rules = {p.name: optax.sgd(LR) for p in objective.players}
  params, carry = objective.init(None, None)
  made = step.make_step(objective, rules, seed=0, ema=ema, prepare=lambda batch, rng: batch)
  return made, step.init_state(objective, rules, params, carry, ema)


def test_each_update_sees_its_own_slice_and_moves_its_own_subtrees():
  made, state = start(two_players())
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
  made, state = start(two_players(), ema=0.9)
  x = np.ones((12, 2), np.float32)
  after, _ = made(state, {'x': x})
  decay = min(0.9, 1 / 10)
  np.testing.assert_allclose(
      after.ema['w'], decay * 1.0 + (1 - decay) * np.asarray(after.params['model']['w']), rtol=1e-6)


def test_k_steps_in_one_dispatch_are_k_steps():
  made, state = start(two_players())
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
  rng = jax.random.fold_in(jax.random.key(0), 0)
  noise = [jax.random.normal(jax.random.fold_in(rng, i), (4, 2)).mean(0) for i in range(2)]
  np.testing.assert_allclose(moved, LR * (noise[0] + noise[1]), rtol=1e-4)


DEVICES = '''
import jax, numpy as np
from configs import defaults
from genjax import build, sharding
from genjax.train import init, step
config = defaults.get()
config.objective.name, config.model.family = 'wasserstein', 'implicit'
config.critic.kw = {'features': (256, 256)}
config.batch_size = 16
run = build.run(config)
like = build.abstract_state(config, run)
state = init.initialise(run.init, jax.random.key(0), build.first_rows(config, run))
mesh = sharding.make_mesh(fsdp=FSDP)
dispatch = step.compile_step(run.step, 1, mesh, like)
for i in range(2):
  state, metrics = dispatch(state, run.source[i])
print([f'{float(v):.9g}' for v in metrics.values()])
'''


@pytest.mark.slow
def test_one_and_eight_devices_take_the_same_step():
  results = []
  for count, fsdp in ((1, 1), (8, 1), (8, 4)):
    env = {**os.environ, 'XLA_FLAGS': f'--xla_force_host_platform_device_count={count}'}
    done = subprocess.run([sys.executable, '-c', DEVICES.replace('FSDP', str(fsdp))], env=env,
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results.append([float(v.strip("'")) for v in done.stdout.strip()[1:-1].split(', ')])
  np.testing.assert_allclose(results[1], results[0], rtol=1e-4)
  np.testing.assert_allclose(results[2], results[0], rtol=1e-4)
