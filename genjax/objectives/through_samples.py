"""What objectives that see a model through its samples share, with a critic and without one."""

import jax

from genjax import prob
from genjax.types import DataSpec, Model, Network


def init_both(model: Model, critic: Network, rng, batch) -> dict:
  """The parameters of both players: {'model': ..., 'critic': ...}."""
  rng_model, rng_critic = jax.random.split(rng)
  return {'model': model.init(rng_model, batch),
          'critic': critic.init(rng_critic, batch['x'], batch.get('cond'))}


def outputs(critic: Network, params, x, cond, rng):
  """The critic's outputs [B] on x, and its writes."""
  out, writes = critic.apply(params, x, cond, rng=rng, train=True)
  return out[:, 0], writes


def real_and_fake(model: Model, spec: DataSpec, params, batch, rng):
  """x of the data and the same number of model samples, both [B, ...], with the same labels.

  Data with levels get uniform noise within their cells. So do the samples of models that output
  levels or their means; else the noise alone would separate real from fake. Samples of a density
  (a flow, a Gaussian) contain the noise already, since the density is of noisy data.
  """
  rng_real, rng_fake, rng_model = jax.random.split(rng, 3)
  real = prob.cell_noise(rng_real, batch['x'], spec.levels)
  fake = model.rsample(params, rng_model, real.shape[0], batch.get('cond'))
  if not _has_density(model):
    fake = prob.cell_noise(rng_fake, fake, spec.levels)
  return real, fake


def _has_density(model: Model) -> bool:
  """Whether samples and a density are one object, a density of noisy data if there are levels."""
  return any(field is not None for field in (
      model.log_prob, model.log_prob_estimate, model.sample_and_log_prob))


def under_critic(writes: dict) -> dict:
  """The critic's writes, keyed by their path in the parameters of all players."""
  return {f'critic/{path}': value for path, value in writes.items()}


def trained_through_samples(model: Model) -> Model:
  """The model with those capabilities that a training through its samples leaves meaningful.

  An exact density and its samples are one object, so everything stays. If the density is a bound (a
  VAE's encoder was not trained) or absent, only the samples stay.
  """
  if _has_density(model):
    return model

  def sample(params, rng, n, cond):
    return model.rsample(params, rng, n, cond), 1

  return Model(init=model.init, sample=sample, rsample=model.rsample)
