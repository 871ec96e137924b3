"""A diffusion of Gaussian data with its exact denoiser, and the loss of any model under kw."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat
from genjax.objectives import score_matching
from genjax.types import DataSpec, Denoised, Diffusion, Model

SPEC = DataSpec((3,), None, None)
RNG = jax.random.key(2)
VARIANCE = 0.5  # of the data of the diffusion below, isotropic
STEEP = 12.0  # logsnr runs from 6 to -6


def path(params, t):
  logsnr = STEEP * (0.5 - t)
  return jnp.sqrt(jax.nn.sigmoid(logsnr)), jnp.sqrt(jax.nn.sigmoid(-logsnr))


def exact_denoise(params, x_t, t, cond, rng):
  alpha, sigma = path(params, t)
  gain = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
  return Denoised(params['scale'] * gain[:, None] * x_t)


DIFFUSION = Model(lambda rng, batch: {'scale': jnp.float32(1.0)},
                  diffusion=Diffusion(path, exact_denoise))
GAUSSIAN = {'x': np.sqrt(VARIANCE) * jax.random.normal(jax.random.key(5), (200000, 3))}


def diffusing(**fields):
  """DIFFUSION with other fields of its diffusion."""
  return DIFFUSION._replace(diffusion=DIFFUSION.diffusion._replace(**fields))


def make(model, estimator='denoising', spec=SPEC, **kw):
  """The objective, given what its signature names."""
  return compat.bind(estimator, score_matching.ESTIMATORS[estimator].make,
                     {'model': model, 'spec': spec}, kw, {})


def evaluate(model, batch, spec=SPEC, rng=RNG, **kw):
  objective = make(model, spec=spec, **kw)
  params, carry = objective.init(jax.random.key(1), batch)
  loss = objective.players[0].loss
  (value, aux), grads = jax.jit(jax.value_and_grad(
      lambda p: loss(p, carry, batch, rng, 0), has_aux=True))(params)
  return value, aux.metrics, grads['model']
