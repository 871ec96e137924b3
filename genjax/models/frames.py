"""The first bijection of a flow, which depends on the kind of data, and the base that suits it.

Vectors: z' = L (x - shift), L lower triangular and learned (alone it fits any Gaussian), and a
standard normal base. Data with levels, splines: the dequantised data fill a cube. A learned spline
per element maps it to itself (marginals), the layers keep it, and the base is uniform on it, so
that no mass lies outside. Data with levels, affine layers: a logit maps the cube to R^D.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models import bijection
from genjax.models.bijection import Base, Bijection
from genjax.numerics import bijections
from genjax.types import DataSpec

MAX_MARGINAL_BINS = 32
SHARE = 0.99  # of the cube's side; z then lies within +-5.3
MARGINAL_GAIN = 10.0  # factor on the marginals' parameters, which need larger steps


class Frame(NamedTuple):
  """The data as the layers of a flow see them."""

  bijection: Bijection
  base: Base
  bound: float  # splines of the layers act on [-bound, bound]; inf: the layers are affine


def frame(spec: DataSpec, transform: str, bound: float) -> Frame:
  """The frame of data of this spec for layers with this transform; bound: of splines of vectors."""
  size = int(np.prod(spec.shape))
  if spec.levels is None:
    return Frame(triangular(size), bijection.normal(size), bound)
  if transform == 'rational_quadratic':
    return Frame(marginals(size, spec.levels), bijection.uniform(size), 1.0)
  return unbounded(spec)


def unbounded(spec: DataSpec) -> Frame:
  """The frame of data with levels in R^D."""
  size = int(np.prod(spec.shape))
  return Frame(logit(marginals(size, spec.levels)), bijection.normal(size),
               float('inf'))


def triangular(size: int) -> Bijection:
  """z = L (x - shift), L lower triangular with a positive diagonal; starts as the identity."""

  def init(rng):
    del rng
    return {'shift': jnp.zeros(size), 'log_diag': jnp.zeros(size), 'lower': jnp.zeros((size, size))}

  def matrix(params):
    return jnp.tril(params['lower'], -1) + jnp.diag(jnp.exp(params['log_diag']))

  def forward(params, x, cond):
    del cond
    z = jnp.matmul(x - params['shift'], matrix(params).T, precision=jax.lax.Precision.HIGHEST)
    return z, jnp.broadcast_to(params['log_diag'].sum(), x.shape[:1])

  def inverse(params, z, cond):
    del cond
    # a solve costs as much as all couplings of a small flow, so only samples use it
    x = jax.scipy.linalg.solve_triangular(matrix(params), z.T, lower=True).T + params['shift']
    return x, jnp.broadcast_to(-params['log_diag'].sum(), z.shape[:1])

  return Bijection(init, forward, inverse)


def marginals(size: int, levels: int) -> Bijection:
  """The dequantised cube to [-1, 1]^D by a spline per element, with one bin per level if few."""
  edge = 1.0 + 1.0 / (levels - 1)
  log_volume = size * float(np.log(edge))
  num_params = bijections.num_spline_params(max(2, min(levels, MAX_MARGINAL_BINS)))

  def init(rng):
    del rng
    return {'spline': jnp.zeros((num_params, size))}

  def forward(params, x, cond):
    del cond
    x = jnp.clip(x / edge, -1.0, 1.0)  # only rounding leads out of the cube
    z, log_det = bijections.rational_quadratic(x, MARGINAL_GAIN * params['spline'], 1.0)
    return z, log_det.sum(-1) - log_volume

  def inverse(params, z, cond):
    del cond
    x, log_det = bijections.rational_quadratic_inverse(z, MARGINAL_GAIN * params['spline'], 1.0)
    return x * edge, log_det.sum(-1) + log_volume

  return Bijection(init, forward, inverse)


def logit(inner: Bijection) -> Bijection:
  """`inner`, which maps to [-1, 1]^D, followed by z = 2 artanh(SHARE z'), a logit of that cube.

  As in 1605.08803, Sec. 4.1, the cube is shrunk first, so that z is bounded. A clip at the edge
  would not be injective, and a spline that moves its mass there would gain without limit.
  """
  def log_slope(z):  # log d tanh(z / 2) / dz
    return jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z) + float(np.log(2.0))

  def forward(params, x, cond):
    h, log_det = inner.forward(params, x, cond)
    z = 2.0 * jnp.arctanh(SHARE * h)
    return z, log_det + (float(np.log(SHARE)) - log_slope(z)).sum(-1)

  def inverse(params, z, cond):
    x, log_det = inner.inverse(params, jnp.tanh(0.5 * z) / SHARE, cond)
    return x, log_det + (log_slope(z) - float(np.log(SHARE))).sum(-1)

  return Bijection(inner.init, forward, inverse)
