"""Posterior samples of x_0 given a linear measurement y = A x_0 + noise z, on any denoiser.

Particles pass through the laws p(x) N(y; A x, noise^2 + rho^2 A A^T) as rho falls: the split Gibbs
sampler of each law (2405.18782, Alg. 1) moves them, its two steps being exact, and the ratio of two
neighbouring laws, which costs no network, weighs them (Del Moral et al. 2006, annealed sequential
Monte Carlo). So more particles as well as more levels lead to the posterior, whatever the data, and
no gradient of the network is taken.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.numerics.measurements import Measurement, components, lift, log_prob_outside
from genjax.numerics.path import logsnr, posterior_coefficients, time_of_logsnr
from genjax.numerics.samplers.grid import asked, grid
from genjax.types import BadInput

DEEP = 8.0  # a draw from p(x | x + rho z) ends where noise is this much less than rho


class Spread(NamedTuple):
  """The variance of x_0 given x_t, the mean of its dimensions, by the ratio of the noise."""

  log_ratio: jax.Array  # [K]: log(sigma / alpha), rising
  variance: jax.Array  # [K]; the last is that of the data


class Posterior(NamedTuple):
  """Samples, and how far the particles behind them can be trusted."""

  x: jax.Array  # [n, ...], each from particles of its own
  evaluations: int  # of the network per particle
  effective: jax.Array  # [n]: effective number of particles, mean over the levels of noise
  # [n]: estimates of log p(y), without noise of its density in the range of A; exp is unbiased for
  # moves without error
  log_evidence: jax.Array


def systematic(rng, log_weight) -> jax.Array:
  """Indices [P] of a systematic resampling by log weights [P]: i as often as P w_i, within one."""
  n = len(log_weight)
  share = jnp.cumsum(jax.nn.softmax(log_weight))
  position = (jax.random.uniform(rng) + jnp.arange(n)) / n
  return jnp.minimum(jnp.searchsorted(share, position * share[-1]), n - 1)


def resampled(keys, x, log_weight, below: float):
  """x [n, P, ...], log weights and effective numbers [n]: rows by their weights [n, P].

  Only where fewer than a share `below` of them count; all then have the mean weight.
  """
  n, count = log_weight.shape
  effective = 1.0 / (jax.nn.softmax(log_weight) ** 2).sum(-1)
  few = (effective < below * count)[:, None]
  index = jnp.where(few, jax.vmap(systematic)(keys, log_weight), jnp.arange(count))
  mean = jax.nn.logsumexp(log_weight, -1, keepdims=True) - np.log(count)
  return (jax.vmap(lambda a, i: a[i])(x, index), jnp.where(few, mean, log_weight), effective)


def spread(denoise, path, rng, x, cond=None, *, num_levels: int = 24, low: float = 1e-3,
           high: float = 100.0, t_min: float = 1e-3) -> Spread:
  """The spread of x_0 given x_t as a denoiser sees it, on examples x [n, ...].

  Its mean squared error at num_levels of sigma / alpha from low to high, as far as the path has
  them: the error of a perfect denoiser is the variance. n num_levels evaluations.
  """
  ask = asked(denoise, cond, None)
  levels = -2.0 * jnp.linspace(np.log(low), np.log(high), num_levels)
  t = jnp.clip(time_of_logsnr(path, levels), t_min, 1.0)

  def error(inputs):
    t, key = inputs
    alpha, sigma = path(t[None])
    x_t = alpha * x + sigma * jax.random.normal(key, x.shape)
    return ((x - ask(x_t, t)) ** 2).mean()

  variance = jax.lax.map(error, (t, jax.random.split(rng, num_levels)))
  return Spread(-0.5 * logsnr(*path(t)), variance)


def scales(path, t, spread: Spread):
  """What a draw from p(x_0 | x_t) does at times t [K]: coefficients on x_t, x_0, noise [K].

  Ancestral steps of the best isotropic variance: that of q(x_s | x_t, x_0), and what x_0 varies by
  given x_t (2201.06503, Eq. 7). The last lands on E[x_0 | x_t].
  """
  alpha, sigma = path(t)
  ratio = sigma / alpha
  seen = jnp.interp(jnp.log(ratio), spread.log_ratio, jnp.log(jnp.maximum(spread.variance, 1e-12)))
  alpha, sigma = jnp.append(alpha, 1.0), jnp.append(sigma, 0.0)
  on_x_t, on_x_0, var = posterior_coefficients(alpha[1:], sigma[1:], alpha[:-1], sigma[:-1])
  # x_t alone tells x_0 to within the ratio
  std = jnp.sqrt(var + on_x_0**2 * jnp.minimum(jnp.exp(seen), ratio**2))
  return on_x_t, on_x_0, std.at[-1].set(0.0)


class _Measured(NamedTuple):
  """What is known of each draw's particles, and the moves that it asks for."""

  measurement: Measurement
  u_y: jax.Array  # the measured components of y
  noise: float
  num: tuple[int, int]  # of draws, and of particles of each

  def variance(self):
    scale = self.measurement.scale
    return (self.noise / jnp.where(scale > 0, scale, 1.0)) ** 2

  def where(self):
    return jnp.broadcast_to(self.measurement.scale > 0, self.u_y.shape)

  def log_likelihood(self, x, rho):
    """log N(u_y; rows(x), .) [n, P] of what is measured."""
    total = self.variance() + rho**2
    terms = -0.5 * ((self.measurement.rows(x) - self.u_y) ** 2 / total
                    + jnp.log(2.0 * jnp.pi * total))
    return (terms * self.where()).reshape(*self.num, -1).sum(-1)

  def moved(self, keys, x, z, rho):
    """z with its measured components drawn given those of x and y: both are Gaussian."""
    variance = self.variance()
    u, share = self.measurement.rows(x), rho**2 / (rho**2 + variance)
    drawn = (u + share * (self.u_y - u)
             + jnp.sqrt(share * variance) * _normal(keys, self.num[1], self.u_y.shape))
    return z + lift(self.measurement, self.where() * (drawn - self.measurement.rows(z)), z)


