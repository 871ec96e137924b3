"""Monotone transforms of the layers of flows, with their inverses and log-derivatives, per element.

Each is y = f(x; parameters) applied element by element; what the parameters depend on, and which
elements a coupling leaves alone, is the business of the caller.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import BadInput

TRANSFORMS = ('affine', 'rational_quadratic')
MAX_LOG_SCALE = 2.0  # bound for an affine layer; unbounded scales overflow early in training
MAX_BINS = 64  # arrays of [B, bins, D] in each spline; 64 least bins are 6 % of the box
MIN_BIN = 1e-3  # least width and height of a bin, as a share of the box (1906.04032, their code)
MIN_SLOPE = 1e-3  # least derivative at a knot (1906.04032, their code)
# softplus(SLOPE_OFFSET) + MIN_SLOPE = 1: zero parameters give the identity
SLOPE_OFFSET = float(np.log(np.expm1(1.0 - MIN_SLOPE)))


def checked_bins(transform: str, num_bins: int | None, default: int) -> int:
  """num_bins, or the default if it is None. BadInput for another transform or number."""
  if transform not in TRANSFORMS:
    raise BadInput(f'unknown transform {transform!r}; allowed: {", ".join(TRANSFORMS)}')
  if num_bins is not None and not 2 <= num_bins <= MAX_BINS:
    raise BadInput(f'num_bins = {num_bins}; allowed: 2 to {MAX_BINS}')
  return default if num_bins is None else num_bins


def num_params(transform: str, num_bins: int) -> int:
  """Parameters per element of a transform."""
  return 2 if transform == 'affine' else num_spline_params(num_bins)


def elementwise(transform: str, bound: float, raw, x, inverse: bool):
  """The transform of x [B, d], or its inverse: y and log |dy/dx|, both [B, d].

  raw: unconstrained parameters [B, num_params, d]; zeros give the identity. Splines act on
  [-bound, bound].
  """
  if transform == 'affine':
    f = affine_inverse if inverse else affine
    return f(x, raw[:, 0], MAX_LOG_SCALE * jnp.tanh(raw[:, 1] / MAX_LOG_SCALE))
  f = rational_quadratic_inverse if inverse else rational_quadratic
  # the batch last: sums over the bins then add whole rows
  y, log_det = f(x.T, raw.transpose(2, 1, 0), bound)
  return y.T, log_det.T


def affine(x, shift, log_scale):
  """y = x exp(log_scale) + shift and log |dy/dx|, per element. RealNVP (1605.08803), Eq. 7."""
  return x * jnp.exp(log_scale) + shift, jnp.broadcast_to(log_scale, x.shape)


def affine_inverse(y, shift, log_scale):
  """x with affine(x) = y, and log |dx/dy|, per element."""
  return (y - shift) * jnp.exp(-log_scale), jnp.broadcast_to(-log_scale, y.shape)


def num_spline_params(num_bins: int) -> int:
  """Parameters per element of a rational-quadratic spline: widths, heights, inner slopes."""
  return 3 * num_bins - 1


def rational_quadratic(x, params, bound: float):
  """Monotone rational-quadratic spline on [-bound, bound], the identity outside.

  x: [..., D]; params: [..., 3 K - 1, D], unconstrained; zeros give the identity. -> y [..., D] and
  log dy/dx [..., D]. Neural spline flows (1906.04032), Eqs. 4 and 5, with linear tails.
  """
  inside = jnp.abs(x) <= bound
  x_in = jnp.where(inside, x, 0.0)  # the branch not taken must stay finite, for its gradient
  knots = _knots(params, bound)
  x_k, width, y_k, height, slope, slope_next = _bin(knots, x_in, 0)
  s = height / width
  xi = jnp.clip((x_in - x_k) / width, 0.0, 1.0)
  y, log_det = _evaluate(xi, y_k, height, s, slope, slope_next)
  return jnp.where(inside, y, x), jnp.where(inside, log_det, 0.0)


def rational_quadratic_inverse(y, params, bound: float):
  """x with rational_quadratic(x) = y, and log dx/dy, per element. (1906.04032), Eqs. 6 to 8."""
  inside = jnp.abs(y) <= bound
  y_in = jnp.where(inside, y, 0.0)
  knots = _knots(params, bound)
  x_k, width, y_k, height, slope, slope_next = _bin(knots, y_in, 1)
  s = height / width
  eta = y_in - y_k
  curve = eta * (slope_next + slope - 2.0 * s)
  a = height * (s - slope) + curve
  b = height * slope - curve
  c = -s * eta
  # b > 0 is not sure, but b^2 - 4 a c is a square of something positive; only rounding can spoil it
  root = jnp.sqrt(jnp.maximum(b * b - 4.0 * a * c, 1e-20))
  xi = jnp.clip(2.0 * c / (-b - root), 0.0, 1.0)
  _, log_det = _evaluate(xi, y_k, height, s, slope, slope_next)
  x = x_k + xi * width
  return jnp.where(inside, x, y), jnp.where(inside, -log_det, 0.0)


def _evaluate(xi, y_k, height, s, slope, slope_next):
  """The rational quadratic of one bin at xi in [0, 1], and the log of its derivative."""
  rest = 1.0 - xi
  cross = xi * rest
  denominator = s + (slope_next + slope - 2.0 * s) * cross
  y = y_k + height * (s * xi * xi + slope * cross) / denominator
  numerator = s * s * (slope_next * xi * xi + 2.0 * s * cross + slope * rest * rest)
  return y, jnp.log(numerator) - 2.0 * jnp.log(denominator)


def _knots(params, bound):
  """Unconstrained [..., 3 K - 1, D] -> widths, heights [..., K, D] and K - 1 inner slopes."""
  num_bins = (params.shape[-2] + 1) // 3
  # not three slices: the transpose of a slice is a padded array to add, that of a split is one
  # concatenation
  parts = jax.lax.split(params, (num_bins, num_bins, num_bins - 1), axis=params.ndim - 2)
  free = 1.0 - MIN_BIN * num_bins
  widths, heights = (
      2.0 * bound * (MIN_BIN + free * jax.nn.softmax(p, axis=-2)) for p in parts[:2])
  return widths, heights, MIN_SLOPE + jax.nn.softplus(parts[2] + SLOPE_OFFSET), bound


def _bin(knots, value, axis):
  """Left knots, width, height and both slopes of the bin of value; axis 0: by x, 1: by y.

  Sums against indicators instead of a search and gathers: those do not fuse.
  """
  widths, heights, slopes, bound = knots
  inner = jnp.cumsum((widths, heights)[axis][..., :-1, :], -2) - bound
  beyond = (value[..., None, :] >= inner).astype(value.dtype)  # [..., K - 1, D]
  ones = jnp.ones_like(value)[..., None, :]
  after, before = (jnp.concatenate(p, -2) for p in ((ones, beyond), (beyond, 0.0 * ones)))
  here = after - before  # [..., K, D], one-hot
  x_k, y_k = (jnp.sum(w[..., :-1, :] * beyond, -2) - bound for w in (widths, heights))
  width, height = (jnp.sum(w * here, -2) for w in (widths, heights))
  # the outer slopes are 1, to meet the tails
  slope = jnp.sum(slopes * here[..., 1:, :], -2) + here[..., 0, :]
  slope_next = jnp.sum(slopes * here[..., :-1, :], -2) + here[..., -1, :]
  return x_k, width, y_k, height, slope, slope_next
