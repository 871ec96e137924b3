"""What every objective with a critic does: start both players, show the critic both kinds of x."""

import jax

from genjax import prob
from genjax.types import DataSpec, Model, Network


def init_both(model: Model, critic: Network, rng, batch) -> dict:
  """The parameters of both players: {'model': ..., 'critic': ...}."""
  rng_model, rng_critic = jax.random.split(rng)
  return {'model': model.init(rng_model, batch),
          'critic': critic.init(rng_critic, batch['x'], batch.get('cond'))}


def outputs(critic: Network, params, x, cond, rng):
  """What a critic says of x: [B], and what it writes."""
  out, writes = critic.apply(params, x, cond, rng=rng, train=True)
  return out[:, 0], writes


def real_and_fake(model: Model, spec: DataSpec, params, batch, rng):
  """x of the data and as many of the model, both [B, ...], under the same labels.

  Data with levels get the noise of their cells, and so do samples of a model that makes levels or
  their means: else the noise alone would tell the two apart. Those of a density (a flow, a
  Gaussian) have it already, since the density is of data with it.
  """
  rng_real, rng_fake, rng_model = jax.random.split(rng, 3)
  real = prob.cell_noise(rng_real, batch['x'], spec.levels)
  fake = model.rsample(params, rng_model, real.shape[0], batch.get('cond'))
  if model.sample_and_log_prob is None:
    fake = prob.cell_noise(rng_fake, fake, spec.levels)
  return real, fake


def under_critic(writes: dict) -> dict:
  """The critic's new running statistics, by their path in all the parameters."""
  return {f'critic/{path}': value for path, value in writes.items()}


def trained_through_samples(model: Model) -> Model:
  """What of a model means something once its samples alone were trained.

  Where the density is exact, samples and density are one object and everything stays. Where it is
  a bound (a VAE's encoder was not trained) or absent, the samples that the critic saw alone stay.
  """
  if model.log_prob is not None or model.sample_and_log_prob is not None:
    return model

  def sample(params, rng, n, cond):
    return model.rsample(params, rng, n, cond), 1

  return Model(init=model.init, sample=sample, rsample=model.rsample)