def _normal(keys, count: int, event):
  """[n count, *event]: the draws of each key."""
  z = jax.vmap(lambda key: jax.random.normal(key, (count, *event)))(keys)
  return z.reshape(-1, *event)


def posterior_sample(denoise, path, keys, shape: tuple[int, ...], measurement: Measurement, y,
                     spread: Spread, *, cond=None, num_particles: int = 16, num_steps: int = 25,
                     num_inner: int = 8, num_start: int = 20, noise: float = 0.0,
                     rho_max: float = 4.0, rho_min: float = 0.02, t_min: float = 1e-3,
                     resample_below: float = 0.5) -> Posterior:
  """Independent draws of x_0 [shape] given y (one example's), y = A x_0 + noise z; one by each key.

  Each draw has num_particles of its own, from num_start steps of the prior; num_steps levels of
  rho fall from rho_max deviations of the data to rho_min, with num_inner evaluations in each. At
  the end the measured components of x are drawn given y and x, rho_min apart: without noise they
  are met, and the law of the rest is that of y known to rho_min.
  denoise as for the samplers, cond [n num_particles] or None; spread: the denoiser's. Raises
  BadInput for numbers out of range.
  """
  _check(noise, num_particles=num_particles, num_steps=num_steps, num_inner=num_inner,
         num_start=num_start, rho_max=rho_max, rho_min=rho_min)
  n, ask = len(keys), asked(denoise, cond, None)
  split = jax.vmap(lambda key: jax.random.split(key, num_steps + 3), out_axes=1)(keys)
  known = _Measured(measurement, components(measurement, y), noise, (n, num_particles))
  normal = lambda keys: _normal(keys, num_particles, shape)

  def prior_draw(keys, x_t, t, coefficients):
    """One draw of x_0 given each x_t at t[0]."""
    def step(x_t, inputs):
      t, (on_x_t, on_x_0, std), i = inputs
      z = normal(jax.vmap(jax.random.fold_in, (0, None))(keys, i))
      return on_x_t * x_t + on_x_0 * ask(x_t, t) + std * z, None

    return jax.lax.scan(step, x_t, (t, coefficients, jnp.arange(len(t))))[0]

  def level(carry, inputs):
    x, log_weight, before = carry
    rho, t, coefficients, keys = inputs
    keys = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)
    log_weight = log_weight + known.log_likelihood(x, rho) - before
    x, log_weight, effective = resampled(keys[0], x.reshape(n, num_particles, *shape), log_weight,
                                         resample_below)
    x = x.reshape(-1, *shape)
    z = known.moved(keys[1], x, x + rho * normal(keys[2]), rho)
    x = prior_draw(keys[3], path(t[:1])[0] * z, t, coefficients)
    return (x, log_weight, known.log_likelihood(x, rho)), effective

  rho = jnp.geomspace(rho_max * jnp.sqrt(spread.variance[-1]), rho_min, num_steps)
  ratio = rho[:, None] * jnp.geomspace(1.0, 1.0 / DEEP, num_inner)
  t = time_of_logsnr(path, -2.0 * jnp.log(ratio.ravel())).reshape(ratio.shape)
  t = jnp.clip(t, t_min, 1.0)
  start = grid(path, num_start, t_min, 'logsnr').t
  x_T = path(jnp.ones(1))[1] * normal(split[0])
  x = prior_draw(split[1], x_T, start, scales(path, start, spread))
  zero = jnp.zeros((n, num_particles))
  of_levels = (rho, t, jax.vmap(lambda t: scales(path, t, spread))(t), split[3:])
  (x, log_weight, _), effective = jax.lax.scan(level, (x, zero, zero), of_levels)
  picking = jax.vmap(lambda key: jax.random.split(key, 2), out_axes=1)(split[2])
  picked = jax.vmap(jax.random.categorical)(picking[0], log_weight)
  x = known.moved(picking[1], x, x, rho[-1]).reshape(n, num_particles, *shape)
  stretch = jnp.log(jnp.where(known.where(), measurement.scale, 1.0)).sum()  # from u_y to y
  return Posterior(x[jnp.arange(n), picked], num_start + num_steps * num_inner,
                   effective.mean(0),
                   jax.nn.logsumexp(log_weight, -1) - np.log(num_particles) - stretch
                   + log_prob_outside(measurement, y, noise))


def _check(noise: float, **positive: float) -> None:
  for name, value in positive.items():
    if not value > 0:
      raise BadInput(f'{name} = {value} must be positive')
  if not 0.0 <= noise < float('inf'):
    raise BadInput(f'noise = {noise} must be at least 0 and finite')
