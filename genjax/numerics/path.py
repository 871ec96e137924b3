"""The Gaussian path q(x_t | x_0) = N(alpha x_0, sigma^2 I): schedules, posterior, conversions.

Time t lies in [0, 1], 0 = data, 1 = noise; logsnr = 2 log(alpha / sigma) falls with t. A path is a
function t [B] -> (alpha [B], sigma [B]), float32. Functions here broadcast: see `match`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import BadInput

Path = Callable


def match(a: jax.Array, x: jax.Array) -> jax.Array:
  """[B] -> [B, 1, ...] with as many axes as x."""
  return a.reshape(a.shape + (1,) * (x.ndim - a.ndim))


def cosine(logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> Path:
  """logsnr(t) = -2 log tan(a t + b) between its bounds (2202.00512, App. A; 2102.09672)."""
  b = np.arctan(np.exp(-0.5 * logsnr_max))
  b_end = np.arctan(np.exp(0.5 * logsnr_min))
  a = 0.5 * np.pi - b - b_end

  def path(t):
    # alpha is the sine of the complementary angle: cos loses its digits near pi / 2
    t = t.astype(jnp.float32)
    return jnp.sin(b_end + a * (1.0 - t)), jnp.sin(b + a * t)

  return path


def from_logsnr(logsnr: jax.Array):
  """alpha, sigma of the variance-preserving path (alpha^2 + sigma^2 = 1) at this logsnr."""
  return (jnp.exp(-0.5 * jax.nn.softplus(-logsnr)), jnp.exp(-0.5 * jax.nn.softplus(logsnr)))


def linear_beta(logsnr_min: float = -10.0, logsnr_max: float = 10.0, beta_min: float = 0.1,
                beta_max: float = 20.0) -> Path:
  """VP with beta(t) linear: log alpha = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2.

  2011.13456, Eq. 33. Time is mapped to the piece of that path that lies within the bounds.
  """
  def time_at(logsnr):
    # -2 log alpha = softplus(-logsnr) = beta_min s + (beta_max - beta_min) s^2 / 2, solved for s
    rhs, slope = np.logaddexp(0.0, -logsnr), beta_max - beta_min
    return 2.0 * rhs / (beta_min + np.sqrt(beta_min**2 + 2.0 * slope * rhs))

  start, end = time_at(logsnr_max), time_at(logsnr_min)

  def path(t):
    s = start + (end - start) * t.astype(jnp.float32)
    exponent = s * (beta_min + 0.5 * (beta_max - beta_min) * s)  # -2 log alpha > 0
    return jnp.exp(-0.5 * exponent), jnp.sqrt(-jnp.expm1(-exponent))

  return path


def linear_logsnr(logsnr_min: float = -10.0, logsnr_max: float = 10.0) -> Path:
  """VP with logsnr linear in t: VDM's schedule before it learns (2107.00630)."""
  def path(t):
    t = t.astype(jnp.float32)
    return from_logsnr(logsnr_max + (logsnr_min - logsnr_max) * t)

  return path


SCHEDULES = {'cosine': cosine, 'linear_beta': linear_beta, 'linear_logsnr': linear_logsnr}


def schedule(name: str, logsnr_min: float, logsnr_max: float) -> Path:
  """The named path between these bounds of logsnr; BadInput if there is none of that name."""
  if name not in SCHEDULES:
    raise BadInput(f'schedule = {name!r} is unknown; allowed: {", ".join(SCHEDULES)}')
  if not logsnr_min < logsnr_max:
    raise BadInput(f'logsnr_min = {logsnr_min} must be below logsnr_max = {logsnr_max}')
  return SCHEDULES[name](logsnr_min, logsnr_max)


def logsnr(alpha, sigma):
  """2 log(alpha / sigma)."""
  return 2.0 * (jnp.log(alpha) - jnp.log(sigma))


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


PREDICTIONS = ('noise', 'data', 'v')


def to_data(prediction: str, output, x_t, alpha, sigma):
  """E[x_0 | x_t] from a network's output read as noise, data or v = alpha eps - sigma x_0.

  v: 2202.00512, App. D, here for any alpha, sigma. alpha, sigma [B].
  """
  a, s = match(alpha, x_t), match(sigma, x_t)
  if prediction == 'data':
    return output
  if prediction == 'noise':
    return (x_t - s * output) / a
  if prediction == 'v':
    return (a * x_t - s * output) / (a**2 + s**2)
  raise BadInput(f'prediction = {prediction!r} is unknown; allowed: {", ".join(PREDICTIONS)}')


def to_noise(x_0, x_t, alpha, sigma):
  """eps with x_t = alpha x_0 + sigma eps."""
  return (x_t - match(alpha, x_t) * x_0) / match(sigma, x_t)


def to_v(x_0, x_t, alpha, sigma):
  """v = alpha eps - sigma x_0."""
  eps = to_noise(x_0, x_t, alpha, sigma)
  return match(alpha, x_t) * eps - match(sigma, x_t) * x_0


def to_score(x_0, x_t, alpha, sigma):
  """grad log p(x_t) = (alpha E[x_0 | x_t] - x_t) / sigma^2 (Tweedie)."""
  return (match(alpha, x_t) * x_0 - x_t) / match(sigma, x_t) ** 2
