"""The variational bound of a diffusion on log p(x), with continuous time or T steps.

Its terms have the names of 2107.00630 (VDM): `reconstruction`, E log p(x | z_0); `prior`,
-KL(q(z_1 | x) || N(0, sigma_1^2)); `diffusion`, minus the denoising loss between the ends.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics import path as paths
from genjax.numerics.shapes import match, sum_event
from genjax.numerics.times import stratified

VARIANCES = ('posterior', 'upper', 'learned')


def mean_level(output, x_t, alpha, sigma, levels: int) -> jax.Array:
  """E[x_0 | x_t] [B, ..., C] from output [B, ..., C levels], log p(x_0 = k | other dimensions).

  By Bayes' rule in each dimension p(k | x_t) is proportional to q(x_t | k) exp(output_k). Thus the
  network need not learn to round x_t at low noise.
  """
  logits = output.reshape(*x_t.shape, levels) + prob.level_logits(x_t, alpha, sigma, levels)
  # levels first: on a CPU sums over such a short last axis take five times as long
  logits = logits.reshape(-1, levels).T
  p = jnp.exp(logits - jax.lax.stop_gradient(logits.max(0)))
  return ((p * prob.grid(levels)[:, None]).sum(0) / p.sum(0)).reshape(x_t.shape)


def reconstruction(x, z_0, alpha_0, sigma_0, levels: int | None):
  """E log p(x | z_0) [B] in nats, p(x | z_0) proportional to q(z_0 | x); scales [B].

  With levels: the mass of each integer (`prob.level_log_prob`).
  Continuous: log N(x; z_0 / alpha_0, (sigma_0 / alpha_0)^2), averaged over z_0 in closed form.
  """
  if levels is None:
    log_std = jnp.log(sigma_0) - jnp.log(alpha_0)
    return -np.prod(x.shape[1:]) * (0.5 * prob.LOG_2PI + 0.5 + log_std)
  return prob.level_log_prob(x, z_0, alpha_0, sigma_0, levels)


def bound(denoise, path, x, rng, *, levels: int | None, num_steps: int | None = None,
          variance: str = 'posterior', ends=(0.0, 1.0), uniform_in: str = 'logsnr') -> dict:
  """{'reconstruction', 'prior', 'diffusion'} [B] nats: their expected sum bounds log p(x) below.

  denoise: (x_t, t [B]) -> E[x_0 | x_t], with variance 'learned' (E[x_0 | x_t], v).
  path: t [B] -> alpha, sigma.
  num_steps: None: continuous time, -logsnr' / 2 |eps - eps_hat|^2 (2107.00630, Eq. 17). T: the
    T-step model with steps even in t, of which one is drawn uniformly.
  variance: of the T reverse steps, 'posterior', 'upper' or 'learned' (`path.step_divergence`).
  ends: the times of z_0 and z_1, between which logsnr must be finite.
  uniform_in: for continuous time, draw t uniformly in 'logsnr', where the schedule between the ends
    has no effect (Eq. 18), or in 'time', weighted by its slope.
  """
  n = x.shape[0]
  rng_t, rng_eps, rng_0 = jax.random.split(rng, 3)
  (alpha_0, sigma_0), (alpha_1, sigma_1) = (path(jnp.full(n, end)) for end in ends)
  t, of_error = _times(path, stratified(rng_t, n), ends, num_steps, uniform_in)
  alpha, sigma = path(t)
  eps = jax.random.normal(rng_eps, x.shape, x.dtype)
  x_hat = denoise(paths.diffuse(x, eps, alpha, sigma), t)
  x_hat, v = x_hat if variance == 'learned' else (x_hat, float(variance == 'upper'))
  # snr |x - x_hat|^2 = |eps - eps_hat|^2, without a division by sigma of nearly equal numbers
  eps_error = match(alpha / sigma, x) * (x - x_hat)

  z_0 = paths.diffuse(x, jax.random.normal(rng_0, x.shape, x.dtype), alpha_0, sigma_0)
  std_1 = match(sigma_1, x)
  return {
      'reconstruction': reconstruction(x, z_0, alpha_0, sigma_0, levels),
      'prior': -sum_event(prob.normal_kl(match(alpha_1, x) * x, std_1, 0.0, std_1)),
      'diffusion': -of_error(eps_error, v),
  }


def _times(path, u, ends, num_steps, uniform_in):
  """t [B] from u [B], and the function (eps_error, v) -> estimate [B] of the diffusion loss."""
  start, end = ends
  if num_steps is not None:
    i = jnp.floor(u * num_steps)
    # the denoiser is evaluated at the noisier end of a step
    s, t = (start + (end - start) * (j / num_steps) for j in (i, i + 1.0))
    (alpha_s, sigma_s), (alpha_t, sigma_t) = path(s), path(t)
    drop = paths.logsnr(alpha_s, sigma_s) - paths.logsnr(alpha_t, sigma_t)
    log_ratio = 2.0 * (jnp.log(sigma_s) - jnp.log(sigma_t))
    return t, lambda error, v: num_steps * sum_event(
        paths.step_divergence(error, drop, log_ratio, v))
  if uniform_in == 'time':
    t = start + (end - start) * u
    weight = -(end - start) * paths.d_logsnr(paths.at(path, t))
  else:
    first, last = (paths.logsnr(*path(jnp.full(u.shape, time))) for time in ends)
    t = paths.time_of_logsnr(path, last + (first - last) * u)
    weight = first - last
  return t, lambda error, v: 0.5 * weight * sum_event(error**2)
