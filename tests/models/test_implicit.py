"""The generator: its shapes, bounds, labels and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.types import DataSpec
from tests.networks import family

PIXELS = DataSpec((4, 4, 1), 5, 3)
PLANE = DataSpec((2,), None, None)


def mlp(features):
  return {'generator': {'features': features}}


@pytest.mark.parametrize('spec', [PIXELS, PLANE])
def test_samples(spec):
  model = family('implicit', spec, mlp((16,)))
  params = jax.jit(model.init)(jax.random.key(0), None)
  x, num_evaluations = model.sample(params, jax.random.key(1), 6, None)
  assert x.shape == (6, *spec.shape) and x.dtype == jnp.float32 and num_evaluations == 1
  np.testing.assert_array_equal(x, model.rsample(params, jax.random.key(1), 6, None))
  assert np.abs(x - model.rsample(params, jax.random.key(2), 6, None)).min() > 0
  assert [name for name, f in model._asdict().items() if f is not None] == [
      'init', 'sample', 'rsample']


def test_outputs_reach_the_outer_cells_and_no_further():
  model = family('implicit', PIXELS, mlp((16,)))
  params = jax.tree.map(lambda p: 50.0 * p, jax.jit(model.init)(jax.random.key(0), None))
  x = np.abs(model.rsample(params, jax.random.key(1), 64, None))
  np.testing.assert_allclose(x.max(), 1.25, atol=1e-4)


def test_linear_generator_is_the_gaussian_it_should_be():
  model = family('implicit', PLANE, mlp(()), latent_dim=2)
  mix = jnp.asarray([[2.0, 0.5], [0.0, 1.0]])
  params = {'out': {'kernel': mix, 'bias': jnp.asarray([3.0, -1.0])}}
  assert jax.tree.structure(params) == jax.tree.structure(model.init(jax.random.key(0), None))
  x = np.asarray(model.rsample(params, jax.random.key(0), 40_000, None))
  np.testing.assert_allclose(x.mean(0), [3.0, -1.0], atol=0.05)
  np.testing.assert_allclose(np.cov(x.T), mix.T @ mix, atol=0.12)


def test_labels_are_heard_and_none_is_no_label():
  model = family('implicit', PIXELS, mlp((16,)), conditional=True)
  params = jax.jit(model.init)(jax.random.key(0), None)
  draw = lambda cond: model.rsample(params, jax.random.key(1), 4, cond)
  zero, one = draw(jnp.zeros(4, jnp.int32)), draw(jnp.ones(4, jnp.int32))
  assert np.abs(zero - one).max() > 1e-3
  np.testing.assert_array_equal(draw(None), draw(jnp.full(4, 3)))


def test_gradients_reach_every_parameter():
  model = family('implicit', PIXELS, mlp((16, 16)))
  params = jax.jit(model.init)(jax.random.key(0), None)
  loss = lambda params: (model.rsample(params, jax.random.key(1), 32, None) ** 2).mean()
  for grad in jax.tree.leaves(jax.grad(loss)(params)):
    assert np.isfinite(grad).all() and np.any(grad)
