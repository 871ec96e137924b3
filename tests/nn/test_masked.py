"""Causal networks see no later position: by Jacobians, and by masses that sum to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.masked import Made, MaskedMLP
from genjax.nn.transformer import PatchTransformer
from genjax.types import DataSpec
from tests.networks import family, initial, jit, moved


@pytest.mark.parametrize('residual, features', [(False, (7, 16)), (True, (16, 16, 16))])
def test_output_i_depends_on_the_dimensions_before_i(residual, features):
  net = MaskedMLP(features, 2, residual=residual, num_classes=3)
  x, cond = jax.random.normal(jax.random.key(0), (1, 5)), jnp.array([1])
  params = moved(initial(net, x, cond))
  jacobian = jit(jax.jacrev(lambda x: net.apply(params, x, cond)[0]))(x)[:, :, 0]  # [5, 2, 5]
  assert np.all(jacobian.max(1)[np.triu_indices(5)] == 0.0)
  assert np.all(np.abs(jacobian).max(1)[np.tril_indices(5, -1)] > 0.0)


@pytest.mark.slow
def test_a_patch_depends_on_the_patches_before_it():
  net = PatchTransformer((2, 2, 3), 2, width=8, num_blocks=1, num_heads=2)
  x = jax.random.normal(jax.random.key(0), (1, 4, 3))
  params = moved(initial(net, x))
  jacobian = jit(jax.jacrev(lambda x: net.apply(params, x)[0]))(x)[:, :, :, 0]  # [4, 3, 2, 4, 3]
  largest = np.abs(jacobian).max((1, 2, 4))
  assert np.all(largest[np.triu_indices(4)] == 0.0)
  assert np.all(largest[np.tril_indices(4, -1)] > 0.0)


def test_the_first_output_depends_on_the_condition_alone():
  net = MaskedMLP((8,), 1, num_classes=3)
  x = jax.random.normal(jax.random.key(0), (4, 3))
  params = moved(initial(net, x, jnp.zeros(4, jnp.int32)))
  first = np.asarray(net.apply(params, x, jnp.array([0, 0, 1, 2])))[:, 0, 0]
  assert first[0] == first[1] and len(set(first.tolist())) == 3


@pytest.mark.parametrize('name, shape', [
    ('made', (12,)),
    *(pytest.param(name, shape, marks=pytest.mark.slow)
      for name, shape in (('transformer', (12,)), ('pixelcnn', (3, 4, 1))))])
def test_the_masses_of_all_binary_vectors_sum_to_one(name, shape):
  spec = DataSpec(shape, 2, None)
  small = {'made': {'features': (24,), 'width': 2}, 'pixelcnn': {'width': 8, 'num_blocks': 1},
           'transformer': {'width': 8, 'num_blocks': 1, 'num_heads': 2}}[name]
  model = family('autoregressive', spec, {'causal': (name, small)})
  bits = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
  x = (2.0 * bits - 1.0).reshape(-1, *shape).astype(np.float32)
  params = moved(initial(model, {'x': x[:1]}), 0.3)
  log_p = jit(lambda x: model.log_prob(params, {'x': x}, None))(x)
  assert abs(np.sum(np.exp(np.asarray(log_p, np.float64))) - 1.0) < 1e-5
  assert np.asarray(log_p).std() > 0.1


def test_a_step_of_made_is_its_parallel_pass():
  net = Made((3, 2), 5, width=2, features=(16,), num_classes=2)
  tokens = jax.random.randint(jax.random.key(0), (2, 6), 0, 5)
  cond = jnp.array([0, 1])
  params = moved(initial(net, tokens, cond))

  @jit
  def both(params):
    def body(cache, i):
      out, cache = net.apply(params, cache, tokens[:, jnp.maximum(i - 1, 0)], i, method='step')
      return cache, out

    start = net.apply(params, cond, 2, method='start')
    return net.apply(params, tokens, cond), jax.lax.scan(body, start, jnp.arange(6))[1]

  parallel, steps = both(params)
  np.testing.assert_allclose(steps.swapaxes(0, 1), parallel, atol=1e-5)
