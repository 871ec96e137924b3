"""The UNet: its norm, its shapes, published sizes, conditioning, gradients, refusals."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.conv import Conv, double, halve
from genjax.nn.norm import GroupNorm, num_groups
from genjax.nn.unet import UNet
from genjax.types import BadInput
from tests.networks import initial, jit, moved

TINY = {'width': 8, 'num_blocks': 1, 'num_heads': 2, 'multipliers': (1, 2), 'attention': (8,)}
CIFAR = {'width': 128, 'num_blocks': 2, 'multipliers': (1, 2, 2, 2), 'attention': (16,)}


def inputs(shape=(8, 8, 1)):
  return jax.random.normal(jax.random.key(0), (3, *shape)), jnp.array([0.2, 0.2, 0.9])


def num_parameters(net, shape):
  params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *shape)), jnp.zeros(1))
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(('channels', 'groups'), [(128, 32), (384, 32), (32, 8), (48, 12), (6, 1),
                                                  (3, 1), (40, 10), (134, 2)])
def test_groups_divide_the_channels_and_hold_four(channels, groups):
  assert num_groups(channels) == groups


def test_group_norm_equals_linen():
  x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (3, 4, 5, 16))
  ours, theirs = GroupNorm(), nn.GroupNorm(4, epsilon=1e-5)
  params = moved(theirs.init(jax.random.key(1), x))
  expected = theirs.apply(params, x)
  np.testing.assert_allclose(ours.apply(params, x), expected, atol=2e-5)
  scale, shift = jax.random.normal(jax.random.key(2), (2, 3, 16))
  wide = (slice(None), None, None)
  np.testing.assert_allclose(ours.apply(params, x, scale, shift),
                             expected * (1.0 + scale[wide]) + shift[wide], atol=1e-4)
  half = ours.apply(params, x.astype(jnp.bfloat16))
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(half.astype(jnp.float32), expected, atol=0.1)


def test_conv_equals_linen():
  x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
  theirs = nn.Conv(7, (3, 3))
  params = moved(theirs.init(jax.random.key(1), x))
  np.testing.assert_allclose(Conv(7).apply(params, x), theirs.apply(params, x), atol=1e-5)
  own = Conv(7).init(jax.random.key(1), x)['params']['kernel']
  fresh = theirs.init(jax.random.key(1), x)['params']['kernel']
  np.testing.assert_array_equal(own, fresh)


def test_halve_is_the_mean_of_four_and_double_repeats():
  x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
  np.testing.assert_allclose(halve(x)[1, 1, 2], x[1, 2:4, 4:6].mean((0, 1)))
  np.testing.assert_array_equal(double(x), x.repeat(2, 1).repeat(2, 2))


@pytest.mark.slow
@pytest.mark.parametrize(('shape', 'kw'), [
    ((8, 8, 1), {'out': 17}),
    ((12, 8, 3), {'multipliers': (2, 1, 1), 'attention': ()})])
def test_zero_at_first_then_hears_x_time_and_label(shape, kw):
  net = UNet(3, **{**TINY, **kw})
  x, t = inputs(shape)
  x, cond = x.at[1].set(x[0]), jnp.array([0, 1, 2])
  apply, params = jit(net.apply), initial(net, x[:1], t[:1])
  first = apply(params, x, t, cond)
  assert first.shape == (3, *shape, net.out)
  assert first.dtype == jnp.float32 and (first == 0).all()
  params = moved(params)
  out = apply(params, x, t, cond)
  assert jnp.abs(out[0] - out[1]).max() > 1e-3
  assert jnp.abs(apply(params, x, t + 0.01, cond) - out).max() > 1e-3
  assert jnp.abs(apply(params, 1.1 * x, t, cond) - out).max() > 1e-3
  null = apply(params, x, t, jnp.full(3, 3))
  np.testing.assert_allclose(apply(params, x, t, None), null, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(('net', 'shape', 'low', 'high'), [
    # 42.9M: DDPM's 35.7M, and residual blocks in place of the convolutions that change the side,
    # and scales beside the shifts
    (UNet(**CIFAR), (32, 32, 3), 42.8e6, 42.9e6),
    # ADM on ImageNet 64: 296M in 2105.05233, Table 4
    (UNet(1000, 192, 3, 4, (1, 2, 3, 4), (32, 16, 8), out=2), (64, 64, 3), 295.5e6, 296.5e6),
    (UNet(**{**CIFAR, 'width': 208}), (32, 32, 3), 100e6, 120e6),
    (UNet(**TINY), (8, 8, 1), 1e4, 1e5)])
def test_number_of_parameters(net, shape, low, high):
  assert low < num_parameters(net, shape) < high


@pytest.mark.slow
def test_rematerialisation_changes_no_number():
  x, t = inputs()
  plain, remat = (UNet(**TINY, dropout=0.5, remat=flag) for flag in (False, True))
  params = moved(initial(plain, x[:1], t[:1]))
  rngs = {'dropout': jax.random.key(1)}

  def loss(net):
    return lambda params: (net.apply(params, x, t, None, False, rngs=rngs) ** 2).sum()

  one, other = (jit(jax.grad(loss(net)))(params) for net in (plain, remat))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-4 * max(1.0, jnp.abs(a).max())), one, other)


@pytest.mark.slow
def test_rematerialisation_keeps_less():
  x, t = inputs()

  def kept(net):
    params = jax.eval_shape(net.init, jax.random.key(0), x, t)
    _, back = jax.eval_shape(lambda p: jax.vjp(lambda p: net.apply(p, x, t), p), params)
    return sum(leaf.size for leaf in jax.tree.leaves(back) if leaf.shape[:1] == x.shape[:1])

  assert kept(UNet(**TINY, remat=True)) < 0.5 * kept(UNet(**TINY))


@pytest.mark.slow
def test_every_parameter_has_a_gradient():
  net = UNet(3, **TINY)
  x, t = inputs()
  cond = jnp.array([0, 1, 2])
  params = moved(initial(net, x[:1], t[:1]))
  target = jax.random.normal(jax.random.key(5), x.shape)
  grads = jit(jax.grad(
      lambda p: ((net.apply(p, x, t, cond)[..., 0] - target) ** 2).sum()))(params)
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    assert jnp.isfinite(grad).all() and jnp.abs(grad).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.mark.slow
def test_gradients_of_gradients_and_along_time_are_finite():
  net = UNet(**{**TINY, 'multipliers': (1,), 'attention': ()})
  x, t = inputs((4, 4, 1))
  params = moved(initial(net, x[:1], t[:1]))

  def penalty(params):
    return (jax.grad(lambda x: (net.apply(params, x, t) ** 2).sum())(x) ** 2).sum()

  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(jit(jax.grad(penalty))(params)))
  _, tangent = jax.jvp(lambda t: net.apply(params, x, t), (t,), (jnp.ones(3),))
  assert jnp.isfinite(tangent).all() and jnp.abs(tangent).max() > 0


@pytest.mark.slow
def test_bfloat16_is_close_and_leaves_parameters_and_output_float32():
  x, t = inputs()
  full, half = UNet(**TINY), UNet(**TINY, dtype=jnp.bfloat16)
  params = moved(initial(half, x[:1], t[:1]), 0.05)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  a, b = jit(full.apply)(params, x, t), jit(half.apply)(params, x, t)
  assert b.dtype == jnp.float32
  error = jnp.sqrt(((a - b) ** 2).mean() / (a**2).mean())
  assert 1e-5 < error < 0.05  # 0: no product was bfloat16


@pytest.mark.parametrize(('kw', 'words'), [
    ({'multipliers': (1, 1, 1, 1, 1)}, r'\(1, 1, 1, 1, 1\).*\(8, 8, 1\).*16'),
    ({'multipliers': ()}, r'multipliers = \(\)'),
    ({'attention': (16, 8)}, r'\(16, 8\).*side 16.*8, 4'),
    ({'num_heads': 3}, 'num_heads = 3.*8 channels at side 8')])
def test_refusals(kw, words):
  with pytest.raises(BadInput, match=words):
    jax.eval_shape(UNet(**{**TINY, **kw}).init, jax.random.key(0), jnp.ones((1, 8, 8, 1)),
                   jnp.ones(1))
