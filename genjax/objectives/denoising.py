"""The denoising loss of a diffusion: a weighted mean of |x_0 - E[x_0 | x_t]|^2 over drawn times."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.numerics import path as paths
from genjax.numerics import times
from genjax.numerics.weighting import snr_and_slope
from genjax.prob import sum_event
from genjax.types import Aux, DataSpec, Model


class Times(NamedTuple):
  """How the times of a loss are drawn."""

  sampling: str  # of times.TIME_SAMPLINGS
  t_min: float
  normal: tuple  # mean and deviation; None: as published
  num_steps: int | None  # on the grid i / num_steps


def init_carry(how: Times):
  """The carry before the first step: the history that importance sampling needs, or ()."""
  return {'rows': {}, 'rest': times.no_history()} if how.sampling == 'importance' else ()


def make_loss(model: Model, spec: DataSpec, weight, how: Times, label_dropout: float,
              bound_weight: float):
  """loss(params, carry, batch, rng, step): see `score_matching.make`."""
  def loss(params, carry, batch, rng, step):
    rng_t, rng_eps, rng_drop, rng_net = jax.random.split(rng, 4)
    x_0, cond, theta = batch['x'], batch.get('cond'), params['model']
    if label_dropout and cond is not None:
      dropped = jax.random.bernoulli(rng_drop, label_dropout, cond.shape)
      cond = jnp.where(dropped, spec.num_classes, cond)

    path = lambda t: model.path(theta, t)
    t, density, chosen = _draw(path, carry, rng_t, x_0.shape[0], how)
    eps = jax.random.normal(rng_eps, x_0.shape)
    point = paths.at(path, t)
    x_t = paths.diffuse(x_0, eps, point.alpha, point.sigma)
    if model.reverse is None:
      x_hat, v = model.denoise(theta, x_t, t, cond, rng_net), None
    else:
      x_hat, v = model.reverse(theta, x_t, t, cond, rng_net)

    snr, slope = snr_and_slope(point)
    # x_t = alpha x_0 + sigma eps: |eps - eps_hat|^2 = snr |x_0 - x_hat|^2
    square = sum_event((x_0 - x_hat) ** 2)
    dim = x_0[0].size
    losses = weight(point) * square / dim
    metrics = {'eps_mse': (snr * square / dim).mean(), 'x_mse': (square / dim).mean(),
               'diffusion_loss': (-0.5 * slope * square / density).mean() * (1.0 - how.t_min)}
    if v is not None:
      # the variance alone hears the bound: 2102.09672, Sec. 3.1
      error = jax.lax.stop_gradient(paths.match(jnp.sqrt(snr), x_0) * (x_0 - x_hat))
      vlb = how.num_steps * _divergence(path, point, t, error, v, how) / dim
      losses, metrics['vlb'] = losses + bound_weight * vlb, vlb.mean()
    if chosen is not None:
      history = times.remember(carry['rest'], chosen, jax.lax.stop_gradient(losses))
      carry, losses = {'rows': {}, 'rest': history}, losses / density
    return losses.mean(), Aux(metrics, carry)

  return loss


def _draw(path, carry, rng, n, how: Times):
  """t [n], its density, and its bins of the history (None: there is no history)."""
  if how.sampling == 'importance':
    t, density, chosen = times.draw_by_importance(rng, n, carry['rest'], how.t_min)
  else:
    chosen = None
    t, density = times.draw(how.sampling, rng, n, path, how.t_min, how.normal)
  return (t if how.num_steps is None else paths.on_grid(t, how.num_steps)), density, chosen


def _divergence(path, point, t, eps_error, v, how: Times):
  """KL [B] of the step of length 1 / num_steps down from t; no step goes below t_min."""
  s = jnp.minimum(jnp.maximum(t - 1.0 / how.num_steps, how.t_min), t)
  alpha_s, sigma_s = path(s)
  drop = paths.logsnr(alpha_s, sigma_s) - paths.logsnr(point.alpha, point.sigma)
  log_ratio = 2.0 * (jnp.log(sigma_s) - jnp.log(point.sigma))
  return sum_event(paths.step_divergence(eps_error, drop, log_ratio, v))
