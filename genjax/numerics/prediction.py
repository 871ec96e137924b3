"""Predictions: what a network outputs, and E[x_0 | x_t], which is affine in x_t and the output."""

import jax.numpy as jnp

from genjax.numerics.path import Point
from genjax.numerics.shapes import match
from genjax.types import BadInput


def _data(p: Point, sigma_data):
  return jnp.zeros_like(p.alpha), jnp.ones_like(p.alpha)


def _noise(p: Point, sigma_data):
  over_alpha = _inverse(p.alpha)
  return over_alpha, -p.sigma * over_alpha


def _v(p: Point, sigma_data):
  square = p.alpha**2 + p.sigma**2
  return p.alpha / square, -p.sigma / square


def _score(p: Point, sigma_data):
  over_alpha = _inverse(p.alpha)
  return over_alpha, p.sigma**2 * over_alpha


def _velocity(p: Point, sigma_data):
  if p.d_alpha is None:
    raise BadInput("prediction = 'velocity' needs the derivatives of the path; allowed: path.at")
  # both terms are of one sign wherever logsnr falls, so nothing cancels and it is never 0
  fall = p.d_alpha * p.sigma - p.alpha * p.d_sigma
  return -p.d_sigma / fall, p.sigma / fall


def _edm(p: Point, sigma_data):
  over_std = c_in(p, sigma_data)
  return sigma_data**2 * p.alpha * over_std**2, sigma_data * p.sigma * over_std


def _inverse(alpha):
  """1 / alpha, and 0 where alpha is 0: there x_t has no information about x_0."""
  return jnp.where(alpha > 0.0, 1.0 / jnp.where(alpha > 0.0, alpha, 1.0), 0.0)


PREDICTIONS = {'noise': _noise, 'data': _data, 'v': _v, 'score': _score, 'velocity': _velocity,
               'edm': _edm}


def coefficients(prediction: str, point: Point, sigma_data: float = 0.5):
  """The coefficients (of x_t, of the output) of E[x_0 | x_t], both [B].

  The output predicts, by name: 'noise' eps (2006.11239); 'data' x_0; 'v' alpha eps - sigma x_0
  (2202.00512, App. D); 'score' grad log q(x_t) (2011.13456); 'velocity' dx_t / dt = alpha' x_0 +
  sigma' eps (2210.02747); 'edm' the rest after c_skip and c_out (2206.00364, Table 1, here for any
  alpha: x_t / alpha is its x). Where alpha is 0, noise and score have no information about x_0, and
  the coefficients are 0. Raises BadInput for another name.
  """
  if prediction not in PREDICTIONS:
    raise BadInput(f'prediction = {prediction!r} is unknown; allowed: {", ".join(PREDICTIONS)}')
  return PREDICTIONS[prediction](point, sigma_data)


def to_data(prediction: str, output, x_t, point: Point, sigma_data: float = 0.5):
  """E[x_0 | x_t] from a network's output; see `coefficients`."""
  on_x_t, on_output = coefficients(prediction, point, sigma_data)
  return match(on_x_t, x_t) * x_t + match(on_output, x_t) * output


def to_output(prediction: str, x_0, x_t, point: Point, sigma_data: float = 0.5):
  """The output with which E[x_0 | x_t] = x_0; for sigma > 0 and alpha > 0."""
  on_x_t, on_output = coefficients(prediction, point, sigma_data)
  return (x_0 - match(on_x_t, x_t) * x_t) / match(on_output, x_t)


def c_in(point: Point, sigma_data: float = 0.5):
  """[B], 1 / the deviation of x_t of data of deviation sigma_data (2206.00364, Table 1)."""
  return 1.0 / jnp.sqrt(point.sigma**2 + (point.alpha * sigma_data) ** 2)


def to_noise(x_0, x_t, alpha, sigma):
  """eps with x_t = alpha x_0 + sigma eps."""
  return (x_t - match(alpha, x_t) * x_0) / match(sigma, x_t)


def to_score(x_0, x_t, alpha, sigma):
  """grad log p(x_t) = (alpha E[x_0 | x_t] - x_t) / sigma^2 (Tweedie)."""
  return (match(alpha, x_t) * x_0 - x_t) / match(sigma, x_t) ** 2
