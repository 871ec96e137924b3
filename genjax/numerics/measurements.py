"""Linear measurements y = A x of what a model makes, by the singular value decomposition of A."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import BadInput


class Measurement(NamedTuple):
  """A = mix diag(scale) rows, its singular value decomposition, or as much as is known of it."""

  rows: Callable  # x [n, ...] -> u [n, *R], linear, orthonormal where scale is not 0
  scale: jax.Array  # singular values, broadcastable to one u; 0: that component is not measured
  mix: jax.Array | None = None  # [M, R], orthonormal columns; None: y has the axes of u


def inpainting(mask) -> Measurement:
  """x where mask (of one example's shape, or broadcast to it) is true; y is 0 elsewhere."""
  mask = jnp.asarray(mask, jnp.float32)
  return Measurement(lambda x: x * mask, mask)


def super_resolution(factor: int) -> Measurement:
  """Means of squares of factor x factor pixels: [n, H, W, C] -> [n, H / factor, W / factor, C]."""
  def rows(x):
    n, height, width, channels = x.shape
    if factor < 1 or height % factor or width % factor:
      raise BadInput(f'factor = {factor} does not divide images of {height} x {width}')
    squares = x.reshape(n, height // factor, factor, width // factor, factor, channels)
    return squares.sum((2, 4)) / factor

  return Measurement(rows, jnp.float32(1.0 / max(factor, 1)))


def colourisation(channels: int = 3) -> Measurement:
  """The mean of the channels: [n, H, W, C] -> [n, H, W, 1]."""
  def rows(x):
    if x.ndim != 4 or x.shape[-1] != channels or channels < 2:
      raise BadInput(f'colour needs images of {channels} channels, at least 2, not shape '
                     f'{x.shape[1:]}')
    return x.sum(-1, keepdims=True) / np.sqrt(channels)

  return Measurement(rows, jnp.float32(1.0 / np.sqrt(channels)))


def linear(matrix) -> Measurement:
  """matrix [M, D] times x with its dimensions in one row: [n, ...] -> [n, M]."""
  matrix = np.asarray(matrix, np.float64)
  mix, scale, rows = np.linalg.svd(matrix, full_matrices=False)
  rank = scale > scale.max(initial=0.0) * max(matrix.shape) * np.finfo(np.float32).eps
  if not rank.any():
    raise BadInput(f'a matrix {matrix.shape} of rank 0 measures nothing')
  mix, scale, rows = (jnp.asarray(a, jnp.float32) for a in (
      mix[:, rank], scale[rank], rows[rank]))
  return Measurement(lambda x: x.reshape(x.shape[0], -1) @ rows.T, scale, mix)


def observe(measurement: Measurement, x) -> jax.Array:
  """A x: [n, ...] -> [n, ...]."""
  u = measurement.rows(x) * measurement.scale
  return u if measurement.mix is None else u @ measurement.mix.T


def components(measurement: Measurement, y) -> jax.Array:
  """The components u of x that y states, of the shape of one u; 0 where nothing is measured."""
  u = jnp.asarray(y, jnp.float32)
  u = u if measurement.mix is None else u @ measurement.mix
  return jnp.where(measurement.scale > 0, u, 0.0) / jnp.where(
      measurement.scale > 0, measurement.scale, 1.0)


def log_prob_outside(measurement: Measurement, y, noise: float) -> jax.Array:
  """log density [] of the part of y that no x explains, where A has fewer dimensions than y.

  y = A x + noise z has noise alone in the M - rank(A) directions that A does not reach. 0 without
  noise: y has no density there.
  """
  if measurement.mix is None or not noise:
    return jnp.zeros(())
  y, mix = jnp.asarray(y, jnp.float32), measurement.mix
  rest = y - (y @ mix) @ mix.T
  count = mix.shape[0] - mix.shape[1]
  return -0.5 * ((rest / noise) ** 2).sum() - count * np.log(noise * np.sqrt(2.0 * np.pi))


def lift(measurement: Measurement, u, x) -> jax.Array:
  """The adjoint of rows, of the shape of x: of `components` this is the pseudo-inverse."""
  return jax.linear_transpose(measurement.rows, x)(u)[0]


def residual(measurement: Measurement, x, y) -> jax.Array:
  """Root mean square of A x - y over what is measured, [n]."""
  error = (observe(measurement, x) - y) ** 2
  measured = jnp.ones(error.shape)
  if measurement.mix is None:
    measured = jnp.broadcast_to(measurement.scale > 0, error.shape)
  axes = tuple(range(1, error.ndim))
  return jnp.sqrt((error * measured).sum(axes) / measured.sum(axes))


def met(measurement: Measurement, x, y, low: float, high: float, num_rounds: int = 50):
  """x [n, ...] moved to where A x = y and low <= x <= high, by projections in turn."""
  u_y = components(measurement, y)

  def once(_, x):
    return jnp.clip(x + lift(measurement, u_y - measurement.rows(x), x), low, high)

  return jax.lax.fori_loop(0, num_rounds, once, x)
