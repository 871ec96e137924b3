"""Samplers of a diffusion: from x_T to x_0 by a denoiser, in one scan; they know no model.

SAMPLERS[name](denoise, path, rng, x_T, cond, *, num_steps, ...) -> x_0 [n, ...], evaluations of the
network, with denoise(x_t, t [n], cond, rng) -> E[x_0 | x_t] and path(t [n]) -> alpha, sigma.
"""

import jax
import jax.numpy as jnp

from genjax.numerics.path import (
  logsnr,
  posterior_coefficients,
  time_of_logsnr,
  transition_variance,
)
from genjax.types import BadInput

SPACINGS = ('time', 'logsnr')
VARIANCES = ('posterior', 'upper')


def times(path, num_steps: int, t_min: float, spacing: str) -> jax.Array:
  """t [num_steps] from 1 to t_min where the denoiser is asked, even in time or in logsnr."""
  if num_steps < 1:
    raise BadInput(f'num_steps = {num_steps} must be at least 1')
  if not 0.0 <= t_min < 1.0:
    raise BadInput(f't_min = {t_min} must lie in [0, 1)')
  if spacing not in SPACINGS:
    raise BadInput(f'spacing = {spacing!r} is unknown; allowed: {", ".join(SPACINGS)}')
  if spacing == 'time' or num_steps < 3:
    return jnp.linspace(1.0, t_min, num_steps)
  first, last = logsnr(*path(jnp.array([1.0, t_min])))
  inner = time_of_logsnr(path, jnp.linspace(first, last, num_steps)[1:-1])
  return jnp.concatenate([jnp.ones(1), inner, jnp.full(1, t_min)])


def _run(denoise, path, rng, x_T, cond, coefficients, *, num_steps, t_min, spacing, clip):
  """x_s = c_t x_t + c_0 E[x_0|x_t] + std z over the times; the last step lands on E[x_0|x_t].

  coefficients(alpha_s, sigma_s, alpha_t, sigma_t) -> (c_t, c_0, std), over all steps at once; std
  None: no noise is drawn.
  """
  t = times(path, num_steps, t_min, spacing)
  alpha, sigma = path(t)
  # the step after the last time is the data itself: alpha 1, sigma 0
  alpha_s, sigma_s = jnp.append(alpha[1:], 1.0), jnp.append(sigma[1:], 0.0)
  on_x_t, on_x_0, std = coefficients(alpha_s, sigma_s, alpha, sigma)
  std = None if std is None else std.at[-1].set(0.0)

  def step(x_t, inputs):
    t, on_x_t, on_x_0, std, key = inputs
    x_0 = denoise(x_t, jnp.full(x_t.shape[:1], t), cond, None)
    if clip is not None:
      x_0 = jnp.clip(x_0, -clip, clip)
    x_s = on_x_t * x_t + on_x_0 * x_0
    if std is not None:
      x_s = x_s + std * jax.random.normal(key, x_t.shape, x_t.dtype)
    return x_s, None

  inputs = (t, on_x_t, on_x_0, std, jax.random.split(rng, num_steps))
  x_0, _ = jax.lax.scan(step, x_T, inputs)
  return x_0, num_steps


def ddpm(denoise, path, rng, x_T, cond, *, num_steps: int = 100, t_min: float = 1e-3,
         variance: str = 'posterior', spacing: str = 'time', clip: float | None = None):
  """Ancestral sampling: x_0 [n, ...] and num_steps evaluations (2006.11239, Alg. 2).

  variance: of q(x_s|x_t,x_0) ('posterior', beta tilde) or of q(x_t|x_s) ('upper', beta). clip:
  bound on |E[x_0|x_t]| within the loop. Raises BadInput on unknown words and empty grids.
  """
  if variance not in VARIANCES:
    raise BadInput(f'variance = {variance!r} is unknown; allowed: {", ".join(VARIANCES)}')

  def coefficients(*scales):
    on_x_t, on_x_0, var = posterior_coefficients(*scales)
    return on_x_t, on_x_0, jnp.sqrt(transition_variance(*scales) if variance == 'upper' else var)

  return _run(denoise, path, rng, x_T, cond, coefficients, num_steps=num_steps, t_min=t_min,
              spacing=spacing, clip=clip)


def ddim(denoise, path, rng, x_T, cond, *, num_steps: int = 50, t_min: float = 1e-3,
         eta: float = 0.0, spacing: str = 'time', clip: float | None = None):
  """DDIM: x_0 [n, ...] and num_steps evaluations (2010.02502, Eq. 12 and 16).

  eta 0: deterministic given x_T; eta 1: ancestral with the posterior variance.
  """
  if not 0.0 <= eta <= 1.0:
    raise BadInput(f'eta = {eta} must lie in [0, 1]')

  def coefficients(alpha_s, sigma_s, alpha_t, sigma_t):
    _, _, var = posterior_coefficients(alpha_s, sigma_s, alpha_t, sigma_t)
    on_eps = jnp.sqrt(sigma_s**2 - eta**2 * var)  # var <= sigma_s^2
    std = eta * jnp.sqrt(var) if eta else None
    return on_eps / sigma_t, alpha_s - on_eps * alpha_t / sigma_t, std

  return _run(denoise, path, rng, x_T, cond, coefficients, num_steps=num_steps, t_min=t_min,
              spacing=spacing, clip=clip)


SAMPLERS = {'ddpm': ddpm, 'ddim': ddim}
