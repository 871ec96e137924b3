"""One embedding of what a network is conditioned on: labels, vectors, and none of either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.embed import CondEmbed
from genjax.nn.mlp import MLP
from tests.networks import initial, moved


@pytest.mark.parametrize(('net', 'cond', 'none'), [
    (CondEmbed(4, num_classes=3), jnp.array([0, 2]), jnp.array([3, 3])),
    (CondEmbed(4, context=2), jnp.array([[1.0, 0.0], [0.5, -1.0]]), jnp.full((2, 2), jnp.nan))])
def test_none_is_one_row_of_its_own(net, cond, none):
  params = moved(initial(net, cond, 2))
  given, without = net.apply(params, cond, 2), net.apply(params, None, 2)
  assert given.shape == (2, 4) and jnp.abs(given[0] - given[1]).max() > 1e-3
  np.testing.assert_allclose(without[0], without[1])
  np.testing.assert_allclose(net.apply(params, none, 2), without)
  mixed = net.apply(params, cond.at[1].set(none[1]), 2)
  np.testing.assert_allclose(mixed, jnp.stack([given[0], without[1]]), rtol=1e-6)


@pytest.mark.slow
def test_a_row_of_nan_leaves_gradients_finite():
  net = MLP((8,), 1, context=2)
  x = jnp.ones((3, 2))
  cond = jnp.array([[1.0, 2.0], [jnp.nan, 1.0], [jnp.nan, jnp.nan]])
  params = moved(initial(net, x, None))
  grads = jax.grad(lambda p: (net.apply(p, x, cond) ** 2).sum())(params)
  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
  # one number that is not there makes the condition none
  out = net.apply(params, x, cond)
  np.testing.assert_allclose(out[1], out[2], rtol=1e-6)
  assert jnp.abs(out[0] - out[1]).max() > 1e-4


def test_without_conditions_there_is_one_row():
  net = CondEmbed(4)
  params = initial(net, None, 2)
  assert params['params']['table'].shape == (1, 4)
  np.testing.assert_array_equal(net.apply(params, jnp.array([5, 7]), 2),
                                net.apply(params, None, 2))
