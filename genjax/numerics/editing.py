"""Posterior samples of x_0 given a linear measurement y = A x_0 + noise, on any denoiser.

The twisted diffusion sampler (2306.17775): particles follow the reverse process pulled towards y,
are weighted by what the pull distorts, and are resampled. So the law is the posterior as their
number grows, for any data law: not so for guidance by a measurement alone, exact for Gaussians.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.numerics.path import posterior_coefficients
from genjax.numerics.samplers.grid import asked, grid, one
from genjax.types import BadInput


class Measurement(NamedTuple):
  """A linear map of x and the squared norm of each of its rows, 0 where nothing is measured."""

  apply: Callable  # x [n, ...] -> y [n, ...], linear
  gain: jax.Array  # the diagonal of A A^T, broadcastable to one y


class Posterior(NamedTuple):
  """Samples, and how far the particles behind them can be trusted."""

  x: jax.Array  # [n, ...], each from particles of its own
  evaluations: jax.Array  # of the network per particle, each with its vector-Jacobian product
  effective: jax.Array  # [n]: effective number of particles at the end
  log_evidence: jax.Array  # [n]: estimates of log p(y), of which exp is unbiased


def inpainting(mask) -> Measurement:
  """x where mask (of one example's shape, or broadcast to it) is true; y is 0 elsewhere."""
  mask = jnp.asarray(mask, jnp.float32)
  return Measurement(lambda x: x * mask, mask)


def super_resolution(factor: int) -> Measurement:
  """Means of squares of factor x factor pixels: [n, H, W, C] -> [n, H / factor, W / factor, C]."""
  def apply(x):
    n, height, width, channels = x.shape
    if factor < 1 or height % factor or width % factor:
      raise BadInput(f'factor = {factor} does not divide images of {height} x {width}')
    return x.reshape(n, height // factor, factor, width // factor, factor, channels).mean((2, 4))

  return Measurement(apply, jnp.float32(1.0 / factor**2))


def colourisation(channels: int = 3) -> Measurement:
  """The mean of the channels: [n, H, W, C] -> [n, H, W, 1]."""
  def apply(x):
    if x.ndim != 4 or x.shape[-1] != channels or channels < 2:
      raise BadInput(f'colour needs images of {channels} channels, at least 2, not shape '
                     f'{x.shape[1:]}')
    return x.mean(-1, keepdims=True)

  return Measurement(apply, jnp.float32(1.0 / channels))


def linear(matrix) -> Measurement:
  """matrix [M, D] times x with its dimensions in one row: [n, ...] -> [n, M]."""
  matrix = jnp.asarray(matrix, jnp.float32)
  return Measurement(lambda x: x.reshape(x.shape[0], -1) @ matrix.T, (matrix**2).sum(-1))


def residual(measurement: Measurement, x, y) -> jax.Array:
  """Root mean square of A x - y over what is measured, [n]."""
  error = (measurement.apply(x) - y) ** 2
  measured = jnp.broadcast_to(measurement.gain > 0, error.shape)
  axes = tuple(range(1, error.ndim))
  return jnp.sqrt((error * measured).sum(axes) / measured.sum(axes))


def systematic(rng, log_weight) -> jax.Array:
  """Indices [P] of a systematic resampling by log weights [P]: i as often as P w_i, within one."""
  n = len(log_weight)
  share = jnp.cumsum(jax.nn.softmax(log_weight))
  position = (jax.random.uniform(rng) + jnp.arange(n)) / n
  return jnp.minimum(jnp.searchsorted(share, position * share[-1]), n - 1)


def _event_sum(a):
  return a.reshape(*a.shape[:2], -1).sum(-1)


def posterior_sample(denoise, path, rng, shape: tuple[int, ...], measurement: Measurement, y, *,
                     cond=None, n: int = 1, num_particles: int = 32, num_steps: int = 100,
                     noise: float = 0.05, data_std: float = 1.0, t_min: float = 1e-3,
                     spacing: str = 'logsnr', resample_below: float = 0.5,
                     clip: float | None = None) -> Posterior:
  """n independent draws of x_0 [shape] given y (one example's), y = A x_0 + noise z.

  2306.17775, Alg. 1 on the ancestral chain, p(y | x_t) read as N(A E[x_0|x_t], noise^2 + gain
  var_t), var_t = sigma^2 data_std^2 / (alpha^2 data_std^2 + sigma^2); the last one, at t_min, is
  the measurement itself. Each draw has num_particles of its own; they are resampled where fewer
  than resample_below of them count. The bias falls as 1 / num_particles and 1 / num_steps.
  denoise as for the samplers, cond [n num_particles] or None. Raises BadInput for numbers out of
  range.
  """
  for name, value in {'n': n, 'num_particles': num_particles, 'noise': noise,
                      'data_std': data_std}.items():
    if not value > 0:
      raise BadInput(f'{name} = {value} must be positive')
  at, ask = grid(path, num_steps, t_min, spacing), asked(denoise, cond, clip)
  (alpha, sigma), after = (at.alpha[:-1], at.sigma[:-1]), (at.alpha[1:], at.sigma[1:])
  spread = (sigma * data_std) ** 2 / ((alpha * data_std) ** 2 + sigma**2)
  on_x_t, on_x_0, var = posterior_coefficients(*after, alpha, sigma)
  total = (n, num_particles, *shape)
  measured = jnp.broadcast_to(measurement.gain > 0, y.shape)

  def likelihood(x_t, t, spread):
    """log N(y; A x_0, .) [n, P], and x_0 = E[x_0 | x_t]."""
    x_0 = ask(x_t.reshape(-1, *shape), t)
    variance = noise**2 + measurement.gain * spread
    error = measurement.apply(x_0) - y
    log_p = -0.5 * (error**2 / variance + jnp.log(2.0 * jnp.pi * variance))
    return _event_sum((log_p * measured).reshape(n, num_particles, -1)), x_0.reshape(total)

  def pulled(x_t, t, spread):
    log_p, pullback, x_0 = jax.vjp(lambda x: likelihood(x, t, spread), x_t, has_aux=True)
    return log_p, x_0, pullback(jnp.ones_like(log_p))[0]

  def resampled(key, x, log_weight):
    """Rows of x by their weights where too few count; the mean weight that they then all have."""
    share = jax.nn.softmax(log_weight)
    few = 1.0 / (share**2).sum(-1) < resample_below * num_particles
    index = jax.vmap(systematic)(jax.random.split(key, n), log_weight)
    index = jnp.where(few[:, None], index, jnp.arange(num_particles))
    mean = jax.nn.logsumexp(log_weight, -1, keepdims=True) - np.log(num_particles)
    rows = jax.vmap(lambda a, i: a[i])
    return jax.tree.map(lambda a: rows(a, index), x), jnp.where(few[:, None], mean, log_weight)

  def step(carry, inputs):
    x_t, log_weight, log_p_before = carry
    t, spread, on_x_t, on_x_0, std, key = inputs
    rng_pick, rng_z = jax.random.split(key)
    log_p, x_0, pull = pulled(x_t, t, spread)
    log_weight = log_weight + log_p - log_p_before
    (x_t, x_0, pull, log_p), log_weight = resampled(rng_pick, (x_t, x_0, pull, log_p), log_weight)
    z = jax.random.normal(rng_z, x_t.shape, x_t.dtype)
    x_s = on_x_t * x_t + on_x_0 * x_0 + std**2 * pull + std * z
    # the reverse process over the pulled one, at x_s
    log_weight = log_weight - 0.5 * std**2 * _event_sum(pull**2) - std * _event_sum(pull * z)
    return (x_s, log_weight, log_p), None

  rng_T, rng_steps, rng_last = jax.random.split(rng, 3)
  x_T = path(jnp.ones(1))[1] * jax.random.normal(rng_T, total)
  inputs = (at.t[:-1], spread[:-1], on_x_t[:-1], on_x_0[:-1], jnp.sqrt(var[:-1]),
            jax.random.split(rng_steps, num_steps)[1:])
  zero = jnp.zeros((n, num_particles))
  (x, log_weight, log_p), _ = jax.lax.scan(step, (x_T, zero, zero), inputs)
  last, x_0 = likelihood(x, at.t[-1], 0.0)
  log_weight = log_weight + last - log_p
  picked = jax.random.categorical(rng_last, log_weight)
  return Posterior(x_0[jnp.arange(n), picked], one(at.t).sum(),
                   1.0 / (jax.nn.softmax(log_weight) ** 2).sum(-1),
                   jax.nn.logsumexp(log_weight, -1) - np.log(num_particles))
