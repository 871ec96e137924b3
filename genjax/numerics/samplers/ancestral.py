"""Samplers by random steps: ancestral, DDIM between it and the ODE, and the reverse SDE."""

import jax
import jax.numpy as jnp

from genjax.numerics.path import posterior_coefficients, transition_variance
from genjax.numerics.samplers.grid import asked, grid, one
from genjax.types import BadInput

VARIANCES = ('posterior', 'upper', 'learned')
SMALL_STEP = 0.6  # least alpha_t / alpha_s of a step of the reverse SDE


def _walk(ask, at, rng, x_T, coefficients):
  """x_s = c_t x_t + c_0 E[x_0|x_t] + std z over the grid; the last step lands on E[x_0|x_t].

  coefficients(alpha_s, sigma_s, alpha_t, sigma_t) -> (c_t, c_0, std), over all steps at once; std
  None: no noise is drawn.
  """
  on_x_t, on_x_0, std = coefficients(at.alpha[1:], at.sigma[1:], at.alpha[:-1], at.sigma[:-1])
  on_x_t, on_x_0 = on_x_t.at[-1].set(0.0), on_x_0.at[-1].set(1.0)
  std = None if std is None else std.at[-1].set(0.0)

  def step(x_t, inputs):
    t, on_x_t, on_x_0, std, key = inputs
    x_s = on_x_t * x_t + on_x_0 * ask(x_t, t)
    if std is not None:
      x_s = x_s + std * jax.random.normal(key, x_t.shape, x_t.dtype)
    return x_s, None

  inputs = (at.t, on_x_t, on_x_0, std, jax.random.split(rng, len(at.t)))
  return jax.lax.scan(step, x_T, inputs)[0]


def reverse_variance(share, *scales):
  """Between beta tilde (share 0) and beta (share 1) in the logarithm (2102.09672, Eq. 15).

  share: a number, or what a network has learned, of any shape that broadcasts.
  """
  *_, low = posterior_coefficients(*scales)
  high = transition_variance(*scales)
  safe = jnp.where(low > 0.0, low, 1.0)
  return jnp.where(low > 0.0, safe ** (1.0 - share) * high**share, low)


def _learned(reverse, at, rng, x_T, cond, clip):
  """Ancestral steps of which the network says the mean and, between the two choices, the variance.

  reverse(x_t, t [n], cond, rng) -> E[x_0 | x_t], share [n, ...].
  """
  def step(x_t, inputs):
    t, key, scales = inputs
    x_0, share = reverse(x_t, jnp.full(x_t.shape[:1], t), cond, None)
    x_0 = x_0 if clip is None else jnp.clip(x_0, -clip, clip)
    on_x_t, on_x_0, _ = posterior_coefficients(*scales)
    std = jnp.sqrt(reverse_variance(share, *scales))
    return on_x_t * x_t + on_x_0 * x_0 + std * jax.random.normal(key, x_t.shape, x_t.dtype), x_0

  scales = (at.alpha[1:], at.sigma[1:], at.alpha[:-1], at.sigma[:-1])
  inputs = (at.t, jax.random.split(rng, len(at.t)), scales)
  return jax.lax.scan(step, x_T, inputs)[1][-1]


def ddpm(denoise, path, rng, x_T, cond, *, cost=one, reverse=None, num_steps: int = 100,
         t_min: float = 1e-3, variance: str | float = 'posterior', spacing: str = 'time',
         rho: float = 7.0, clip: float | None = None):
  """Ancestral sampling: x_0 [n, ...] and its evaluations, num_steps (2006.11239, Alg. 2).

  variance: of q(x_s|x_t,x_0) ('posterior', beta tilde), of q(x_t|x_s) ('upper', beta), a number
  from 0 to 1 between their logarithms, or what the network has 'learned' there, from `reverse`.
  clip: bound on |E[x_0|x_t]| within the loop. Raises BadInput on unknown words and empty grids.
  """
  share = {'posterior': 0.0, 'upper': 1.0, 'learned': 0.0}.get(variance, variance)
  if type(share) is str or not 0.0 <= share <= 1.0:
    raise BadInput(f'variance = {variance!r} is unknown; allowed: {", ".join(VARIANCES)}, or a '
                   'number from 0 to 1')
  at, ask = grid(path, num_steps, t_min, spacing, rho), asked(denoise, cond, clip)
  if variance == 'learned':
    if reverse is None:
      raise BadInput("variance = 'learned', but this denoiser has learned none, or is guided; "
                     "allowed: 'posterior', 'upper', or a number from 0 to 1")
    return _learned(reverse, at, rng, x_T, cond, clip), cost(at.t).sum()

  def coefficients(*scales):
    on_x_t, on_x_0, low = posterior_coefficients(*scales)
    var = {0.0: low, 1.0: transition_variance(*scales)}.get(share)
    return on_x_t, on_x_0, jnp.sqrt(reverse_variance(share, *scales) if var is None else var)

  return _walk(ask, at, rng, x_T, coefficients), cost(at.t).sum()


