"""Weights of the denoising loss, all as weights of |x_0 - E[x_0 | x_t]|^2 on any path.

Each is a function of the path at t; the loss is the mean over t of weight times error. With the
density of the drawn times (`times`), where that is part of the recipe, it is the effective weight.
"""

from collections.abc import Callable

import jax.numpy as jnp

from genjax.numerics.path import Point
from genjax.types import BadInput

WEIGHTINGS = ('simple', 'elbo', 'likelihood', 'min_snr', 'sigmoid', 'edm', 'flow_matching',
              'snr_plus_1', 'data')
LEAST_SIGMA = 1e-6  # below it a weight stays what it is there: the error it multiplies is 0


def snr_and_slope(p: Point):
  """(alpha / sigma)^2 and its derivative with respect to t, both [B] and finite for sigma = 0."""
  sigma = jnp.maximum(p.sigma, LEAST_SIGMA)
  return ((p.alpha / sigma) ** 2,
          2.0 * p.alpha / sigma * ((p.d_alpha - p.alpha * (p.d_sigma / sigma)) / sigma))


def log_one_plus_snr(p: Point):
  """log(1 + (alpha / sigma)^2) [B], finite for sigma = 0 and for alpha = 0."""
  sigma = jnp.maximum(p.sigma, LEAST_SIGMA)
  return jnp.log(p.alpha**2 + sigma**2) - 2.0 * jnp.log(sigma)


def weight(name: str, *, min_snr_gamma: float = 5.0, sigmoid_bias: float = 2.0,
           sigma_data: float = 0.5) -> Callable:
  """Point -> the weight [B] of |x_0 - x_hat|^2; |eps - eps_hat|^2 = snr |x_0 - x_hat|^2.

  'simple' snr: |eps - eps_hat|^2 (2006.11239, Eq. 14); 'elbo' -snr' / 2 (2107.00630, Eq. 17);
  'likelihood' g^2 / 2 of the score's error (2101.09258, Eq. 7), which is the same; 'min_snr'
  min(snr, min_snr_gamma) (2303.09556); 'sigmoid' -snr' / 2 sigmoid(sigmoid_bias - logsnr)
  (2303.00848); 'edm' snr + 1 / sigma_data^2, that is 1 / c_out^2 (2206.00364, Table 1);
  'flow_matching' the velocity's error (2210.02747); 'snr_plus_1', the error of v on a
  variance-preserving path, and 'data' 1 (2202.00512, Sec. 4). BadInput for another name.
  """
  def flow_matching(p):
    return (p.d_alpha - p.alpha * (p.d_sigma / jnp.maximum(p.sigma, LEAST_SIGMA))) ** 2

  def of_snr(function):
    return lambda p: function(*snr_and_slope(p))

  table = {
      'simple': of_snr(lambda snr, slope: snr),
      'elbo': of_snr(lambda snr, slope: -0.5 * slope),
      'likelihood': of_snr(lambda snr, slope: -0.5 * slope),
      'min_snr': of_snr(lambda snr, slope: jnp.minimum(snr, min_snr_gamma)),
      'sigmoid': of_snr(lambda snr, slope: -0.5 * slope / (1.0 + jnp.exp(-sigmoid_bias) * snr)),
      'edm': of_snr(lambda snr, slope: snr + sigma_data**-2),
      'flow_matching': flow_matching,
      'snr_plus_1': of_snr(lambda snr, slope: snr + 1.0),
      'data': of_snr(lambda snr, slope: jnp.ones_like(snr)),
  }
  if name not in table:
    raise BadInput(f'weighting={name!r} is not one of: {", ".join(WEIGHTINGS)}')
  return table[name]
