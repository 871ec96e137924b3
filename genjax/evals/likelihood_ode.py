"""Terms of log p(x) by the probability-flow ODE, and the noise added to data with levels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics import ode_likelihood
from genjax.numerics.path import diffuse
from genjax.numerics.shapes import match, sum_event
from genjax.types import DataSpec, Model

# term that the noise on the integers adds -> name of the noise; `prob.dequantise` has the first too
CELL_TERM, GAUSSIAN_TERM = 'log_cell_volume', 'noise'
NOISE_TERMS = {CELL_TERM: 'uniform', GAUSSIAN_TERM: 'gaussian', 'log_noise_volume': 'variational'}
DEQUANTISATIONS = ('gaussian', 'uniform')
# next to the terms: the value at half the steps less that at all of them, and the standard
# deviation of one example's value between its probes
DIAGNOSTICS = ('half_the_steps', 'probe_std')


def continuous(rng, x, spec, dequantisation, alpha, sigma):
  """(x + u, terms [B]): noise u on integers x [B, ...]; log p(x + u) + terms bounds log P(x).

  The bound is Jensen's inequality over y = x + u in P(x) = int p(y) P(x | y) dy, where P(x | y) is
  the `reconstruction`. 'gaussian': u = sigma / alpha eps, the noise that the model was trained on;
  the terms are -log q(u) and log P(x | x + u). 'uniform': u lies in the cell, and the term is its
  log volume (1511.01844). That is tighter if p is smooth within a cell, and useless if the model
  has learned the levels, since it then has no mass between them. alpha, sigma [B]: at the start of
  the ODE. Continuous x is returned as it is.
  """
  if spec.levels is None:
    return x, {}
  if dequantisation == 'uniform':
    volume = jnp.full(len(x), prob.log_cell_volume(spec))
    return prob.cell_noise(rng, x, spec.levels), {CELL_TERM: volume}
  eps = jax.random.normal(rng, x.shape, x.dtype)
  z = diffuse(x, eps, alpha, sigma)
  log_q = sum_event(prob.normal_log_prob(eps)) - np.prod(spec.shape) * jnp.log(sigma / alpha)
  return z / match(alpha, z), {
      GAUSSIAN_TERM: -log_q, 'reconstruction': prob.level_log_prob(x, z, alpha, sigma, spec.levels)}


def terms(model: Model, spec: DataSpec, *, num_steps: int, num_probes: int, t_min: float,
          dequantisation: str) -> Callable:
  """(params, batch on the grid, rng) -> {term of log p(x) by the ODE, or DIAGNOSTICS: [B] nats}."""
  def of_batch(params, batch, rng):
    rng_u, rng_probe = jax.random.split(rng)
    path = lambda t: model.diffusion.path(params, t)
    x, of_noise = continuous(rng_u, batch['x'], spec, dequantisation,
                             *path(jnp.full(len(batch['x']), t_min)))

    def at(num_steps):
      return ode_likelihood.log_prob(
          lambda *args: model.diffusion.denoise(params, *args).x_0, path, rng_probe, x,
          batch.get('cond'), num_steps=num_steps, num_probes=num_probes, t_min=t_min)

    full, half = at(num_steps), at(num_steps // 2)
    divergence = full['divergence'].mean(0)
    worse = full['prior'] + divergence - half['prior'] - half['divergence'].mean(0)
    spread = full['divergence'].std(0, ddof=1) if num_probes > 1 else jnp.zeros(len(x))
    return {'prior': full['prior'], 'divergence': divergence, **of_noise,
            'half_the_steps': worse, 'probe_std': spread}

  return of_batch
