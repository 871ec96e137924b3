"""Residual convolutional networks of images: shapes, starts, derivatives, switches, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.convnet import ConvConditioner, ConvFromVector, ConvToVector, levels
from genjax.types import BadInput
from tests.networks import initial, jit, moved

IMAGE = jax.random.normal(jax.random.key(0), (3, 8, 8, 2))
CODE = jax.random.normal(jax.random.key(1), (3, 5))
KW = {'width': 8, 'num_heads': 2}
# network, x, shape of the output
CASES = {
    'to_vector': (lambda **kw: ConvToVector(out=4, **{**KW, 'attention': (4,), **kw}), IMAGE,
                  (3, 4)),
    'from_vector': (lambda **kw: ConvFromVector((8, 8, 2), out=4, **{
        **KW, 'attention': (4,), **kw}), CODE, (3, 8, 8, 2, 4)),
    'conditioner': (lambda **kw: ConvConditioner((8, 8, 3), out=4, **{
        **KW, 'num_blocks': 1, 'attention': (8,), **kw}), IMAGE, (3, 8, 8, 3, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize('kind', CASES)
def test_it_hears_x_and_each_condition(kind):
  make, x, shape = CASES[kind]
  for told, cond, none in (({'num_classes': 3}, jnp.array([0, 1, 2]), jnp.full(3, 3)),
                           ({'context': 2}, jnp.eye(3)[:, :2], jnp.full((3, 2), jnp.nan))):
    net = make(**told)
    params = moved(initial(net, x[:1], None))
    out = jit(net.apply)(params, x, cond)
    assert out.shape == shape and out.dtype == jnp.float32
    assert jnp.abs(jit(net.apply)(params, x, cond[::-1]) - out)[0].max() > 1e-3
    assert jnp.abs(jit(net.apply)(params, 1.1 * x + 0.1, cond) - out).max() > 1e-3
    without = jit(net.apply)(params, x, None)
    assert jnp.isfinite(without).all() and jnp.abs(without - out).max() > 1e-3
    np.testing.assert_allclose(jit(net.apply)(params, x, none), without, atol=1e-5)
  # a network that is told nothing ignores cond
  plain = make()
  params = moved(initial(plain, x[:1]))
  assert 'cond' not in params['params']
  np.testing.assert_array_equal(jit(plain.apply)(params, x, jnp.arange(3)),
                                jit(plain.apply)(params, x))


def test_a_conditioner_starts_at_zero_and_the_others_do_not():
  for kind, (make, x, _) in CASES.items():
    net = make()
    out = jit(net.apply)(initial(net, x[:1]), x)
    assert (jnp.abs(out).max() == 0.0) == (kind == 'conditioner')


@pytest.mark.slow
@pytest.mark.parametrize('kind', CASES)
def test_every_parameter_has_a_gradient_and_second_derivatives_are_finite(kind):
  make, x, _ = CASES[kind]
  net = make(num_classes=3)
  params = moved(initial(net, x[:1], None))
  cond = jnp.array([0, 1, 3])
  loss = lambda params, x: (net.apply(params, x, cond) ** 2).sum()

  def penalty(params):  # of WGAN-GP: a gradient of a gradient
    return (jnp.sqrt((jax.grad(loss, 1)(params, x) ** 2).sum()) - 1.0) ** 2

  grads, twice = jit(lambda p: (jax.grad(loss)(p, x), jax.grad(penalty)(p)))(params)
  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(twice))
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    assert jnp.isfinite(grad).all() and jnp.abs(grad).max() > 1e-6, jax.tree_util.keystr(path)
  # forward mode agrees with reverse mode
  direction = jnp.ones_like(x)
  _, along = jit(lambda x: jax.jvp(lambda x: loss(params, x), (x,), (direction,)))(x)
  np.testing.assert_allclose(along, jit(jax.grad(loss, 1))(params, x).sum(), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('kind', CASES)
def test_rematerialisation_changes_no_number_and_bfloat16_little(kind):
  make, x, _ = CASES[kind]
  plain, remat, half = make(dropout=0.5), make(dropout=0.5, remat=True), make(dtype=jnp.bfloat16)
  params = moved(initial(plain, x[:1]), 0.05)
  rngs = {'dropout': jax.random.key(1)}
  grad = lambda net: jit(jax.grad(
      lambda p: (net.apply(p, x, None, False, rngs=rngs) ** 2).sum()))(params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-4 * max(1.0, jnp.abs(a).max())), grad(plain), grad(remat))
  text = str(jax.make_jaxpr(jax.grad(lambda p: remat.apply(p, x).sum()))(params))
  assert 'remat' in text
  a, b = jit(plain.apply)(params, x), jit(half.apply)(params, x)
  assert b.dtype == jnp.float32
  error = jnp.sqrt(((a - b) ** 2).mean() / (a**2).mean())
  assert 1e-5 < error < 0.05  # 0: no product was bfloat16
  noisy = jit(lambda p: plain.apply(p, x, None, False, rngs=rngs))(params)
  assert jnp.abs(noisy - a).max() > 1e-3


@pytest.mark.parametrize(('shape', 'patch', 'sides', 'channels'), [
    ((8, 8, 1), 1, [8, 4], [8, 16]), ((16, 16, 3), 2, [8, 4], [8, 16]),
    ((28, 28, 1), 4, [7], [8]), ((32, 32, 3), 4, [8, 4], [8, 16]),
    ((64, 64, 3), 4, [16, 8, 4], [8, 16, 32]), ((17, 17, 1), 1, [17], [8]),
    ((30, 28, 1), 2, [15], [8]),
    ((24, 40, 3), 2, [12, 6], [8, 16])])
def test_levels_by_the_side(shape, patch, sides, channels):
  assert levels(ConvToVector(width=8), shape) == (patch, sides, channels)


@pytest.mark.parametrize(('kw', 'shape', 'words'), [
    ({}, (64,), 'needs images'), ({'patch': 3}, (8, 8, 1), r'patch = 3.*\(8, 8, 1\)'),
    ({'multipliers': (1, 1, 1, 1, 1)}, (8, 8, 1), r'\(1, 1, 1, 1, 1\).*by 16'),
    ({'multipliers': ()}, (8, 8, 1), r'multipliers = \(\)'),
    ({'attention': (5,)}, (8, 8, 1), 'no level has the side 5; allowed: 8, 4'),
    ({'attention': (8,), 'num_heads': 3}, (8, 8, 1), 'num_heads = 3.*8 channels at side 8')])
def test_refusals(kw, shape, words):
  with pytest.raises(BadInput, match=words):
    levels(ConvToVector(width=8, **kw), shape)
  with pytest.raises(BadInput, match='same positions'):
    ConvConditioner((4, 4, 2)).init(jax.random.key(0), IMAGE)
