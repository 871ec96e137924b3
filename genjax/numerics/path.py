"""The Gaussian path q(x_t | x_0) = N(alpha x_0, sigma^2 I): schedules, their slopes, the posterior.

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
import numpy as np

from genjax.types import BadInput

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


def match(a: jax.Array, x: jax.Array) -> jax.Array:
  """[B] -> [B, 1, ...] with as many axes as x."""
  return a.reshape(a.shape + (1,) * (x.ndim - a.ndim))


def _real(t) -> jax.Array:
  """t as it is in float64, as float32 otherwise: times and scales are never of half precision."""
  return jnp.asarray(t, jnp.promote_types(t.dtype, jnp.float32))


def cosine(logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> Path:
  """logsnr(t) = -2 log tan(a t + b) between its bounds (2202.00512, App. A; 2102.09672)."""
  b = np.arctan(np.exp(-0.5 * logsnr_max))
  b_end = np.arctan(np.exp(0.5 * logsnr_min))
  a = 0.5 * np.pi - b - b_end

  def path(t):
    # alpha is the sine of the complementary angle: cos loses its digits near pi / 2
    t = _real(t)
    return jnp.sin(b_end + a * (1.0 - t)), jnp.sin(b + a * t)

  return path


def from_logsnr(logsnr: jax.Array):
  """alpha, sigma of the variance-preserving path (alpha^2 + sigma^2 = 1) at this logsnr."""
  return (jnp.exp(-0.5 * jax.nn.softplus(-logsnr)), jnp.exp(-0.5 * jax.nn.softplus(logsnr)))


def _exponent(start, end, beta_min, beta_max):
  """t -> the integral of a linear beta, -2 log alpha, on the piece [start, end] of its time; and
  how much of it came after t = 0, which a difference would lose to rounding."""
  slope = beta_max - beta_min

  def exponent(t):
    fresh = (end - start) * t
    s = start + fresh
    return (s * (beta_min + 0.5 * slope * s),
            fresh * (beta_min + 0.5 * slope * (s + start)))

  return exponent


def _beta_time(minus_two_log_alpha, beta_min, beta_max):
  """The time s at which beta_min s + (beta_max - beta_min) s^2 / 2 has this value."""
  rhs = minus_two_log_alpha
  return 2.0 * rhs / (beta_min + np.sqrt(beta_min**2 + 2.0 * (beta_max - beta_min) * rhs))


def linear_beta(logsnr_min: float = -10.0, logsnr_max: float = 10.0, beta_min: float = 0.1,
                beta_max: float = 20.0) -> Path:
  """VP with beta(t) linear: log alpha = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2.

  2011.13456, Eq. 33. Time is mapped to the piece of that path that lies within the bounds.
  """
  # -2 log alpha = softplus(-logsnr)
  ends = (_beta_time(np.logaddexp(0.0, -bound), beta_min, beta_max)
          for bound in (logsnr_max, logsnr_min))
  exponent = _exponent(*ends, beta_min, beta_max)

  def path(t):
    h, _ = exponent(_real(t))
    return jnp.exp(-0.5 * h), jnp.sqrt(-jnp.expm1(-h))

  return path


def zero_terminal_snr(logsnr_min: float = -10.0, logsnr_max: float = 10.0, beta_min: float = 0.1,
                      beta_max: float = 20.0) -> Path:
  """linear_beta with alpha shifted and scaled so that alpha(1) = 0 and alpha(0) stays.

  2305.08891, Alg. 1. logsnr_min is that of the path before the change; after it, -infinity.
  """
  ends = [_beta_time(np.logaddexp(0.0, -bound), beta_min, beta_max)
          for bound in (logsnr_max, logsnr_min)]
  exponent = _exponent(*ends, beta_min, beta_max)
  h_0, h_1 = (0.5 * np.logaddexp(0.0, -bound) for bound in (logsnr_max, logsnr_min))
  alpha_0, alpha_1 = np.exp(-h_0), np.exp(-h_1)
  scale = alpha_0 / (alpha_0 - alpha_1)

  def path(t):
    t = _real(t)
    _, fresh = exponent(t)
    lost = -scale * alpha_0 * jnp.expm1(-0.5 * fresh)  # alpha(0) - alpha(t)
    # rounding must leave alpha(1) 0, and none below; the slope stays that of the formula
    rounding = jnp.where(t < 1.0, jnp.maximum(lost - alpha_0, 0.0), lost - alpha_0)
    lost = lost - jax.lax.stop_gradient(rounding)
    return alpha_0 - lost, jnp.sqrt((lost - np.expm1(-h_0)) * (1.0 + alpha_0 - lost))

  return path


def sub_vp(logsnr_min: float = -10.0, logsnr_max: float = 10.0, beta_min: float = 0.1,
           beta_max: float = 20.0) -> Path:
  """alpha of linear_beta with sigma = 1 - alpha^2, below that of VP (2011.13456, Eq. 29).

  Time is mapped to the piece of that path that lies within the bounds.
  """
  def minus_two_log_alpha(bound):
    # alpha / (1 - alpha^2) = k at this logsnr; 1 - alpha itself is kept where alpha is near 1
    k = np.exp(0.5 * bound)
    return -2.0 * np.log(2.0 * k / (1.0 + np.sqrt(1.0 + 4.0 * k**2)))

  ends = (_beta_time(minus_two_log_alpha(bound), beta_min, beta_max)
          for bound in (logsnr_max, logsnr_min))
  exponent = _exponent(*ends, beta_min, beta_max)

  def path(t):
    h, _ = exponent(_real(t))
    return jnp.exp(-0.5 * h), -jnp.expm1(-h)

  return path


def linear_logsnr(logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> Path:
  """VP with logsnr linear in t: VDM's schedule before it learns (2107.00630)."""
  def path(t):
    return from_logsnr(logsnr_max + (logsnr_min - logsnr_max) * _real(t))

  return path


