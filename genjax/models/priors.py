"""Priors p(z) of a VAE's latent vector."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax import prob
from genjax.models import flow, mixture
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, DataSpec

PRIORS = ('normal', 'mixture', 'vamp', 'flow')
NUM_COMPONENTS = 50
SPREAD = 0.05  # of pseudo-inputs around examples: equal ones would never part


class Prior(NamedTuple):
  """p(z); params are those of the whole VAE, with the prior's own under 'prior'."""

  init: Callable  # (rng, batch) -> the prior's own params
  log_prob: Callable  # (params, z [B, d]) -> [B] nats
  sample: Callable  # (params, rng, n) -> z [n, d]
  rsample: Callable  # the same, differentiable in params
  # (params, mean [B, d], std [B, d]) -> KL(N(mean, std^2) || p) [B] in nats; None: no closed form
  kl: Callable | None = None


def normal(dim: int) -> Prior:
  """N(0, I)."""
  def sample(params, rng, n):
    return jax.random.normal(rng, (n, dim))

  return Prior(lambda rng, batch: {}, lambda params, z: sum_event(prob.normal_log_prob(z)),
               sample, sample, lambda params, mean, std: sum_event(prob.normal_kl(mean, std)))


def gaussian_mixture(dim: int, num_components: int) -> Prior:
  """A mixture of num_components Gaussians whose weights, means and diagonal scales are learned."""
  def init(rng, batch):
    return mixture.init_params(jax.random.normal(rng, (num_components, dim)), 0.0, 'diagonal')

  return _of_mixture(init, lambda params: params['prior'])


def vamp(spec: DataSpec, encode: Callable, num_components: int) -> Prior:
  """The VampPrior 1/K sum_k q(z | u_k), its pseudo-inputs u_k learned (1705.07120, Eq. 9).

  encode: (params, u [K, *shape]) -> mean, std [K, d] of q. Pseudo-inputs start near the examples of
  the first batch.
  """
  def init(rng, batch):
    index = jnp.arange(num_components) % batch['x'].shape[0]
    noise = jax.random.normal(rng, (num_components, *spec.shape))
    return {'pseudo_inputs': batch['x'][index] + SPREAD * noise}

  def components(params):
    mean, std = encode(params, params['prior']['pseudo_inputs'])
    return {'logits': jnp.zeros(num_components), 'mean': mean, 'log_scale': jnp.log(std)}

  return _of_mixture(init, components)


def coupling_flow(dim: int, conditioner: Callable) -> Prior:
  """A coupling flow with its defaults (`flow.make`); conditioner: network role."""
  model = flow.make(DataSpec((dim,), None), conditioner, dequantiser=None)  # z has no levels
  return Prior(model.init, lambda params, z: model.log_prob(params['prior'], {'x': z}, None),
               lambda params, rng, n: model.rsample(params['prior'], rng, n, None),
               lambda params, rng, n: model.rsample(params['prior'], rng, n, None))


def _of_mixture(init: Callable, components: Callable) -> Prior:
  """The prior whose components(params) are params of a Gaussian `mixture`."""
  return Prior(init, lambda params, z: mixture.log_density(components(params), z),
               lambda params, rng, n: mixture.draw(components(params), rng, n),
               lambda params, rng, n: mixture.implicit_sample(components(params), rng, n))


def make(name: str, spec: DataSpec, dim: int, num_components: int | None,
         encode: Callable | None, conditioner: Callable) -> Prior:
  """The prior of that name, in PRIORS, over z [dim].

  spec: of the data.
  num_components: of 'mixture' and 'vamp'; None: 50.
  encode: see `vamp`; None: q is not Gaussian. conditioner: network role, see `coupling_flow`.
  Raises BadInput for another name, for num_components of other priors, for 'vamp' with a q that is
  not Gaussian, and for 'flow' in one dimension.
  """
  if name not in PRIORS:
    raise BadInput(f'unknown prior {name!r}; allowed: {", ".join(PRIORS)}')
  if num_components is not None and name not in ('mixture', 'vamp'):
    raise BadInput(f"num_components = {num_components} is of prior='mixture' or 'vamp', not "
                   f'{name!r}; allowed: None')
  if name == 'flow' and dim < 2:
    raise BadInput(f"prior='flow' couples two parts of z, and latent_dim = {dim}; allowed: 2 or "
                   'more')
  num = num_components or NUM_COMPONENTS
  if name == 'mixture':
    return gaussian_mixture(dim, num)
  if name == 'vamp' and encode is None:
    raise BadInput("prior='vamp' is a mixture of Gaussian posteriors, and posterior_flow makes q "
                   'another one; allowed: posterior_flow=None')
  if name == 'vamp':
    return vamp(spec, encode, num)
  return coupling_flow(dim, conditioner) if name == 'flow' else normal(dim)
