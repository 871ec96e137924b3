"""Glow: activations after the adaptation to a batch, once per run and on any number of devices."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import genjax
from genjax.models import bijection, glow
from genjax.types import BadInput, DataSpec
from tests.networks import family, jit, moved

SMALL = 'configs/digits.py:family=glow,objective=kl,model.num_layers=2,conditioner.width=8,'
SMALL += 'conditioner.num_blocks=1'


def test_activations_of_the_first_batch_have_mean_0_and_variance_1():
  step = bijection.chain(actnorm=glow.actnorm(4), mix=glow.invertible_convolution(4))
  steps = bijection.repeated(step, 3)
  x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (8, 4, 4, 4)) * np.arange(1.0, 5.0)
  params = moved(steps.init(jax.random.key(1)), 0.3)

  @jit
  def activations(params, x):
    params, seen = steps.adapt(params, x, None), []
    for i in range(3):
      one = jax.tree.map(lambda leaf: leaf[i], params)
      seen.append(glow.actnorm(4).forward(one['actnorm'], x, None)[0])
      x = step.forward(one, x, None)[0]
    return seen

  for seen in activations(params, x):
    np.testing.assert_allclose(np.mean(seen, (0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.std(seen, (0, 1, 2)), 1.0, atol=1e-4)


@pytest.mark.parametrize('shape, kw, named', [
    ((2,), {}, r'needs images.*\(2,\)'), ((7, 8, 1), {}, 'num_scales = None.*use flow'),
    ((28, 28, 1), {'num_scales': 3}, 'num_scales = 3.*allowed: 1, 2')])
def test_bad_input(shape, kw, named):
  with pytest.raises(BadInput, match=named):
    family('glow', DataSpec(shape, None, None), **kw)


@pytest.mark.parametrize('side, scales', [
    (8, 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((28, 2), (32, 3), (64, 3)))])
def test_scales_by_the_side(side, scales):
  model = family('glow', DataSpec((side, side, 3), 256, None), num_layers=1)
  params = jax.eval_shape(model.init, jax.random.key(0), None)
  assert len(params['scales']) == scales
  assert params['scales'][f'scale_{scales - 1}']['steps']['mix']['lower'].shape[-1] == (
      3 * 2**(scales + 1))


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_run_and_adapts_once(tmp_path):
  def trained(workdir, steps):
    genjax.train(genjax.config(SMALL, {
        'steps': steps, 'steps_per_dispatch': 1, 'log.every': 1, 'checkpoint.every': 2,
        'batch_size': 16, 'evals.names': (), 'select.metric': '', 'optim.decay': 'constant',
        'optim.warmup': 0}), tmp_path / workdir)
    path = tmp_path / workdir / f'checkpoints/{steps}/checkpoint.json'
    return json.loads(path.read_text())['content']['arrays']

  trained('parts', 2)
  assert trained('parts', 4) == trained('whole', 4)
  _, params, _ = genjax.load(tmp_path / 'whole')
  assert np.abs(params['scales']['scale_0']['steps']['actnorm']['bias'][0]).max() > 0.1


ON_DEVICES = f'''
import jax, numpy as np
from genjax import configs, sharding, wiring
from genjax.runs import origins
config = configs.load('{SMALL}')
run, states = wiring.run(config), []
for count, fsdp in ((1, 1), (8, 1), (8, 2)):
  mesh = sharding.make_mesh(fsdp, jax.devices()[:count])
  with sharding.on(mesh):
    like = wiring.abstract_state(config, run, mesh)
    state = origins.adapted(config, run, origins.fresh(config, run, like))
    assert count == 1 or all(a.sharding == b.sharding for a, b in zip(
        *map(jax.tree.leaves, (state.params, like.params))))
  states.append(jax.tree.leaves(jax.tree.map(np.asarray, (state.params, state.ema))))
assert max(np.abs(a).max() for a in states[0]) > 0.5
for other in states[1:]:
  for a, b in zip(states[0], other):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
'''


@pytest.mark.slow
def test_eight_devices_adapt_as_one_does():
  flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'
  done = subprocess.run([sys.executable, '-c', ON_DEVICES], capture_output=True, text=True,
                        env={**os.environ, 'XLA_FLAGS': flags})
  assert done.returncode == 0, done.stderr
