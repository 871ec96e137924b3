"""The two shapes of numbers here: one for each example [B], or for each element of it [B, ...]."""

import jax


def match(a: jax.Array, x: jax.Array) -> jax.Array:
  """[B] -> [B, 1, ...] with as many axes as x."""
  return a.reshape(a.shape + (1,) * (x.ndim - a.ndim))


def sum_event(x: jax.Array) -> jax.Array:
  """Sums all axes but the first: [B, ...] -> [B]."""
  return x.reshape(x.shape[0], -1).sum(-1)
