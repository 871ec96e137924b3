"""The convolution of every network here, and changes of the side that are no convolutions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from genjax.sharding import constrain_batch


class Conv(nn.Module):
  """[B, H, W, d] -> [B, H, W, features]: stride 1, zeros outside, kernel [k, k, d, features]."""

  features: int
  kernel_size: int = 3
  kernel_init: Callable = nn.initializers.lecun_normal()
  dtype: Any = None  # of the product; None: that of the input and parameters

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros_init(), (self.features,))
    dtype = self.dtype or jnp.result_type(x, jnp.float32)
    y = convolve(x.astype(dtype), kernel.astype(dtype))
    return constrain_batch(y + bias.astype(dtype))


@jax.custom_jvp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """x [B, H, W, d], kernel [k, k, d, features] -> [B, H, W, features]: zeros outside, k odd.

  Its gradients are convolutions of this form too, with explicit transpositions. XLA's CPU backend
  brings others into it outside of loops only; in a loop (Langevin chains, scanned layers,
  accumulated gradients) its own gradients take 10 to 100 times as long.
  """
  side = kernel.shape[0] // 2
  return _convolve(x, kernel, side)


@convolve.defjvp
def _convolve_jvp(primals, tangents):
  (x, kernel), (x_dot, kernel_dot) = primals, tangents
  side = kernel.shape[0] // 2
  y = convolve(x, kernel)

  def by_x(g):  # the cotangents of x and of the kernel for g, that of y
    return _convolve(g, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), side)

  def by_kernel(g):
    return _convolve(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), side).transpose(1, 2, 0, 3)

  return y, jax.linear_transpose(by_x, y)(x_dot)[0] + jax.linear_transpose(by_kernel, y)(
      kernel_dot)[0]


def _convolve(x, kernel, side: int):
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), [(side, side)] * 2,
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
