"""The probability-flow ODE with steps chosen by their error, by diffrax."""

import jax
import jax.numpy as jnp

from genjax.numerics.samplers.grid import SMALLEST_TIME, asked, one
from genjax.types import BadInput

STAGES = 6  # evaluations a step of Tsit5, whose last stage is the next step's first


def ode(denoise, path, rng, x_T, cond, *, cost=one, rtol: float = 1e-4, atol: float = 1e-4,
        t_min: float = 1e-3, max_steps: int = 1000, clip: float | None = None):
  """Tsitouras 5(4) on dx/dt = alpha' x_0 + (sigma' / sigma) (x - alpha x_0), x_0 = E[x_0 | x_t].

  x_0 [n, ...] and its evaluations, rejected steps included; the last is E[x_0 | x_t] at t_min. The
  error is that of the whole batch (root mean square). alpha may vanish at t = 1. Where max_steps
  do not suffice the samples are NaN. Raises BadInput for tolerances that are not positive.
  """
  import diffrax  # seconds to import, and no other sampler needs it

  del rng
  for name, value in {'rtol': rtol, 'atol': atol}.items():
    if not value > 0.0:
      raise BadInput(f'{name} = {value} must be positive')
  if not 0.0 <= t_min < 1.0:
    raise BadInput(f't_min = {t_min} must lie in [0, 1)')
  ask = asked(denoise, cond, clip)

  def velocity(t, x_t, args):
    x_0 = ask(x_t, t)
    (alpha, sigma), (d_alpha, d_sigma) = jax.jvp(path, (t[None],), (jnp.ones_like(t)[None],))
    return (d_alpha * x_0 + d_sigma / sigma * (x_t - alpha * x_0)).astype(x_t.dtype)

  _, (noise,) = path(jnp.full(1, t_min))
  last = jnp.where(noise > 0.0, t_min, SMALLEST_TIME)
  first = jnp.ones_like(last)
  found = diffrax.diffeqsolve(
      diffrax.ODETerm(velocity), diffrax.Tsit5(), first, last, 0.02 * (last - first), x_T,
      stepsize_controller=diffrax.PIDController(rtol, atol), max_steps=max_steps, throw=False)
  x = jnp.where(found.result == diffrax.RESULTS.successful, found.ys[-1], jnp.nan)
  calls = STAGES * found.stats['num_steps'] + 1
  return ask(x, last), calls * cost(first) + cost(last)
