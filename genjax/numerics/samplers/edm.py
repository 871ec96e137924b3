"""Euler and Heun with EDM's churn (2206.00364, Alg. 2)."""

import jax
import jax.numpy as jnp

from genjax.numerics.path import logsnr, time_of_logsnr
from genjax.numerics.samplers.grid import asked, grid, one, towards
from genjax.types import BadInput

# Where sigma / alpha falls more than tenfold in one of EDM's steps, Heun's rule in it, whose weight
# is one over that drop, gives way to the trapezoid in alpha / sigma, of the same order.
LARGEST_DROP = 10.0


def _churned(path, at, churn, churn_min, churn_max, churn_noise):
  """Times raised by churn, and the scale and noise that take x there: t [K], keep [K], std [K]."""
  alpha, sigma = at.alpha[:-1], at.sigma[:-1]
  level = logsnr(alpha, sigma)
  ratio = jnp.exp(-0.5 * level)
  gamma = jnp.minimum(churn / len(at.t), 2**0.5 - 1.0)
  raised = (ratio >= churn_min) & (ratio <= churn_max) & (jnp.arange(len(at.t)) > 0)
  # there is no path beyond t = 1
  t = time_of_logsnr(path, jnp.maximum(level - 2.0 * jnp.log1p(gamma), level[0]))
  t = jnp.where(raised, t.astype(at.t.dtype), at.t)
  alpha_up, sigma_up = path(t)
  keep = jnp.where(raised, alpha_up / jnp.where(raised, alpha, 1.0), 1.0)
  variance = jnp.maximum(sigma_up**2 - (keep * sigma) ** 2, 0.0)
  return t, keep, churn_noise * jnp.where(raised, jnp.sqrt(variance), 0.0)


def _weight(spacing, alpha_t, sigma_t, alpha_s, sigma_s):
  """The factor of E[x_0 | x_s] - E[x_0 | x_t] in Heun's correction of an Euler step from t to s.

  At EDM's times it is the published one: the trapezoid for x / alpha in sigma / alpha. At other
  times one step may cross any range of that ratio. There it is the trapezoid in the angle
  arctan(sigma / alpha), in which x / sqrt(alpha^2 + sigma^2) has a bounded slope at both ends.
  """
  r = alpha_t * sigma_s / (alpha_s * sigma_t)  # the ratio's fall, 0 from no signal
  if spacing == 'edm':
    return alpha_s * 0.5 * (1.0 - r) / jnp.where(r * LARGEST_DROP >= 1.0, r, 1.0)
  scale = jnp.hypot(alpha_s, sigma_s) / jnp.hypot(alpha_t, sigma_t)
  return 0.5 * (1.0 - r) * alpha_s * sigma_t / sigma_s * scale


def _sample(denoise, path, rng, x_T, cond, *, order, cost, num_steps, t_min, spacing, rho, churn,
            churn_min, churn_max, churn_noise, clip):
  """Alg. 2 (order 2) or its Euler steps (order 1); the last step is Euler's, to the data."""
  if not churn >= 0.0 or not churn_noise >= 0.0 or not 0.0 <= churn_min <= churn_max:
    raise BadInput(f'churn = {churn}, churn_min = {churn_min}, churn_max = {churn_max}, '
                   f'churn_noise = {churn_noise} must be at least 0, the range in order')
  ask = asked(denoise, cond, clip)
  at = grid(path, num_steps, t_min, spacing, rho)
  t, keep, std = at.t, jnp.ones_like(at.t), None
  if churn:
    t, keep, std = _churned(path, at, churn, churn_min, churn_max, churn_noise)
  before, after = path(t), (at.alpha[1:], at.sigma[1:])

  def euler_step(x, inputs):
    t, before, after, keep, std, key = inputs
    if std is not None:
      x = keep * x + std * jax.random.normal(key, x.shape, x.dtype)
    x_0 = ask(x, t)
    return towards(x, x_0, *before, *after), x_0

  def step(x, inputs):
    inputs, t_s, weight = inputs
    x_s, x_0 = euler_step(x, inputs)
    if order == 2:
      x_s = x_s + weight * (ask(x_s, t_s) - x_0)
    return x_s, None

  inputs = (t, before, after, keep, std, jax.random.split(rng, num_steps))
  inner, last = jax.tree.map(lambda a: a[:-1], inputs), jax.tree.map(lambda a: a[-1], inputs)
  weight = _weight(spacing, *inner[1], *inner[2])
  x, _ = jax.lax.scan(step, x_T, (inner, at.t[1:], weight))
  _, x_0 = euler_step(x, last)
  return x_0, cost(t).sum() + (cost(at.t[1:]).sum() if order == 2 else 0)


def euler(denoise, path, rng, x_T, cond, *, cost=one, num_steps: int = 50, t_min: float = 1e-3,
          spacing: str = 'edm', rho: float = 7.0, churn: float = 0.0, churn_min: float = 0.0,
          churn_max: float = float('inf'), churn_noise: float = 1.0, clip: float | None = None):
  """Euler's method in sigma / alpha: x_0 [n, ...] and its evaluations, num_steps.

  Without churn it is DDIM at eta 0, by default at EDM's times. churn to churn_noise:
  S_churn, S_min, S_max, S_noise of 2206.00364, Alg. 2, the range in units of sigma / alpha.
  """
  return _sample(denoise, path, rng, x_T, cond, order=1, cost=cost, num_steps=num_steps,
                 t_min=t_min, spacing=spacing, rho=rho, churn=churn, churn_min=churn_min,
                 churn_max=churn_max, churn_noise=churn_noise, clip=clip)


def heun(denoise, path, rng, x_T, cond, *, cost=one, num_steps: int = 18, t_min: float = 1e-3,
         spacing: str = 'edm', rho: float = 7.0, churn: float = 0.0, churn_min: float = 0.0,
         churn_max: float = float('inf'), churn_noise: float = 1.0, clip: float | None = None):
  """EDM's stochastic Heun (2206.00364, Alg. 2): x_0 [n, ...], 2 num_steps - 1 evaluations.

  At other times than EDM's another rule of the same order: see `_weight`. churn to churn_noise:
  S_churn, S_min, S_max, S_noise, the range in units of sigma / alpha; the noise is raised to that
  of t = 1 at most.
  """
  return _sample(denoise, path, rng, x_T, cond, order=2, cost=cost, num_steps=num_steps,
                 t_min=t_min, spacing=spacing, rho=rho, churn=churn, churn_min=churn_min,
                 churn_max=churn_max, churn_noise=churn_noise, clip=clip)
