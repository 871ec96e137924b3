"""The Gaussian path q(x_t | x_0) = N(alpha x_0, sigma^2 I): points on it, and its posterior.

Time t lies in [0, 1], 0 = data, 1 = noise; logsnr = 2 log(alpha / sigma) falls with t. A path is a
function t [B] -> (alpha [B], sigma [B]), of the precision of t and no less than float32. alpha(1)
and sigma(0) may be 0. What starts a sampler and ends a bound is N(0, sigma(1)^2): that x_1 still
holds alpha(1) x_0 is neglected in the first and counted in the second. Functions here broadcast:
see `match`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.numerics.shapes import match

Path = Callable


class Point(NamedTuple):
  """A path at times t: every field is [B]; the last two are derivatives with respect to t."""

  alpha: jax.Array
  sigma: jax.Array
  d_alpha: jax.Array | None = None
  d_sigma: jax.Array | None = None


def at(path: Path, t: jax.Array) -> Point:
  """The path and its derivatives at t [B]."""
  (alpha, sigma), (d_alpha, d_sigma) = jax.jvp(path, (t,), (jnp.ones_like(t),))
  return Point(alpha, sigma, d_alpha, d_sigma)


def logsnr(alpha, sigma):
  """2 log(alpha / sigma); -infinity where alpha is 0, infinity where sigma is 0."""
  return 2.0 * (jnp.log(alpha) - jnp.log(sigma))


def d_logsnr(point: Point) -> jax.Array:
  """The derivative of logsnr with respect to t, below 0; where logsnr is infinite, so is it."""
  return 2.0 * (point.d_alpha / point.alpha - point.d_sigma / point.sigma)


def angular_speed(point: Point) -> jax.Array:
  """d arctan(sigma / alpha) / dt [B]: pi / 2 on the path 'cosine', finite at both ends."""
  return ((point.alpha * point.d_sigma - point.sigma * point.d_alpha)
          / (point.alpha**2 + point.sigma**2))


def time_of_logsnr(path: Path, value: jax.Array, num_halvings: int = 24) -> jax.Array:
  """t [B] with logsnr(t) = value [B], by bisection: for any path that falls from t = 0 to 1."""
  def halve(_, bounds):
    low, high = bounds
    middle = 0.5 * (low + high)
    below = logsnr(*path(middle)) > value
    return jnp.where(below, middle, low), jnp.where(below, high, middle)

  bounds = (jnp.zeros_like(value), jnp.ones_like(value))
  low, high = jax.lax.fori_loop(0, num_halvings, halve, bounds)
  return 0.5 * (low + high)


def diffuse(x_0, eps, alpha, sigma):
  """x_t = alpha x_0 + sigma eps; alpha, sigma [B]."""
  return match(alpha, x_0) * x_0 + match(sigma, x_0) * eps


def posterior_coefficients(alpha_s, sigma_s, alpha_t, sigma_t):
  """(on x_t, on x_0, variance) of q(x_s | x_t, x_0) for s < t; all of one shape.

  2107.00630, App. A.3, with r = (alpha_t sigma_s) / (alpha_s sigma_t) and 1 - r^2 instead of
  sigma_{t|s}^2 / sigma_t^2, so that nothing is divided by what may vanish; sigma_s may be 0.
  """
  r = (alpha_t * sigma_s) / (alpha_s * sigma_t)
  fresh = (1.0 - r) * (1.0 + r)
  return r * sigma_s / sigma_t, alpha_s * fresh, sigma_s**2 * fresh


def posterior(x_t, x_0, alpha_s, sigma_s, alpha_t, sigma_t):
  """Mean [B, ...] and variance [B] of the Gaussian q(x_s | x_t, x_0), s < t; scales are [B]."""
  on_x_t, on_x_0, variance = posterior_coefficients(alpha_s, sigma_s, alpha_t, sigma_t)
  return match(on_x_t, x_t) * x_t + match(on_x_0, x_0) * x_0, variance


def transition_variance(alpha_s, sigma_s, alpha_t, sigma_t):
  """sigma_{t|s}^2 of q(x_t | x_s): the upper choice (beta) of a reverse step's variance."""
  r = (alpha_t * sigma_s) / (alpha_s * sigma_t)
  return sigma_t**2 * (1.0 - r) * (1.0 + r)


def step_divergence(eps_error, drop, log_ratio, v=0.0):
  """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) [B, ...] of a reverse step per dimension, in nats.

  p has the mean of q at x_hat and, in each dimension, a variance beta_tilde^(1 - v) beta^v: v = 0
  is the posterior's, 1 the upper choice (2006.11239), and anything between may be learned
  (2102.09672, Eq. 15). eps_error = eps - eps_hat [B, ...]; v a number or [B, ...]; drop = logsnr_s
  - logsnr_t [B]; log_ratio = log(beta_tilde / beta) = 2 log(sigma_s / sigma_t) [B].
  With v = 0 it sums to (snr_s - snr_t) / 2 |x - x_hat|^2 (2107.00630, Eq. 13); else it is r of
  that plus (r - 1 - log r) / 2, r = (beta_tilde / beta)^v.
  """
  log_r = v * match(log_ratio, eps_error)
  error = jnp.exp(log_r) * match(jnp.expm1(drop), eps_error) * eps_error**2
  return 0.5 * (error + jnp.expm1(log_r) - log_r)
