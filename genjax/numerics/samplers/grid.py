"""The times at which a sampler evaluates the denoiser, from 1 to t_min, and their cost."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.numerics.path import logsnr, time_of_logsnr
from genjax.types import BadInput

SPACINGS = ('time', 'logsnr', 'edm', 'trailing')
# A path whose noise ratio at t = 1 exceeds this starts without signal; a spacing in the ratio then
# counts from EDM's sigma_max = 80 (2206.00364, Table 1), though the first time stays 1.
NO_SIGNAL, RATIO_MAX = 1e4, 80.0
SMALLEST_TIME = 1e-4  # instead of t_min = 0 where the path has no noise there
FARTHEST = 10.0  # in log(alpha / sigma): a longer first step is as long as this, e^-10 is nothing


class Grid(NamedTuple):
  """The times of the evaluations, and the scales there and at the data: alpha 1, sigma 0."""

  t: jax.Array  # [K], from 1 to t_min
  alpha: jax.Array  # [K + 1]
  sigma: jax.Array  # [K + 1]


def grid(path: Callable, num_steps: int, t_min: float, spacing: str, rho: float = 7.0) -> Grid:
  """num_steps times from 1 to t_min, even in 'time', in 'logsnr', or as 'edm'; or 'trailing'.

  edm: (sigma / alpha)^(1 / rho) is even (2206.00364, Eq. 5). The last step goes from t_min to the
  data themselves. trailing: from 1 down to 1 / num_steps, whatever t_min, so that the step to the
  data is as long as the others, and of few evaluations none is spent where little is left to do
  (2305.08891, Sec. 3.3). Raises BadInput on unknown words and on numbers out of range.
  """
  if num_steps < 1:
    raise BadInput(f'num_steps = {num_steps} must be at least 1')
  if not 0.0 <= t_min < 1.0:
    raise BadInput(f't_min = {t_min} must lie in [0, 1)')
  if spacing not in SPACINGS:
    raise BadInput(f'spacing = {spacing!r} is unknown; allowed: {", ".join(SPACINGS)}')
  if not rho > 0.0:
    raise BadInput(f'rho = {rho} must be positive')
  _, (noise,) = path(jnp.full(1, t_min))
  last = jnp.where(noise > 0.0, t_min, SMALLEST_TIME)
  if spacing == 'trailing':
    last = jnp.full_like(last, 1.0 / num_steps)
  t = jnp.linspace(1.0, last, num_steps)
  if spacing in ('logsnr', 'edm') and num_steps > 2:
    ends = logsnr(*path(jnp.stack([jnp.ones_like(last), last])))
    first = jnp.where(ends[0] < -2.0 * jnp.log(NO_SIGNAL), -2.0 * jnp.log(RATIO_MAX), ends[0])
    inner = jnp.linspace(0.0, 1.0, num_steps)[1:-1]
    if spacing == 'logsnr':
      levels = first + (ends[1] - first) * inner
    else:
      root = jnp.exp(-0.5 / rho * jnp.stack([first, ends[1]]))  # (sigma / alpha)^(1 / rho)
      levels = -2.0 * rho * jnp.log(root[0] + (root[1] - root[0]) * inner)
    t = t.at[1:-1].set(time_of_logsnr(path, levels).astype(t.dtype))
  alpha, sigma = path(t)
  return Grid(t, jnp.append(alpha, 1.0), jnp.append(sigma, 0.0))


def half_logsnr(at: Grid) -> jax.Array:
  """log(alpha / sigma) [K] at the times; a start without signal is FARTHEST from the next one."""
  value = 0.5 * logsnr(at.alpha[:-1], at.sigma[:-1])
  return value if len(at.t) == 1 else value.at[0].max(value[1] - FARTHEST)


def one(t: jax.Array) -> jax.Array:
  """The cost of a plain denoiser: one evaluation of the network at each t."""
  return jnp.ones(t.shape, jnp.int32)


def asked(denoise: Callable, cond, clip: float | None) -> Callable:
  """(x_t, t scalar) -> E[x_0 | x_t], bounded by clip in every dimension where that is given."""
  if clip is not None and not clip > 0.0:
    raise BadInput(f'clip = {clip} must be None or positive')

  def ask(x_t, t):
    x_0 = denoise(x_t, jnp.full(x_t.shape[:1], t), cond, None).astype(x_t.dtype)
    return x_0 if clip is None else jnp.clip(x_0, -clip, clip)

  return ask


def towards(x_t, x_0, alpha_t, sigma_t, alpha_s, sigma_s):
  """x_s with the noise that x_t has about x_0: exact along the ODE where E[x_0 | x_t] stays x_0.

  x_s / sigma_s = x_t / sigma_t + (alpha_s / sigma_s - alpha_t / sigma_t) x_0, in which neither
  alpha_t nor sigma_s is divided by: the first-order exponential step (2211.01095, Eq. 9).
  """
  r = sigma_s / sigma_t
  return r * x_t + (alpha_s - alpha_t * r) * x_0
