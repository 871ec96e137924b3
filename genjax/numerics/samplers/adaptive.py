"""The probability-flow ODE with steps chosen by their error, by diffrax."""

import jax
import jax.numpy as jnp

from genjax.numerics.samplers.grid import SMALLEST_TIME, asked, one
from genjax.types import BadInput

STAGES = 6  # evaluations a step of Tsit5, whose last stage is the next step's first


def ode(denoise, path, rng, x_T, cond, *, cost=one, rtol: float = 1e-4, atol: float = 1e-4,
        t_min: float = 1e-3, max_steps: int = 1000, clip: float | None = None):
  """Tsitouras 5(4) on dx/dt = alpha' x_0 + (sigma' / sigma) (x - alpha x_0), x_0 = E[x_0 | x_t].

  x_0 [n, ...] and the evaluations of each [n], rejected steps included; the last is E[x_0 | x_t] at
  t_min. Each sample has steps of its own, chosen by its own error (root mean square), so that it
  does not depend on its neighbours. alpha may vanish at t = 1. A sample for which max_steps do not
  suffice is NaN. Raises BadInput for tolerances that are not positive.
  """
  import diffrax  # seconds to import, and no other sampler needs it

  del rng
  for name, value in {'rtol': rtol, 'atol': atol}.items():
    if not value > 0.0:
      raise BadInput(f'{name} = {value} must be positive')
  if not 0.0 <= t_min < 1.0:
    raise BadInput(f't_min = {t_min} must lie in [0, 1)')
  _, (noise,) = path(jnp.full(1, t_min))
  last = jnp.where(noise > 0.0, t_min, SMALLEST_TIME)
  first = jnp.ones_like(last)

  def velocity(t, x_t, ask):
    x_0 = ask(x_t, t)
    (alpha, sigma), (d_alpha, d_sigma) = jax.jvp(path, (t[None],), (jnp.ones_like(t)[None],))
    return (d_alpha * x_0 + d_sigma / sigma * (x_t - alpha * x_0)).astype(x_t.dtype)

  def one_sample(x_T, cond):
    ask = asked(denoise, None if cond is None else cond[None], clip)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x_t, _: velocity(t, x_t, ask)), diffrax.Tsit5(), first, last,
        0.02 * (last - first), x_T[None], max_steps=max_steps, throw=False,
        stepsize_controller=diffrax.PIDController(rtol, atol))
    x = jnp.where(solution.result == diffrax.RESULTS.successful, solution.ys[-1], jnp.nan)
    calls = STAGES * solution.stats['num_steps'] + 1
    return ask(x, last)[0], calls * cost(first) + cost(last)

  return jax.vmap(one_sample)(x_T, cond)
