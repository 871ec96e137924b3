"""The diffusion networks: patches, adaLN-zero, conditioning, derivatives of both orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.dit import DiT, DiTBlock, patchify, unpatchify
from genjax.nn.embed import drop_label, fourier_time
from genjax.nn.time_mlp import TimeMLP
from genjax.types import BadInput


def moved(params, scale=0.1):
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(9), len(leaves))
  return jax.tree.unflatten(tree, [x + scale * jax.random.normal(k, x.shape)
                                   for k, x in zip(keys, leaves, strict=True)])


NETS = [(DiT(3, patch=2, width=16, num_blocks=2, num_heads=2), (4, 4, 1)),
        (TimeMLP(3, width=16, num_blocks=2), (3,))]


def test_patchify_keeps_neighbours_and_inverts():
  x = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
  tokens = patchify(x, 2)
  assert tokens.shape == (2, 6, 12)
  np.testing.assert_array_equal(tokens[1, 4], x[1, 2:4, 2:4].reshape(-1))
  np.testing.assert_array_equal(unpatchify(tokens, 2, (4, 6, 3)), x)


def test_a_new_block_is_the_identity():
  block = DiTBlock(16, 2)
  x, c = jax.random.normal(jax.random.key(0), (2, 5, 16)), jnp.ones((2, 16))
  params = jax.jit(block.init)(jax.random.key(1), x, c)
  np.testing.assert_array_equal(jax.jit(block.apply)(params, x, c), x)
  assert jnp.abs(jax.jit(block.apply)(moved(params), x, c) - x).max() > 1e-2


@pytest.mark.parametrize(('net', 'shape'), NETS)
def test_zero_at_first_then_hears_x_time_and_label(net, shape):
  x, t, cond = jnp.ones((2, *shape)), jnp.array([0.2, 0.2]), jnp.array([0, 1])
  params = jax.jit(net.init)(jax.random.key(0), x[:1], t[:1])
  first = jax.jit(net.apply)(params, x, t, cond)
  assert first.shape == x.shape and first.dtype == jnp.float32 and (first == 0).all()
  params = moved(params)
  out = jax.jit(net.apply)(params, x, t, cond)
  assert jnp.abs(out[0] - out[1]).max() > 1e-4
  assert jnp.abs(jax.jit(net.apply)(params, x, t + 0.01, cond) - out).max() > 1e-4
  assert jnp.abs(jax.jit(net.apply)(params, 1.1 * x, t, cond) - out).max() > 1e-4
  null = jax.jit(net.apply)(params, x, t, jnp.array([3, 3]))
  np.testing.assert_allclose(jax.jit(net.apply)(params, x, t, None), null, atol=1e-6)


@pytest.mark.parametrize(('net', 'shape'), NETS)
def test_jvp_and_gradients_of_gradients_are_finite(net, shape):
  x, t = jnp.ones((2, *shape)), jnp.array([0.0, 1.0])
  params = moved(jax.jit(net.init)(jax.random.key(0), x[:1], t[:1]))

  def penalty(params):
    slope = jax.grad(lambda x: (jax.jit(net.apply)(params, x, t) ** 2).sum())(x)
    return (slope**2).sum()

  def along_time(t):
    return jax.jit(net.apply)(params, x, t)

  grads = jax.tree.leaves(jax.jit(jax.grad(penalty))(params))
  assert all(jnp.isfinite(g).all() for g in grads)
  _, tangent = jax.jvp(along_time, (t,), (jnp.ones(2),))
  assert jnp.isfinite(tangent).all() and jnp.abs(tangent).max() > 0


def test_dropout_needs_to_be_asked_for():
  net = DiT(patch=2, width=16, num_blocks=1, num_heads=2, dropout=0.5)
  x, t = jnp.ones((1, 4, 4, 1)), jnp.ones(1)
  params = moved(jax.jit(net.init)(jax.random.key(0), x, t))
  still = jax.jit(net.apply)(params, x, t)
  noisy = net.apply(params, x, t, None, False, rngs={'dropout': jax.random.key(1)})
  np.testing.assert_array_equal(still, jax.jit(net.apply)(params, x, t))
  assert jnp.abs(noisy - still).max() > 1e-4


def test_patch_must_divide():
  with pytest.raises(BadInput, match=r'patch = 3.*\(4, 4, 1\)'):
    DiT(patch=3, width=16).init(jax.random.key(0), jnp.ones((1, 4, 4, 1)), jnp.ones(1))


def test_fourier_time_separates_times():
  out = fourier_time(jnp.array([0.0, 1e-3, 1.0]), 8)
  np.testing.assert_allclose(out[1], np.r_[np.sin(f := 1e4 ** -np.linspace(0, 1, 4)), np.cos(f)],
                             rtol=1e-5)
  np.testing.assert_array_equal(out[0], [0, 0, 0, 0, 1, 1, 1, 1])


def test_drop_label_rate():
  cond = drop_label(jax.random.key(0), jnp.zeros(4000, jnp.int32), 0.25, 7)
  assert set(np.unique(cond)) == {0, 7}
  assert abs(float((cond == 7).mean()) - 0.25) < 0.03
  assert drop_label(jax.random.key(0), None, 0.25, 7) is None
