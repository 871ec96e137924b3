"""A residual MLP over vectors, modulated by time and label: the score network of toys."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.dense import Dense
from genjax.nn.embed import LabelEmbed, fourier_time
from genjax.sharding import constrain_batch


class TimeMLP(nn.Module):
  """x [B, ..., C], t [B] in [0, 1], cond int32 [B] or None -> float32 [B, ..., C num_out].

  Each block: x + W_2 silu(W_1 x + its own linear map of the embedding). The output is 0 at
  initialisation. num_classes 0: unconditional; cond None or num_classes: "no label"; several times:
  t [B, K].
  """

  num_classes: int = 0
  width: int = 96
  num_blocks: int = 3
  dropout: float = 0.0
  num_out: int = 1  # numbers put out for each of x
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x, t, cond=None, deterministic: bool = True) -> jax.Array:
    rows = x.reshape(x.shape[0], -1)
    c = Dense(self.width, name='time')(fourier_time(t, 64))
    if self.num_classes:
      c = c + LabelEmbed(self.width, self.num_classes, name='label')(cond, x.shape[0])
    c = jax.nn.silu(c)
    h = Dense(self.width, dtype=self.dtype, name='stem')(rows)
    for i in range(self.num_blocks):
      h = constrain_batch(h)
      y = Dense(self.width, dtype=self.dtype, name=f'up_{i}')(h)
      y = jax.nn.silu(y + Dense(self.width, name=f'shift_{i}')(c))
      y = nn.Dropout(self.dropout)(y, deterministic)
      h = h + Dense(self.width, dtype=self.dtype, name=f'down_{i}')(y)
    out = Dense(rows.shape[-1] * self.num_out, kernel_init=nn.initializers.zeros,
                name='head')(jax.nn.silu(h))
    return out.astype(jnp.float32).reshape(*x.shape[:-1], x.shape[-1] * self.num_out)
