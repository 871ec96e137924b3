"""The convolution of every network here, and changes of the side that are no convolutions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from genjax.sharding import constrain_batch

Padding = tuple[tuple[int, int], tuple[int, int]]


class Conv(nn.Module):
  """[B, H, W, d] -> [B, H', W', features]: stride 1, kernel [*kernel_size, d, features].

  kernel_size: (rows, columns), or the side of a square. padding of a call: see `convolve`.
  """

  features: int
  kernel_size: int | tuple[int, int] = 3
  kernel_init: Callable = nn.initializers.lecun_normal()
  dtype: Any = None  # of the product; None: that of the input and parameters

  @nn.compact
  def __call__(self, x: jax.Array, padding: Padding | None = None) -> jax.Array:
    sides = self.kernel_size
    shape = (*(sides if isinstance(sides, tuple) else (sides, sides)), x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros_init(), (self.features,))
    dtype = self.dtype or jnp.result_type(x, jnp.float32)
    y = convolve(x.astype(dtype), kernel.astype(dtype), padding)
    return constrain_batch(y + bias.astype(dtype))


def convolve(x: jax.Array, kernel: jax.Array, padding: Padding | None = None) -> jax.Array:
  """x [B, H, W, d], kernel [k, l, d, features] -> [B, H', W', features].

  padding: numbers of zeros ((above, below), (left, right)), which are less than k and l; the result
  has H' = H + above + below - k + 1 rows. None: the input's H and W, for odd k and l.

  Its gradients are convolutions of this form too, with explicit transpositions. XLA's CPU backend
  brings others into it outside of loops only; in a loop (Langevin chains, scanned layers,
  accumulated gradients) its own gradients take 4 to 100 times as long.
  """
  if padding is None:
    padding = tuple((side // 2, side // 2) for side in kernel.shape[:2])
  return _padded(x, kernel, padding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _padded(x, kernel, padding: Padding):
  return _convolve(x, kernel, padding)


@_padded.defjvp
def _padded_jvp(padding, primals, tangents):
  (x, kernel), (x_dot, kernel_dot) = primals, tangents
  y = _padded(x, kernel, padding)

  def by_x(g):  # the cotangents of x and of the kernel for g, that of y
    rest = tuple((side - 1 - before, side - 1 - after)
                 for side, (before, after) in zip(kernel.shape[:2], padding, strict=True))
    return _convolve(g, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), rest)

  def by_kernel(g):
    return _convolve(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding).transpose(
        1, 2, 0, 3)

  return y, jax.linear_transpose(by_x, y)(x_dot)[0] + jax.linear_transpose(by_kernel, y)(
      kernel_dot)[0]


def _convolve(x, kernel, padding: Padding):
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding,
                                      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def halve(x: jax.Array) -> jax.Array:
  """[B, H, W, C] -> [B, H / 2, W / 2, C]: the mean of each square of four; H and W are even."""
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def double(x: jax.Array) -> jax.Array:
  """[B, H, W, C] -> [B, 2 H, 2 W, C]: each position four times."""
  b, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
  return x.reshape(b, 2 * h, 2 * w, c)
