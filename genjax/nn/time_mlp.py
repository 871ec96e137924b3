"""A residual MLP of vectors, conditioned on time and label: the score network of toys."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.dense import Dense
from genjax.nn.embed import condition_of, fourier_time
from genjax.sharding import constrain_batch


class TimeMLP(nn.Module):
  """x [B, ...], t [B] in [0, 1], cond (see CondEmbed) -> float32 [B, ..., out].

  Each block: x + W_2 silu(W_1 x + its own linear map of the embedding). The output is 0 at
  initialisation. Several times: t [B, K].
  """

  num_classes: int = 0
  width: int = 96
  num_blocks: int = 3
  dropout: float = 0.0
  out: int = 1  # outputs for each element of x
  dtype: jnp.dtype | None = None
  context: int = 0

  @nn.compact
  def __call__(self, x, t, cond=None, deterministic: bool = True) -> jax.Array:
    rows = x.reshape(x.shape[0], -1)
    c = Dense(self.width, name='time')(fourier_time(t, 64))
    condition = condition_of(self, self.width, cond, x.shape[0])
    c = jax.nn.silu(c if condition is None else c + condition)
    h = Dense(self.width, dtype=self.dtype, name='stem')(rows)
    for i in range(self.num_blocks):
      h = constrain_batch(h)
      y = Dense(self.width, dtype=self.dtype, name=f'up_{i}')(h)
      y = jax.nn.silu(y + Dense(self.width, name=f'shift_{i}')(c))
      y = nn.Dropout(self.dropout)(y, deterministic)
      h = h + Dense(self.width, dtype=self.dtype, name=f'down_{i}')(y)
    out = Dense(rows.shape[-1] * self.out, kernel_init=nn.initializers.zeros,
                name='head')(jax.nn.silu(h))
    return out.astype(jnp.float32).reshape(*x.shape, self.out)
