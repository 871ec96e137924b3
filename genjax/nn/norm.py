"""Group normalisation, shifted and scaled by the condition."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

EPSILON = 1e-5


def num_groups(channels: int) -> int:
  """The largest divisor of the channels up to 32 with at least four channels per group."""
  return max(n for n in range(1, 33) if channels % n == 0 and (n == 1 or 4 * n <= channels))


class GroupNorm(nn.Module):
  """x [B, ..., C] normalised over positions and groups of channels (1803.08494).

  It then has a gain and a bias per channel, and if given a factor 1 + scale and a shift, both
  [B, C] (2105.05233, Sec. 3.1). Statistics are float32, the result has `dtype` (None: that of x).
  The whole is one affine map per example and channel: one pass for sums, one for the result.
  """

  dtype: Any = None

  @nn.compact
  def __call__(self, x: jax.Array, scale=None, shift=None) -> jax.Array:
    b, channels = x.shape[0], x.shape[-1]
    gain = self.param('scale', nn.initializers.ones_init(), (channels,))
    bias = self.param('bias', nn.initializers.zeros_init(), (channels,))
    positions = tuple(range(1, x.ndim - 1))
    x_32 = x.astype(jnp.float32)

    def by_group(sums):  # [B, C] -> [B, C]: the mean of each channel's group
      groups = sums.reshape(b, num_groups(channels), -1)
      return jnp.broadcast_to(groups.mean(-1, keepdims=True), groups.shape).reshape(b, channels)

    mean, square = by_group(x_32.mean(positions)), by_group((x_32**2).mean(positions))
    times = gain * jax.lax.rsqrt(jnp.maximum(square - mean**2, 0.0) + EPSILON)
    plus = bias - mean * times
    if scale is not None:
      times, plus = times * (1.0 + scale), plus * (1.0 + scale) + shift
    wide = (b, *[1] * len(positions), channels)
    return (x_32 * times.reshape(wide) + plus.reshape(wide)).astype(self.dtype or x.dtype)
