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
    y = jax.lax.conv_general_dilated(x.astype(dtype), kernel.astype(dtype), (1, 1), 'SAME',
                                     dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    return constrain_batch(y + bias.astype(dtype))


def halve(x: jax.Array) -> jax.Array:
  """[B, H, W, C] -> [B, H / 2, W / 2, C]: the mean of each square of four; H and W are even."""
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def double(x: jax.Array) -> jax.Array:
  """[B, H, W, C] -> [B, 2 H, 2 W, C]: each position four times."""
  b, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
  return x.reshape(b, 2 * h, 2 * w, c)
