"""The denoising loss of a diffusion: a weighted mean of |x_0 - E[x_0 | x_t]|^2 over drawn times."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.numerics import conditions, times
from genjax.numerics import path as paths
from genjax.numerics.shapes import match, sum_event
from genjax.numerics.weighting import log_one_plus_snr, snr_and_slope
from genjax.types import Aux, DataSpec, Diffusion

LEAST_ALPHA = 1e-12  # its square and the inverse of that are finite in float32


class Times(NamedTuple):
  """How the times of a loss are drawn."""

  sampling: str  # one of times.TIME_SAMPLINGS
  t_min: float
  normal: tuple  # mean and deviation; None: as published
  num_steps: int | None  # i / num_steps, i = 1..num_steps; None: all in [t_min, 1]


def init_carry(how: Times):
  """The carry before the first step: the history that importance sampling needs, or ()."""
  return {'rows': {}, 'rest': times.no_history()} if how.sampling == 'importance' else ()


def make(diffusion: Diffusion, spec: DataSpec, weight, how: Times, label_dropout: float,
         bound_weight: float):
  """loss(params, carry, batch, rng, step): see `score_matching.denoising`."""
  def loss(params, carry, batch, rng, step):
    rng_t, rng_eps, rng_drop, rng_net = jax.random.split(rng, 4)
    x_0, cond, theta = batch['x'], batch.get('cond'), params['model']
    cond = conditions.drop(rng_drop, cond, label_dropout, spec)

    path = lambda t: diffusion.path(theta, t)
    drawn = _draw(path, carry, rng_t, x_0.shape[0], how)
    t = drawn.t
    eps = jax.random.normal(rng_eps, x_0.shape)
    point = paths.at(path, t)
    x_t = paths.diffuse(x_0, eps, point.alpha, point.sigma)
    x_hat, v = diffusion.denoise(theta, x_t, t, cond, rng_net)

    snr, _ = snr_and_slope(point)
    # x_t = alpha x_0 + sigma eps: |eps - eps_hat|^2 = snr |x_0 - x_hat|^2
    square = sum_event((x_0 - x_hat) ** 2)
    dim = x_0[0].size
    losses = weight(point) * square / dim
    metrics = {'eps_mse': (snr * square / dim).mean(), 'x_mse': (square / dim).mean(),
               'diffusion_loss': _diffusion_loss(path, point, drawn, square, how).mean()}
    if v is not None:
      # the bound trains only the variance: 2102.09672, Sec. 3.1
      error = jax.lax.stop_gradient(x_0 - x_hat)
      vlb = how.num_steps * _divergence(path, point, t, error, v, how) / dim
      losses, metrics['vlb'] = losses + bound_weight * vlb, vlb.mean()
    if drawn.bins is not None:
      history = times.remember(carry['rest'], drawn.bins, jax.lax.stop_gradient(losses))
      carry, losses = {'rows': {}, 'rest': history}, losses / drawn.density
    return losses.mean(), Aux(metrics, carry)

  return loss


def _draw(path, carry, rng, n, how: Times) -> times.Drawn:
  if how.sampling == 'importance':
    return times.draw_by_importance(rng, n, carry['rest'], how.t_min, how.num_steps)
  if how.num_steps is not None:
    return times.draw_steps(how.sampling, rng, n, how.num_steps)
  return times.draw(how.sampling, rng, n, path, how.t_min, how.normal)


def _diffusion_loss(path, point, drawn: times.Drawn, square, how: Times):
  """[B] whose mean is the diffusion loss (2107.00630, Eq. 13 with steps, else Eq. 17)."""
  snr, slope = snr_and_slope(point)
  if how.num_steps is not None:
    snr_s, _ = snr_and_slope(paths.at(path, _step_down(path, drawn.t, how)))
    return 0.5 * how.num_steps * (snr_s - snr) * square / drawn.density
  if drawn.part is None:
    return -0.5 * slope * square / drawn.density * (1.0 - how.t_min)
  # an integral over log(1 + snr) of (1 + snr) |x_0 - x_hat|^2, which tends to a constant at either
  # end: the draws of a part represent the whole part
  first, last = (log_one_plus_snr(paths.at(path, end)) for end in drawn.part)
  return 0.5 * times.NUM_PARTS * (first - last) * (1.0 + snr) * square


def _step_down(path, t, how: Times):
  """The end [B] of the step of length 1 / num_steps down from t.

  It is 0 for the first step; if the path has no noise at 0, it is t_min, or t if that is less.
  """
  _, noise = path(jnp.zeros_like(t))
  lowest = jnp.where(noise > 0.0, 0.0, how.t_min)
  return jnp.minimum(jnp.maximum(t - 1.0 / how.num_steps, lowest), t)


def _divergence(path, point, t, error, v, how: Times):
  """KL [B] of the step down from t; error: of x_hat."""
  alpha_s, sigma_s = path(_step_down(path, t, how))
  # without signal the KL has a limit, a product of 0 and infinity
  alpha = jnp.maximum(point.alpha, LEAST_ALPHA)
  drop = paths.logsnr(alpha_s, sigma_s) - paths.logsnr(alpha, point.sigma)
  log_ratio = 2.0 * (jnp.log(sigma_s) - jnp.log(point.sigma))
  eps_error = match(alpha / point.sigma, error) * error
  return sum_event(paths.step_divergence(eps_error, drop, log_ratio, v))