def ve(logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> Path:
  """alpha = 1 and sigma geometric, exp(-logsnr / 2) between the bounds (2011.13456, Eq. 30)."""
  def path(t):
    logsnr = logsnr_max + (logsnr_min - logsnr_max) * _real(t)
    return jnp.ones_like(logsnr), jnp.exp(-0.5 * logsnr)

  return path


def edm(logsnr_min: float = -2.0 * float(np.log(80.0)),
        logsnr_max: float = -2.0 * float(np.log(0.002)), rho: float = 7.0) -> Path:
  """alpha = 1, sigma^(1/rho) linear in t: equal steps of t are EDM's (2206.00364, Eq. 5).

  The defaults are sigma from 0.002 to 80 (Table 1).
  """
  low, high = (np.exp(-0.5 * bound / rho) for bound in (logsnr_max, logsnr_min))

  def path(t):
    sigma = (low + (high - low) * _real(t)) ** rho
    return jnp.ones_like(sigma), sigma

  return path


def linear(logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> Path:
  """alpha = 1 - t, sigma = t: flow matching and rectified flow (2210.02747; 2209.03003).

  It has both its ends, sigma(0) = 0 and alpha(1) = 0, and so ignores the bounds.
  """
  del logsnr_min, logsnr_max

  def path(t):
    t = _real(t)
    return 1.0 - t, t

  return path


SCHEDULES = {'cosine': cosine, 'linear_beta': linear_beta, 'linear_logsnr': linear_logsnr,
             'zero_terminal_snr': zero_terminal_snr, 've': ve, 'sub_vp': sub_vp, 'edm': edm,
             'linear': linear}
# their logsnr is infinite at an end; a bound stops within logsnr_min and logsnr_max
UNBOUNDED = ('zero_terminal_snr', 'linear')
# x_t grows with sigma: a network needs its input divided by a scale
EXPLODING = ('ve', 'edm')


def schedule(name: str, logsnr_min: float, logsnr_max: float) -> Path:
  """The named path between these bounds of logsnr; BadInput if there is none of that name."""
  if name not in SCHEDULES:
    raise BadInput(f'schedule = {name!r} is unknown; allowed: {", ".join(SCHEDULES)}')
  if not logsnr_min < logsnr_max:
    raise BadInput(f'logsnr_min = {logsnr_min} must be below logsnr_max = {logsnr_max}')
  return SCHEDULES[name](logsnr_min, logsnr_max)


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

  2107.00630, App. A.3, with r = (alpha_t sigma_s) / (alpha_s sigma_t) and 1 - r^2 in place of
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
