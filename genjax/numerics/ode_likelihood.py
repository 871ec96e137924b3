"""The log density that the probability-flow ODE of a denoiser gives to points (2011.13456, D.2).

On any Gaussian path, in w = x_t / sqrt(alpha^2 + sigma^2) over lambda = log(alpha / sigma):
with a = alpha / sqrt(alpha^2 + sigma^2), dw / dlambda = a E[x_0 | x_t] - a^2 w, whose terms stay
of the size of the data from pure noise to none.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.numerics.derivatives import divergence
from genjax.numerics.path import logsnr, time_of_logsnr
from genjax.numerics.shapes import match
from genjax.types import BadInput

# A path may end without signal; from here on, alpha / sigma = 1e-4, its ODE stands still.
LOGSNR_MIN = 2.0 * np.log(1e-4)


def _probed(field: Callable, w, probes):
  """The field at w and v . J v for each of the probes [K, n, ...]: [n, ...] and [K, n]."""
  y, push = jax.linearize(field, w)
  return y, jax.lax.map(lambda v: (push(v) * v).reshape(len(v), -1).sum(-1), probes)


def _exact(field: Callable, w, probes):
  y, trace = divergence(field, w)
  return y, trace[None]


def log_prob(denoise: Callable, path: Callable, rng, x, cond, *, num_steps: int = 32,
             num_probes: int = 1, exact: bool = False, t_min: float = 1e-3) -> dict:
  """{'prior' [n], 'divergence' [K, n]} in nats: their sum over the mean of K is log p(x).

  x [n, ...] is read as x_t / alpha at t_min. K = num_probes Rademacher probes per example, kept
  along the whole trajectory, whose spread is the noise of the trace; exact: the trace itself, one
  forward pass per dimension, K = 1. num_steps of Runge and Kutta's fourth order, even in logsnr,
  the same for all examples: no example depends on its neighbours. The prior is N(0, sigma^2 I) at
  t = 1. 4 num_steps evaluations of the denoiser, each with K products by its Jacobian. Raises
  BadInput for counts below 1 and times outside (0, 1).
  """
  for name, value in {'num_steps': num_steps, 'num_probes': num_probes}.items():
    if value < 1:
      raise BadInput(f'{name} = {value} must be at least 1')
  if not 0.0 < t_min < 1.0:
    raise BadInput(f't_min = {t_min} must lie between 0 and 1')
  (alpha_0,), (sigma_0,) = path(jnp.full(1, t_min))
  ends = logsnr(*path(jnp.stack([jnp.float32(t_min), jnp.float32(1.0)])))
  last = jnp.maximum(ends[1], LOGSNR_MIN)
  num_dims = np.prod(x.shape[1:])
  trace_of = _exact if exact else _probed
  probes = jax.random.rademacher(rng, (1 if exact else num_probes, *x.shape), x.dtype)

  def slopes(w, level):
    t = jnp.clip(time_of_logsnr(path, level[None]), t_min, 1.0)
    alpha, sigma = path(jnp.broadcast_to(t, x.shape[:1]))
    scale = jnp.sqrt(alpha**2 + sigma**2)
    a = match(alpha / scale, x)
    field = lambda w: a * denoise(match(scale, x) * w, jnp.broadcast_to(t, x.shape[:1]), cond, None)
    y, trace = trace_of(field, w, probes)
    return y - a**2 * w, trace - num_dims * (alpha / scale)**2

  step = 0.5 * (last - ends[0]) / num_steps  # of lambda, half of logsnr

  def runge_kutta(carry, i):
    w, total = carry
    level = ends[0] + 2.0 * step * i
    k_1, d_1 = slopes(w, level)
    k_2, d_2 = slopes(w + 0.5 * step * k_1, level + step)
    k_3, d_3 = slopes(w + 0.5 * step * k_2, level + step)
    k_4, d_4 = slopes(w + step * k_3, level + 2.0 * step)
    w = w + step / 6.0 * (k_1 + 2.0 * k_2 + 2.0 * k_3 + k_4)
    return (w, total + step / 6.0 * (d_1 + 2.0 * d_2 + 2.0 * d_3 + d_4)), None

  scale_0 = jnp.sqrt(alpha_0**2 + sigma_0**2)
  start = (x * alpha_0 / scale_0, jnp.zeros((len(probes), len(x))))
  (w, total), _ = jax.lax.scan(runge_kutta, start, jnp.arange(num_steps, dtype=jnp.float32))
  (alpha_1,), (sigma_1,) = path(jnp.ones(1))
  std = sigma_1 / jnp.sqrt(alpha_1**2 + sigma_1**2)
  square = (w**2).reshape(len(x), -1).sum(-1)
  prior = -0.5 * square / std**2 - num_dims * (0.5 * jnp.log(2.0 * jnp.pi) + jnp.log(std))
  # d log p_w(w) = -divergence dlambda, and the density of x per that of w
  return {'prior': prior, 'divergence': total + num_dims * jnp.log(alpha_0 / scale_0)}
