"""Variational autoencoder (1312.6114): a latent vector z, a posterior q(z|x), a decoder p(x|z).

log p(x) >= E_q log p(x|z) - KL(q(z|x) || p(z)). Data with levels have a discretised likelihood, and
the bound is on the probability mass of the integers; continuous data have a Gaussian likelihood.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models import observation, posteriors, priors
from genjax.types import DataSpec, Latents, Model

# role -> (keyword, the value with which it is needed)
OPTIONAL = {'conditioner': ('prior', 'flow'), 'masked': ('posterior_flow', 'iaf')}


def make(spec: DataSpec, posterior: Callable, decoder: Callable, conditioner: Callable,
         masked: Callable, *, latent_dim: int | None = None, likelihood: str | None = None,
         num_mixtures: int | None = None, prior: str = 'normal', num_components: int | None = None,
         posterior_flow: str | None = None) -> Model:
  """Returns a VAE: init, sample, rsample, elbo (reconstruction, kl), log_weight and latents.

  posterior, decoder: network roles; their outputs are the parameters of q(z|x) and of p(x|z).
  conditioner, masked: network roles of prior='flow' and of posterior_flow='iaf'.
  latent_dim: dimension of z; None: 16, for vectors of up to 8 elements their dimension.
  likelihood: with levels 'logistic' (default), 'categorical', 'logistic_mixture', 'beta_binomial',
    with two 'bernoulli' (default there); without levels 'gaussian' (default; a learned scale per
    element) or 'gaussian_output_scale' (the decoder's).
  num_mixtures: components of 'logistic_mixture'; None: 10.
  prior: 'normal', 'mixture' (of Gaussians, learned), 'vamp' (1705.07120) or 'flow' (couplings).
  num_components: of prior 'mixture' or 'vamp'; None: 50.
  posterior_flow: None: a Gaussian q; 'iaf': followed by inverse autoregressive maps (1606.04934).
    With it, or another prior than 'normal', the elbo's kl is an estimate from one z.

  The posterior's dropout is always on: a random q still gives a bound. With levels, rsample returns
  E[x|z]. Raises BadInput for a likelihood that does not suit the levels, and an unknown prior.
  """
  size = int(np.prod(spec.shape))
  latent_dim = (size if size <= 8 else 16) if latent_dim is None else latent_dim
  observed = observation.of_elements(spec, likelihood, num_mixtures)
  p = decoder(out=observed.num_outputs)
  q = posteriors.make(posterior_flow, spec, posterior, masked, latent_dim)
  p_z = priors.make(prior, spec, latent_dim, num_components, q.encode, conditioner)

  def init(rng, batch):
    rng_q, rng_p, rng_prior = jax.random.split(rng, 3)
    params = {**q.init(rng_q), **observed.init(),
              'decoder': p.init(rng_p, jnp.zeros((1, latent_dim)), None)}
    own = p_z.init(rng_prior, batch)
    return params | ({'prior': own} if own else {})

  def decode(params, z, cond):
    return p.apply(params['decoder'], z, cond)[0]

  def sample(params, rng, n, cond):
    rng_z, rng_x = jax.random.split(rng)
    return observed.sample(params, rng_x, decode(params, p_z.sample(params, rng_z, n), cond)), 1

  def rsample(params, rng, n, cond):
    rng_z, rng_x = jax.random.split(rng)
    return observed.rsample(params, rng_x, decode(params, p_z.rsample(params, rng_z, n), cond))

  return Model(init, sample=sample, rsample=rsample, **_bounds(q, p_z, observed, decode))


def _bounds(q: posteriors.Posterior, p_z: priors.Prior, observed: observation.Observation,
            decode: Callable) -> dict:
  """{'elbo', 'log_weight', 'latents'} of a `Model`; decode: (params, z, cond) -> out."""
  def log_likelihood(params, batch, z):
    return observed.log_prob(params, decode(params, z, batch.get('cond')), batch['x'])

  def elbo(params, batch, rng):
    z, log_q, moments = q.draw(params, batch, rng)
    in_closed_form = p_z.kl and moments
    kl = p_z.kl(params, *moments) if in_closed_form else log_q - p_z.log_prob(params, z)
    return {'reconstruction': log_likelihood(params, batch, z), 'kl': -kl}

  def log_joint(params, batch, z):
    return log_likelihood(params, batch, z) + p_z.log_prob(params, z)

  def log_weight(params, batch, rng):
    z, log_q, _ = q.draw(params, batch, rng)
    return log_joint(params, batch, z) - log_q

  return {'elbo': elbo, 'log_weight': log_weight, 'latents': Latents(
      lambda params, batch, rng: q.draw(params, batch, rng)[0], q.log_prob, log_joint,
      lambda params, z, cond: observed.mean(params, decode(params, z, cond)))}
