"""From the density of continuous x to the mass of integers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.prob.levels import cell_noise, log_cell_volume
from genjax.types import DataSpec, Model


def dequantise(model: Model, spec: DataSpec, noise: Callable | None = None) -> Model:
  """The model of the integers from a continuous density; provides `elbo`, removes `log_prob`.

  noise: (params, rng, batch) -> x + u, {term: [B] nats}, whose terms sum to -log q(u | x), u within
  the cell of x (variational dequantisation, 1902.00275, Eq. 12); None: u is uniform.

  log P(k) = log int_cell p(x) dx >= E_u [log p(x + u) - log q(u | x)], where uniform noise has
  -log q = log |cell| (Theis et al., 1511.01844). All terms of a continuous `elbo` are evaluated at
  x + u, too. Continuous data: unchanged.
  """
  if spec.levels is None:
    return model
  log_volume = log_cell_volume(spec)
  log_prob, elbo, log_weight = model.log_prob, model.elbo, model.log_weight
  estimate = model.log_prob_estimate

  def uniform(params, rng, batch):
    x = cell_noise(rng, batch['x'], spec.levels)
    return x, {'log_cell_volume': jnp.full(x.shape[0], log_volume)}

  def noised(params, batch, rng):
    rng_u, rng_rest = jax.random.split(rng)
    x, terms = (noise or uniform)(params, rng_u, batch)
    return {**batch, 'x': x}, terms, rng_rest

  def dequantised_elbo(params, batch, rng):
    batch, of_noise, rng = noised(params, batch, rng)
    terms = elbo(params, batch, rng) if log_prob is None else {
        'log_density': log_prob(params, batch, rng)}
    return {**terms, **of_noise}

  def dequantised_estimate(params, batch, rng):
    batch, of_noise, rng = noised(params, batch, rng)
    return {**estimate(params, batch, rng), **of_noise}

  def dequantised_log_weight(params, batch, rng):
    batch, of_noise, rng = noised(params, batch, rng)
    log_p = log_weight or log_prob
    return log_p(params, batch, rng) + sum(of_noise.values())

  return model._replace(
      log_prob=None,
      log_prob_estimate=None if estimate is None else dequantised_estimate,
      elbo=None if log_prob is None and elbo is None else dequantised_elbo,
      log_weight=None if log_prob is None and log_weight is None else dequantised_log_weight)
