"""A network of a user's own: one hidden layer."""

from flax import linen as nn


class SmallCritic(nn.Module):
  """x [B, d] -> [B, out]."""

  out: int
  width: int = 8

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.out)(nn.tanh(nn.Dense(self.width)(x)))
