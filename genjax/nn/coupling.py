"""Conditioners: the networks that give a coupling layer the parameters of its transform."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from genjax.nn.dense import Dense
from genjax.nn.mlp import MLP


class Conditioner(nn.Module):
  """x [B, d] of the elements left alone -> parameters [B, num_params, num_transformed].

  A residual MLP as in neural spline flows (1906.04032), whose last layer starts at zero, so that
  the coupling starts as the identity. cond: int32 [B] in 0..num_classes, or None.
  """

  hidden: tuple[int, ...]
  num_params: int
  num_transformed: int
  num_classes: int | None = None

  @nn.compact
  def __call__(self, x: jax.Array, cond: jax.Array | None = None) -> jax.Array:
    if self.num_classes is not None:
      labels = nn.Embed(self.num_classes + 1, self.hidden[0], name='label')(cond)
      x = jnp.concatenate([x, labels], -1)
    h = Dense(self.hidden[0], name='stem')(x)
    net = MLP(self.hidden[1:], self.num_params * self.num_transformed, residual=True,
              zero_out=True, name='mlp')
    return net(nn.silu(h)).reshape(-1, self.num_params, self.num_transformed)
