"""The grid of levels, its cells, and bits per dimension.

Data with L levels live on the grid x = 2 k / (L - 1) - 1, k = 0..L-1; the cell of a grid point is
x +- 1 / (L - 1), so rounding a point of the cell gives the level back.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import DataSpec


def from_levels(k, levels: int):
  """Integers 0..levels-1 -> float32 on the grid of [-1, 1]."""
  return jnp.asarray(k, jnp.float32) * (2.0 / (levels - 1)) - 1.0


def to_levels(x, levels: int):
  """The only way back from x to integers: round to the grid and clip. -> int32 in 0..levels-1."""
  k = jnp.round((jnp.asarray(x, jnp.float32) + 1.0) * (0.5 * (levels - 1)))
  return jnp.clip(k, 0, levels - 1).astype(jnp.int32)


def grid(levels: int) -> jax.Array:
  """The levels as x: float32 [levels]."""
  return from_levels(jnp.arange(levels), levels)


def cell_noise(rng, x, levels: int | None):
  """x + u with u uniform in the cell of each grid point; x itself when the data are continuous."""
  if levels is None:
    return x
  half = 1.0 / (levels - 1)
  return x + jax.random.uniform(rng, x.shape, x.dtype, -half, half)


def log_cell_volume(spec: DataSpec) -> float:
  """Log-volume of one cell of the grid, in nats: D log(2 / (L - 1))."""
  return float(np.prod(spec.shape) * np.log(2.0 / (spec.levels - 1)))


def log_scale_volume(standardised: tuple | None) -> float:
  """sum log std in nats, with log p(raw) = log p(x) - sum log std; 0 without standardisation."""
  return 0.0 if standardised is None else float(np.sum(np.log(standardised[1])))


def bits_per_dim(nats, spec: DataSpec):
  """Nats per example -> bits per dimension, nats / (D ln 2); the only conversion to bits."""
  return nats / (np.prod(spec.shape) * np.log(2.0))
