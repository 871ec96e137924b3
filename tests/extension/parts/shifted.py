"""A family of a user's own: a normal distribution by its mean and its deviations."""

import jax
import jax.numpy as jnp

from genjax.types import Model


def make(spec, scale: float = 1.0) -> Model:
  """x = mean + exp(log_scale) z; scale: that of the start."""

  def init(rng, batch):
    return {'mean': jnp.zeros(spec.shape), 'log_scale': jnp.full(spec.shape, jnp.log(scale))}

  def rsample(params, rng, n, cond):
    z = jax.random.normal(rng, (n, *spec.shape))
    return params['mean'] + jnp.exp(params['log_scale']) * z

  return Model(init, sample=lambda *args: (rsample(*args), 1), rsample=rsample)
