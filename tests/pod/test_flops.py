"""FLOPs against closed forms and against XLA's count of the same network unrolled."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from genjax.nn.dit import DiT
from genjax.pod import flops


def f32(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_chain_of_products():
  def chain(a, b, c):
    return a @ b @ c

  assert flops.of(chain, f32(3, 5), f32(5, 7), f32(7, 2)) == 2 * (3 * 5 * 7 + 3 * 7 * 2)


def test_a_batched_product_with_two_contracted_axes():
  def fn(a, b):
    return jnp.einsum('bijk,bjkl->bil', a, b)

  assert flops.of(fn, f32(4, 3, 5, 6), f32(4, 5, 6, 7)) == 2 * 4 * 3 * 7 * (5 * 6)


def test_the_gradient_of_a_product_is_twice_its_forward_pass():
  def loss(a, b):
    return (a @ b).sum()

  forward = 2 * 8 * 16 * 4
  assert flops.of(jax.value_and_grad(loss, (0, 1)), f32(8, 16), f32(16, 4)) == 3 * forward


def conv(stride=1, padding='SAME', groups=1, rhs_dilation=1):
  def fn(x, w):
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), padding, rhs_dilation=(rhs_dilation,) * 2,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=groups)

  return fn


def test_convolutions():
  x, w = f32(2, 8, 8, 6), f32(3, 3, 6, 10)
  valid = 2 * (2 * 6 * 6 * 10) * (3 * 3 * 6)
  assert flops.of(conv(padding='VALID'), x, w) == valid
  # of 8 x 3 places along an axis two lie in the padding
  assert flops.of(conv(), x, w) == 2 * 2 * 10 * 6 * (8 * 3 - 2) ** 2
  assert flops.of(conv(padding='VALID', groups=2), x, f32(3, 3, 3, 10)) == valid / 2
  assert flops.of(conv(padding='VALID', rhs_dilation=2), x, w) == 2 * (2 * 4 * 4 * 10) * (3 * 3 * 6)


@pytest.mark.parametrize('stride', (1, 2))
@pytest.mark.parametrize('groups', (1, 2))
def test_the_gradient_of_a_convolution_meets_the_same_pairs(stride, groups):
  """Its inputs are dilated by the stride: the zeros in between are not counted."""
  fn = conv(stride, groups=groups)
  x, w = f32(2, 8, 8, 4), f32(3, 3, 4 // groups, 6)
  gradient = jax.value_and_grad(lambda x, w: fn(x, w).sum(), (0, 1))
  assert flops.of(gradient, x, w) == 3 * flops.of(fn, x, w)


def test_a_scan_counts_its_length_and_a_while_loop_once():
  def layers(k):
    return lambda x, w: jax.lax.scan(lambda h, _: (h @ w, None), x, length=k)[0]

  def until(x, w):
    return jax.lax.while_loop(lambda h: h.sum() < 9.0, lambda h: h @ w, x)

  one = 2 * 4 * 8 * 8
  assert flops.of(layers(7), f32(4, 8), f32(8, 8)) == 7 * one
  assert flops.count(layers(7), f32(4, 8), f32(8, 8)).loops == 0
  assert flops.count(until, f32(4, 8), f32(8, 8)) == (one, 1)


def test_of_branches_the_dearest():
  def fn(i, x):
    return jax.lax.switch(i, [lambda x: x, lambda x: x @ x @ x, lambda x: x @ x], x)

  assert flops.of(fn, jax.ShapeDtypeStruct((), jnp.int32), f32(4, 4)) == 2 * 2 * 4**3


@jax.custom_jvp
def squared(x):
  return x @ x


squared.defjvp(lambda x, t: (x[0] @ x[0], t[0] @ x[0] + x[0] @ t[0]))


@jax.custom_vjp
def cubed(x):
  return x @ x @ x


cubed.defvjp(lambda x: (x @ x @ x, x), lambda x, g: (g @ x,))


@pytest.mark.parametrize('fn, products', (
    (jax.jit(lambda x: x @ x), 1), (squared, 1), (cubed, 2), (jax.checkpoint(lambda x: x @ x), 1)))
def test_what_calls_is_walked_into(fn, products):
  assert flops.of(fn, f32(4, 4)) == products * 2 * 4**3


def test_a_shard_map_counts_every_device():
  mesh = Mesh(np.array(jax.devices()[:1]), ('i',), axis_types=(AxisType.Auto,))
  mapped = jax.shard_map(lambda a, b: a @ b, mesh=mesh, in_specs=(P('i'), P()), out_specs=P('i'))
  assert flops.of(mapped, f32(8, 4), f32(4, 4)) == 2 * 8 * 4 * 4
  many = jax.sharding.AbstractMesh((8,), ('i',), axis_types=(AxisType.Auto,))
  mapped = jax.shard_map(lambda a, b: a @ b, mesh=many, in_specs=(P('i'), P()), out_specs=P('i'))
  assert flops.of(mapped, f32(8, 4), f32(4, 4)) == 2 * 8 * 4 * 4


def test_rematerialisation_repeats_a_forward_pass_and_accumulation_repeats_nothing():
  w, x = f32(16, 16), f32(32, 16)
  body = lambda w, x: jnp.tanh(jnp.tanh(x @ w) @ w)
  forward = flops.of(body, w, x)

  def step(body, parts):
    gradient = jax.grad(lambda w, x: body(w, x).sum())

    def fn(w, x):
      x = x.reshape(parts, -1, 16)
      return jax.lax.scan(lambda g, part: (g + gradient(w, part), None), jnp.zeros_like(w), x)[0]

    return fn

  plain = flops.of(step(body, 1), w, x)
  assert plain == 3 * forward - 2 * 32 * 16 * 16  # no gradient of the data
  assert flops.of(step(body, 4), w, x) == plain
  remat = flops.of(step(jax.checkpoint(body), 1), w, x)
  assert remat == plain + forward


def dit_flops(batch, side, channels, patch, width, blocks, out, ratio=4):
  """2212.09748: per token 2 (4 + 2 ratio) W^2 a block and 4 T W for attention; the rest once."""
  tokens, dim = (side // patch) ** 2, patch * patch * channels
  block = 2 * tokens * (4 + 2 * ratio) * width**2 + 4 * tokens**2 * width + 2 * 6 * width**2
  ends = 2 * tokens * dim * width * (1 + out) + 2 * 2 * width**2
  time_embedding = 2 * 128 * width + 2 * width**2
  return batch * (blocks * block + ends + time_embedding)


def test_dit_against_its_formula():
  net = DiT(patch=2, width=32, num_blocks=3, num_heads=4, out=5)
  x, t = f32(4, 8, 8, 2), f32(4)
  params = jax.eval_shape(net.init, jax.random.key(0), x, t)
  # the frequencies of fourier_time are an outer product, no matrix
  assert flops.of(net.apply, params, x, t) == dit_flops(4, 8, 2, 2, 32, 3, 5)


class SmallUnet(nn.Module):
  @nn.compact
  def __call__(self, x):
    h = nn.Conv(32, (3, 3))(x)
    h = nn.Conv(64, (3, 3), (2, 2))(nn.relu(h))
    h = nn.ConvTranspose(32, (3, 3), (2, 2))(nn.relu(h))
    return nn.Conv(3, (3, 3))(nn.relu(h))


@pytest.mark.parametrize('net, shape', ((SmallUnet(), (4, 16, 16, 3)),
                                        (DiT(width=384, num_blocks=2), (4, 8, 8, 3))))
def test_within_2_percent_of_xla_unrolled(net, shape):
  x, t = f32(*shape), f32(shape[0])
  args = (x, t) if isinstance(net, DiT) else (x,)
  params = jax.eval_shape(net.init, jax.random.key(0), *args)

  def gradient(params):
    return jax.grad(lambda p: (net.apply(p, *map(jnp.ones_like, args)) ** 2).sum())(params)

  ours = flops.of(gradient, params)
  theirs = jax.jit(gradient).lower(params).cost_analysis()['flops']
  assert ours <= theirs <= 1.02 * ours  # it counts what is done to each activation, too


def test_the_rate_of_a_small_product_is_that_of_its_clock():
  start = time.perf_counter()
  rate = flops.matrix_rate(jnp.float32, (256, 2))
  seconds = time.perf_counter() - start
  # the timed dispatches alone lie inside what we waited
  assert rate >= 2 * 256**3 * 2 / seconds
  assert flops.matrix_rate('float32', (256, 2)) == rate  # measured once
