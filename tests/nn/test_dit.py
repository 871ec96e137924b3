"""The diffusion networks: patches, adaLN-zero, conditioning, derivatives of both orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.dit import DiT, DiTBlock, patchify, unpatchify
from genjax.nn.embed import fourier_time
from genjax.nn.time_mlp import TimeMLP
from genjax.train import init
from genjax.types import BadInput
from tests.networks import initial, jit, moved

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
  params = initial(block, x, c)
  np.testing.assert_array_equal(jit(block.apply)(params, x, c), x)
  assert jnp.abs(jit(block.apply)(moved(params), x, c) - x).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(('net', 'shape'), NETS)
def test_zero_at_first_then_hears_x_time_and_label(net, shape):
  x, t, cond = jnp.ones((2, *shape)), jnp.array([0.2, 0.2]), jnp.array([0, 1])
  params = initial(net, x[:1], t[:1])
  first = jit(net.apply)(params, x, t, cond)
  assert first.shape == (*x.shape, 1) and first.dtype == jnp.float32 and (first == 0).all()
  params = moved(params)
  out = jit(net.apply)(params, x, t, cond)
  assert jnp.abs(out[0] - out[1]).max() > 1e-4
  assert jnp.abs(jit(net.apply)(params, x, t + 0.01, cond) - out).max() > 1e-4
  assert jnp.abs(jit(net.apply)(params, 1.1 * x, t, cond) - out).max() > 1e-4
  null = jit(net.apply)(params, x, t, jnp.array([3, 3]))
  np.testing.assert_allclose(jit(net.apply)(params, x, t, None), null, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(('net', 'shape'), NETS)
def test_jvp_and_gradients_of_gradients_are_finite(net, shape):
  x, t = jnp.ones((2, *shape)), jnp.array([0.0, 1.0])
  params = moved(initial(net, x[:1], t[:1]))

  def penalty(params):
    slope = jax.grad(lambda x: (net.apply(params, x, t) ** 2).sum())(x)
    return (slope**2).sum()

  def along_time(t):
    return net.apply(params, x, t)

  grads = jax.tree.leaves(jit(jax.grad(penalty))(params))
  assert all(jnp.isfinite(g).all() for g in grads)
  _, tangent = jit(lambda t: jax.jvp(along_time, (t,), (jnp.ones(2),)))(t)
  assert jnp.isfinite(tangent).all() and jnp.abs(tangent).max() > 0


def stack_blocks(params):
  """Parameters of DiT(scan=True) from those of one without."""
  params = dict(params['params'])
  blocks = [params.pop(f'block_{i}') for i in range(3)]
  return {'params': {**params, 'blocks': jax.tree.map(lambda *a: jnp.stack(a), *blocks)}}


@pytest.mark.slow
@pytest.mark.parametrize('kw', [
    {'remat': True}, {'scan': True}, {'scan': True, 'remat': True}])
def test_scan_and_remat_change_no_output_and_no_gradient(kw):
  sizes = {'patch': 2, 'width': 16, 'num_blocks': 3, 'num_heads': 2}
  plain, other = DiT(3, **sizes), DiT(3, **sizes, **kw)
  x, t, cond = jax.random.normal(jax.random.key(0), (2, 4, 4, 1)), jnp.array([0.2, 0.7]), None
  params = moved(initial(plain, x, t))

  def value_and_grad(net, params):
    return jit(jax.value_and_grad(lambda p: (net.apply(p, x, t, cond) ** 2).sum()))(params)

  expected, grads = value_and_grad(plain, params)
  if 'scan' in kw:
    params, grads = stack_blocks(params), stack_blocks(grads)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(
      jnp.shape, jax.eval_shape(other.init, jax.random.key(0), x, t))
  value, found = value_and_grad(other, params)
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, grads)


@pytest.mark.slow
def test_blocks_of_a_scan_have_their_own_draws_and_the_host_replays_them():
  net = DiT(width=16, num_heads=2, scan=True, dropout=0.5)
  x, t = jnp.ones((4, 4, 4, 1)), jnp.ones(4)
  compiled = jax.jit(net.init)(jax.random.key(1), x, t)
  kernel = compiled['params']['blocks']['up']['kernel']
  assert jnp.abs(kernel[0] - kernel[1]).max() > 0.1
  closed, _ = jax.make_jaxpr(lambda rng: net.init(rng, x, t), return_shape=True)(jax.random.key(1))
  replayed = init._replay(closed, jax.random.key(1), [])  # raises where it had to be compiled
  for a, b in zip(replayed, jax.tree.leaves(compiled), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  noisy = net.apply(moved(compiled), x, t, None, False, rngs={'dropout': jax.random.key(1)})
  assert jnp.abs(noisy[0] - noisy[1]).max() > 1e-4


def test_the_size_of_the_paper():
  """DiT-XL/2: 675M (2212.09748, Table 1), with a learned variance and a table of 1,001 labels."""
  net = DiT(1000, 2, 1152, 28, 16, out=2, scan=True, remat=True)
  params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 4)), jnp.zeros(1))
  total = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
  assert 674e6 < total < 676e6
  assert params['params']['blocks']['qkv']['kernel'].shape == (28, 1152, 3456)


def test_bfloat16_keeps_the_residual_stream_float32():
  sizes = {'patch': 2, 'width': 32, 'num_blocks': 2, 'num_heads': 2}
  full, half = DiT(**sizes), DiT(**sizes, dtype=jnp.bfloat16)
  x, t = jax.random.normal(jax.random.key(0), (2, 4, 4, 1)), jnp.array([0.2, 0.7])
  params = moved(initial(full, x, t), 0.05)
  a = jit(full.apply)(params, x, t)
  b, kept = jit(lambda p: half.apply(p, x, t, capture_intermediates=True))(params)
  error = jnp.sqrt(((a - b) ** 2).mean() / (a**2).mean())
  assert b.dtype == jnp.float32 and 1e-5 < error < 0.03
  kept = kept['intermediates']
  assert kept['block_1']['__call__'][0].dtype == jnp.float32
  assert kept['block_1']['up']['__call__'][0].dtype == jnp.bfloat16
  assert kept['time_2']['__call__'][0].dtype == jnp.float32


def test_dropout_needs_to_be_asked_for():
  net = DiT(patch=2, width=16, num_blocks=1, num_heads=2, dropout=0.5)
  x, t = jnp.ones((1, 4, 4, 1)), jnp.ones(1)
  params = moved(initial(net, x, t))
  still = jit(net.apply)(params, x, t)
  noisy = jit(lambda params: net.apply(
      params, x, t, None, False, rngs={'dropout': jax.random.key(1)}))(params)
  np.testing.assert_array_equal(still, jit(net.apply)(params, x, t))
  assert jnp.abs(noisy - still).max() > 1e-4


def test_patch_must_divide():
  with pytest.raises(BadInput, match=r'patch = 3.*\(4, 4, 1\)'):
    DiT(patch=3, width=16).init(jax.random.key(0), jnp.ones((1, 4, 4, 1)), jnp.ones(1))


def test_heads_must_share_the_width():
  with pytest.raises(BadInput, match='width = 16.*num_heads = 3'):
    DiT(width=16, num_heads=3).init(jax.random.key(0), jnp.ones((1, 4, 4, 1)), jnp.ones(1))


def test_fourier_time_separates_times():
  out = fourier_time(jnp.array([0.0, 1e-3, 1.0]), 8)
  np.testing.assert_allclose(out[1], np.r_[np.sin(f := 1e4 ** -np.linspace(0, 1, 4)), np.cos(f)],
                             rtol=1e-5)
  np.testing.assert_array_equal(out[0], [0, 0, 0, 0, 1, 1, 1, 1])