def ddim(denoise, path, rng, x_T, cond, *, cost=one, num_steps: int = 50, t_min: float = 1e-3,
         eta: float = 0.0, spacing: str = 'time', rho: float = 7.0, clip: float | None = None):
  """DDIM: x_0 [n, ...] and its evaluations, num_steps (2010.02502, Eq. 12 and 16).

  eta 0: deterministic given x_T; eta 1: ancestral with the posterior variance.
  """
  if not 0.0 <= eta <= 1.0:
    raise BadInput(f'eta = {eta} must lie in [0, 1]')

  def coefficients(alpha_s, sigma_s, alpha_t, sigma_t):
    _, _, var = posterior_coefficients(alpha_s, sigma_s, alpha_t, sigma_t)
    on_eps = jnp.sqrt(sigma_s**2 - eta**2 * var)  # var <= sigma_s^2
    std = eta * jnp.sqrt(var) if eta else None
    return on_eps / sigma_t, alpha_s - on_eps * alpha_t / sigma_t, std

  at = grid(path, num_steps, t_min, spacing, rho)
  return _walk(asked(denoise, cond, clip), at, rng, x_T, coefficients), cost(at.t).sum()


def euler_maruyama(denoise, path, rng, x_T, cond, *, cost=one, num_steps: int = 200,
                   t_min: float = 1e-3, spacing: str = 'time', rho: float = 7.0,
                   clip: float | None = None):
  """The reverse SDE by Euler-Maruyama: x_0 [n, ...] and its evaluations, num_steps.

  Drift and diffusion are integrated over each step, so that a path that ends without signal has
  no singular step (2011.13456, Eq. 46): f = alpha_t / alpha_s - 1, G^2 of q(x_t | x_s), and
  x_s = x_t - f x_t + G^2 score + G z. Where alpha_t is less than SMALL_STEP of alpha_s, f is large
  and the variance of this x_s too high (twice as high from alpha_t = 0): such a step draws from
  q(x_s | x_t, x_0 = E[x_0 | x_t]) instead.
  """
  def coefficients(*scales):
    alpha_s, _, alpha_t, sigma_t = scales
    var = transition_variance(*scales)
    gain = var / sigma_t**2
    small = 2.0 - alpha_t / alpha_s - gain, alpha_t * gain, var
    is_small = alpha_t >= SMALL_STEP * alpha_s
    on_x_t, on_x_0, var = (jnp.where(is_small, a, b) for a, b in zip(
        small, posterior_coefficients(*scales), strict=True))
    return on_x_t, on_x_0, jnp.sqrt(var)

  at = grid(path, num_steps, t_min, spacing, rho)
  return _walk(asked(denoise, cond, clip), at, rng, x_T, coefficients), cost(at.t).sum()


def predictor_corrector(denoise, path, rng, x_T, cond, *, cost=one, num_steps: int = 100,
                        num_corrections: int = 1, snr: float = 0.16, t_min: float = 1e-3,
                        spacing: str = 'time', rho: float = 7.0, clip: float | None = None):
  """Ancestral steps, each followed by Langevin steps at the time reached (2011.13456, Alg. 4, 5).

  x_0 [n, ...] and its evaluations, num_steps + (num_steps - 1) num_corrections. The step size is
  2 (snr |z| / |score|)^2 with |score| at its level sqrt(d) / sigma_t, hence 2 (snr sigma_t)^2: no
  example's step depends on another's. snr 0: no correction moves.
  """
  if not 0.0 <= snr < 1.0 / 2**0.5:
    raise BadInput(f'snr = {snr} must lie in [0, 0.7), where Langevin steps are stable')
  ask = asked(denoise, cond, clip)
  at = grid(path, num_steps, t_min, spacing, rho)
  before, after = (at.alpha[:-2], at.sigma[:-2]), (at.alpha[1:-1], at.sigma[1:-1])
  on_x_t, on_x_0, var = posterior_coefficients(*after, *before)

  def step(x_t, inputs):
    t, t_s, alpha_s, sigma_s, on_x_t, on_x_0, std, key = inputs
    keys = jax.random.split(key, num_corrections + 1)
    x_s = on_x_t * x_t + on_x_0 * ask(x_t, t)
    x_s = x_s + std * jax.random.normal(keys[0], x_t.shape, x_t.dtype)

    def correct(x, key):
      drift = 2.0 * snr**2 * (alpha_s * ask(x, t_s) - x)  # step size x score
      noise = 2.0 * snr * sigma_s * jax.random.normal(key, x.shape, x.dtype)
      return x + drift + noise, None

    return jax.lax.scan(correct, x_s, keys[1:])[0], None

  keys = jax.random.split(rng, num_steps)[1:]
  inputs = (at.t[:-1], at.t[1:], *after, on_x_t, on_x_0, jnp.sqrt(var), keys)
  x, _ = jax.lax.scan(step, x_T, inputs)
  return ask(x, at.t[-1]), cost(at.t).sum() + num_corrections * cost(at.t[1:]).sum()
