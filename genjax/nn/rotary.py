"""Rotary positions: queries and keys are turned by angles that grow with their place."""

import jax
import jax.numpy as jnp

BASE = 10000.0  # 2104.09864, Section 3.2.2


def rotate(x: jax.Array, places) -> jax.Array:
  """x [..., d] with the pairs (x_j, x_{j + d/2}) turned by places * BASE^(-2 j / d) (2104.09864).

  places: integers [...] that broadcast to x without its last axis. Products of two such vectors
  depend on the difference of their places alone. d is even.
  """
  half = x.shape[-1] // 2
  angles = jnp.asarray(places, jnp.float32)[..., None] * BASE ** (-jnp.arange(half) / half)
  cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
  a, b = x[..., :half], x[..., half:]
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
