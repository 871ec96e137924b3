"""Priors of a VAE: each is a density, its draws follow it, and weights are unbiased under it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.models import priors
from genjax.types import BadInput, DataSpec
from tests.networks import family, jit, moved

PLANE = DataSpec((2,), None, None)
GRID = np.linspace(-12.0, 12.0, 4801)
BATCH = {'x': 1.5 * np.float32(np.random.default_rng(0).standard_normal((6, 2)))}


@pytest.mark.parametrize('prior', priors.PRIORS)
def test_weights_have_the_marginal_density_as_their_mean(prior):
  """E exp(log_weight) = p(x) = int p(x, z) dz, by quadrature; the elbo is below log p."""
  num = 3 if prior in ('mixture', 'vamp') else None
  model = family('vae', PLANE, {role: {'features': ()} for role in ('posterior', 'decoder')},
                 latent_dim=1, prior=prior, num_components=num)
  params = moved(jax.jit(model.init)(jax.random.key(0), BATCH), 0.3)
  # a wide q: the weights have a small variance
  params['posterior']['out'] = {'kernel': 0.1 * params['posterior']['out']['kernel'],
                                'bias': jnp.float32([0.2, 1.0])}
  n = 20_000

  @jit
  def run(params):
    joint = jax.lax.map(lambda z: model.latents.log_joint(params, BATCH, jnp.full((6, 1), z)),
                        jnp.float32(GRID))
    keys = jax.random.split(jax.random.key(1), n)
    weights = jax.vmap(lambda key: model.log_weight(params, BATCH, key))(keys)
    elbo = jax.vmap(lambda key: sum(model.elbo(params, BATCH, key).values()))(keys[:2000])
    return joint, weights, elbo

  joint, weights, elbo = (np.asarray(a, np.float64) for a in run(params))
  p = np.exp(joint).sum(0) * (GRID[1] - GRID[0])
  mass = np.exp(weights)
  error = mass.std(0) / np.sqrt(n)
  assert (error < 0.05 * p).all() and (np.abs(mass.mean(0) - p) < 4 * error).all()
  # the mean of the log weights is the elbo, with or without an analytic KL
  assert (np.abs(elbo.mean(0) - weights.mean(0)) < 4 * (
      elbo.std(0) / np.sqrt(2000) + weights.std(0) / np.sqrt(n))).all()
  assert (elbo.mean(0) < np.log(p) + 4 * elbo.std(0) / np.sqrt(2000)).all()


@pytest.mark.parametrize('prior', priors.PRIORS)
def test_each_prior_is_a_density_and_its_draws_follow_it(prior):
  encode = lambda params, x: (x[:, :1], 0.3 + 0.2 * jnp.abs(x[:, 1:]))
  p = priors.make(prior, PLANE, 1, encode, 3 if prior in ('mixture', 'vamp') else None)
  params = {'prior': moved(p.init(jax.random.key(0), BATCH), 0.3)}

  @jit
  def run(params):
    rngs = jax.random.split(jax.random.key(1))
    return (p.log_prob(params, jnp.float32(GRID)[:, None]), p.sample(params, rngs[0], 20_000),
            p.rsample(params, rngs[1], 2000))

  log_p, *draws = run(params)
  density = np.exp(np.float64(log_p))
  step = GRID[1] - GRID[0]
  np.testing.assert_allclose(density.sum() * step, 1.0, atol=1e-4)
  below = np.cumsum(density) * step
  for x in draws:  # Kolmogorov-Smirnov, 99.99 %
    at = np.sort(np.asarray(x)[:, 0])
    gap = np.abs(np.interp(at, GRID, below) - (np.arange(len(at)) + 0.5) / len(at)).max()
    assert gap < 2.23 / np.sqrt(len(at))


def test_the_gradient_reaches_pseudo_inputs_and_the_encoder_through_them():
  model = family('vae', PLANE, {role: {'features': ()} for role in ('posterior', 'decoder')},
                 latent_dim=1, prior='vamp', num_components=3)
  params = jax.jit(model.init)(jax.random.key(0), BATCH)
  grads = jit(jax.grad(lambda params: model.rsample(params, jax.random.key(1), 64, None).sum()))(
      params)
  assert np.abs(grads['prior']['pseudo_inputs']).min() > 0
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads['posterior']))


def test_bad_input():
  for kw, words in (({'prior': 'vampire'}, "'vampire'; allowed: normal, mixture, vamp"),
                    ({'num_components': 4}, "num_components = 4 .*'normal'; allowed: None")):
    with pytest.raises(BadInput, match=words):
      family('vae', PLANE, **kw)
