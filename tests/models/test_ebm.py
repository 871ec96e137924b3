"""The energy-based model: confinement, the chain that samples it, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.types import BadInput, DataSpec
from tests.networks import family

PLANE = DataSpec((2,), None, None)
IMAGE = DataSpec((8, 8, 1), 17, 10)
RNG = jax.random.key(0)


def mlp(features):
  return {'energy': {'features': features}}


@pytest.mark.slow
def test_zero_network_samples_its_confinement():
  """With f = 0 the density is N(0, s^2 I); the chain's bias is 1 / (1 - e/2), e = step / 2s^2."""
  model = family('ebm', PLANE, mlp((8,)), confinement=0.5, sampler_steps=200, step_size=0.05,
                 init_scale=3.0)
  params = jax.tree.map(jnp.zeros_like, jax.jit(model.init)(RNG, {'x': jnp.zeros((1, 2))}))
  x, nfe = jax.jit(lambda p, rng: model.sample(p, rng, 20_000, None))(params, RNG)
  assert x.shape == (20_000, 2) and int(nfe) == 200
  np.testing.assert_allclose(x.mean(0), 0.0, atol=0.015)
  np.testing.assert_allclose(x.var(0), 0.25 / (1 - 0.05 / 0.25 / 4), rtol=0.03)


def test_energy_is_the_network_plus_the_confinement():
  model = family('ebm', IMAGE, mlp((16,)), confinement=0.5)
  batch = {'x': jax.random.uniform(RNG, (5, 8, 8, 1))}
  params = jax.jit(model.init)(RNG, batch)
  wide = family('ebm', IMAGE, mlp((16,)), confinement=1e6)
  gap = model.energy(params, batch['x'], None) - wide.energy(params, batch['x'], None)
  np.testing.assert_allclose(gap, 2 * (batch['x'] ** 2).sum((1, 2, 3)), rtol=1e-4)


def test_energy_grows_in_every_direction():
  model = family('ebm', IMAGE)
  params = jax.jit(model.init)(RNG, {'x': jnp.zeros((1, 8, 8, 1))})
  direction = jax.random.normal(RNG, (64, 8, 8, 1))
  near, far = (model.energy(params, scale * direction, None) for scale in (10.0, 20.0))
  assert (far > near).all()


def test_energy_takes_second_derivatives():
  model = family('ebm', PLANE, mlp((16, 16)))
  params = jax.jit(model.init)(RNG, {'x': jnp.zeros((1, 2))})
  score = lambda x: -jax.grad(lambda x: model.energy(params, x, None).sum())(x)
  x, v = jax.random.normal(RNG, (4, 2)), jnp.ones((4, 2))
  along = jax.jvp(score, (x,), (v,))[1]
  step = 1e-2
  np.testing.assert_allclose(along, (score(x + step * v) - score(x - step * v)) / (2 * step),
                             atol=1e-3)


def test_bad_input():
  with pytest.raises(BadInput, match='sampler_steps=0'):
    family('ebm', PLANE, sampler_steps=0)
  with pytest.raises(BadInput, match='unknown activation'):
    family('ebm', PLANE, {'energy': {'activation': 'swishh'}}).init(RNG, {'x': jnp.zeros((1, 2))})
