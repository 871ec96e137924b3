"""Embeddings of the inputs other than x: the time, and the condition."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.dense import Dense


def fourier_time(t: jax.Array, dim: int) -> jax.Array:
  """Sines and cosines of 1000 t at geometric frequencies: t [B] in [0, 1] -> float32 [B, dim].

  dim is even; the frequencies run from 1 to 1/10000 per unit of 1000 t (1706.03762, Sec. 3.5).
  Several times, t [B, K], are concatenated: [B, K dim].
  """
  half = dim // 2
  frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / max(half - 1, 1))
  angle = 1000.0 * t.astype(jnp.float32)[..., None] * frequency
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1).reshape(t.shape[0], -1)


def fourier_features(x: jax.Array, exponents: tuple[int, ...]) -> jax.Array:
  """x [..., C] with sin and cos of 2^n pi x for each exponent n: [..., C (1 + 2 len)], float32.

  They let a network separate neighbouring levels; 7 and 8 for 256 levels (2107.00630, App. C).
  """
  if not exponents:
    return x
  x = x.astype(jnp.float32)
  angles = [2.0**n * jnp.pi * x for n in exponents]
  return jnp.concatenate([x, *map(jnp.sin, angles), *map(jnp.cos, angles)], -1)


class CondEmbed(nn.Module):
  """cond -> float32 [B, features]; None, the label num_classes and a row of NaN: "no condition".

  Labels int32 [B]: a table of num_classes + 1 rows, of which the last is "no label"; with
  num_classes 0 it is the only one. Vectors float32 [B, context], if context is above 0: a linear
  map, and a learned vector for "no condition".
  """

  features: int
  num_classes: int = 0
  context: int = 0
  init_std: float = 0.02

  @nn.compact
  def __call__(self, cond, batch_size: int) -> jax.Array:
    init = nn.initializers.normal(self.init_std)
    if not self.context:
      if cond is None or not self.num_classes:
        cond = jnp.full((batch_size,), self.num_classes, jnp.int32)
      table = self.param('table', init, (self.num_classes + 1, self.features))
      return table[cond.astype(jnp.int32)]
    if cond is None:
      cond = jnp.full((batch_size, self.context), jnp.nan)
    none = jnp.isnan(cond).any(-1, keepdims=True)
    # the inner guard keeps NaN out of the gradient of the kernel
    vectors = Dense(self.features, name='vector')(jnp.where(none, 0.0, cond))
    return jnp.where(none, self.param('null', init, (self.features,)), vectors)


def condition_of(net, features: int, cond, batch_size: int, init_std: float = 0.02):
  """The embedding of cond, [B, features], within the call of `net`; None if it has no condition.

  net has the fields num_classes and context, of which at most one is above 0. The parameters are
  net's `cond`.
  """
  if not (net.num_classes or net.context):
    return None
  embed = CondEmbed(features, net.num_classes, net.context, init_std, name='cond')
  return embed(cond, batch_size)


def time_and_cond(net, features: int, t, cond) -> jax.Array:
  """silu of the embedding of time and condition, float32 [B, features], within the call of `net`.

  Two dense layers of the sines of t, plus the embedding of cond (`condition_of`).
  """
  c = Dense(features, name='time_1')(fourier_time(t, 128))
  c = Dense(features, name='time_2')(jax.nn.silu(c))
  condition = condition_of(net, features, cond, t.shape[0])
  return jax.nn.silu(c if condition is None else c + condition)
