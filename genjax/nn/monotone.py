"""A function of time that can only rise, with both its ends fixed: a schedule to be learned."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Monotone(nn.Module):
  """t [B] in [0, 1] -> [B], from exactly 0 at 0 to exactly 1 at 1, rising.

  A line plus a wide layer of sigmoids, all weights taken by magnitude (2107.00630, App. H); its
  values at 0 and 1 are subtracted and divided out. At initialisation nearly the line.
  """

  features: int = 1024

  @nn.compact
  def __call__(self, t: jax.Array) -> jax.Array:
    slope = jnp.abs(self.param('slope', nn.initializers.ones, ()))
    steepness = jnp.abs(self.param('steepness', nn.initializers.normal(1.0), (self.features,)))
    bias = self.param('bias', nn.initializers.normal(1.0), (self.features,))
    height = jnp.abs(self.param('height', nn.initializers.normal(0.01), (self.features,)))

    def rise(t):
      hidden = jax.nn.sigmoid((2.0 * t - 1.0)[:, None] * steepness + bias)
      # the mean over the features, so that the width changes no scale
      return slope * t + (height * hidden).mean(-1)

    first, last = rise(jnp.zeros((1,), t.dtype)), rise(jnp.ones((1,), t.dtype))
    inner = (rise(t) - first) / (last - first)
    return jnp.where(t <= 0.0, t, jnp.where(t >= 1.0, t, inner))
