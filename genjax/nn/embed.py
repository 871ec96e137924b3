"""Embeddings of what a network is told beside x: the time and the label."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def fourier_time(t: jax.Array, dim: int) -> jax.Array:
  """Sines and cosines of 1000 t at geometric frequencies: t [B] in [0, 1] -> float32 [B, dim].

  dim is even; the frequencies run from 1 to 1/10000 per unit of 1000 t (1706.03762, Sec. 3.5).
  Of several times, t [B, K], one beside the other: [B, K dim].
  """
  half = dim // 2
  frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / max(half - 1, 1))
  angle = 1000.0 * t.astype(jnp.float32)[..., None] * frequency
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1).reshape(t.shape[0], -1)


def fourier_features(x: jax.Array, exponents: tuple[int, ...]) -> jax.Array:
  """x [..., C] beside sin and cos of 2^n pi x for each exponent n: [..., C (1 + 2 len)], float32.

  What lets a network tell neighbouring levels apart; 7 and 8 for 256 levels (2107.00630, App. C).
  """
  if not exponents:
    return x
  x = x.astype(jnp.float32)
  angles = [2.0**n * jnp.pi * x for n in exponents]
  return jnp.concatenate([x, *map(jnp.sin, angles), *map(jnp.cos, angles)], -1)


def label_or_null(cond, batch_size: int, num_classes: int) -> jax.Array:
  """int32 [B]: the labels given, or the value num_classes ("no label") everywhere."""
  if cond is None:
    return jnp.full((batch_size,), num_classes, jnp.int32)
  return cond.astype(jnp.int32)


class LabelEmbed(nn.Module):
  """Table of num_classes + 1 rows, the last for "no label": cond [B] or None -> [B, features]."""

  features: int
  num_classes: int
  init_std: float = 0.02

  @nn.compact
  def __call__(self, cond, batch_size: int) -> jax.Array:
    table = self.param('table', nn.initializers.normal(self.init_std),
                       (self.num_classes + 1, self.features))
    return table[label_or_null(cond, batch_size, self.num_classes)]
