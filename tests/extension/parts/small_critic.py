"""A network of a user's own: sines between dense layers."""

import jax.numpy as jnp
from flax import linen as nn


class SmallCritic(nn.Module):
  """x [B, ...] -> [B, out]; deaf to a condition."""

  out: int
  features: tuple[int, ...] = (8,)

  @nn.compact
  def __call__(self, x, cond=None, deterministic=True):
    x = x.reshape(len(x), -1)
    for width in self.features:
      x = jnp.sin(nn.Dense(width)(x))
    return nn.Dense(self.out)(x)
