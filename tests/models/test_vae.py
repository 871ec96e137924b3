"""The VAE: masses that sum to 1, and a linear one, for which everything is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.types import BadInput, DataSpec
from tests.linear_vae import linear_vae, mlps
from tests.networks import family

PIXELS = DataSpec((2, 1, 1), 3, 4)


def test_exact_posterior_makes_every_weight_the_density():
  model, params, batch, log_p = linear_vae()
  assert jax.tree.structure(params) == jax.tree.structure(model.init(jax.random.key(0), batch))
  weight = jax.jit(model.log_weight)(params, batch, jax.random.key(1))
  np.testing.assert_allclose(weight, log_p, atol=2e-3)
  draws = jax.jit(jax.vmap(lambda key: sum(model.elbo(params, batch, key).values())))(
      jax.random.split(jax.random.key(2), 20_000))
  np.testing.assert_allclose(draws.mean(0), log_p, atol=0.05)


def test_inexact_posterior_is_a_bound_and_weights_stay_unbiased():
  model, params, batch, log_p = linear_vae()
  params['posterior']['out']['bias'] = params['posterior']['out']['bias'] + jnp.asarray([0.15, 0.3])
  keys = jax.random.split(jax.random.key(3), 20_000)
  weights = jax.jit(jax.vmap(lambda key: model.log_weight(params, batch, key)))(keys)
  elbo = jax.jit(jax.vmap(lambda key: sum(model.elbo(params, batch, key).values())))(keys).mean(0)
  np.testing.assert_allclose(weights.mean(0), elbo, atol=0.05)  # analytic KL, sampled KL: one mean
  np.testing.assert_allclose(prob.log_mean_exp(weights), log_p, atol=0.03)
  assert np.all(elbo < log_p - 0.03)
  groups = prob.log_mean_exp(weights.reshape(8, 2500, 16)).mean(0)  # IWAE with 8 weights
  assert np.all(groups > elbo) and np.all(groups < log_p + 0.03)


@pytest.mark.slow
@pytest.mark.parametrize('likelihood', ['categorical', 'logistic'])
@pytest.mark.parametrize('dropout', [0.0, 0.5])
def test_mass_of_all_integers_is_one(likelihood, dropout):
  model = family('vae', PIXELS, mlps((16,), dropout), latent_dim=2, likelihood=likelihood)
  k = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(9, 2, 1, 1)
  batch = {'x': prob.from_levels(k, 3)}
  params = jax.tree.map(lambda p: 1.3 * p, jax.jit(model.init)(jax.random.key(0), batch))
  # q a little wider than the prior: the weights have a variance, and a mean to be estimated
  last = params['posterior']['out']
  params['posterior']['out'] = {'kernel': 0.1 * last['kernel'], 'bias': last['bias'] + 0.3}
  draws = jax.jit(jax.vmap(lambda key: model.log_weight(params, batch, key)))(
      jax.random.split(jax.random.key(1), 20_000))
  mass = np.exp(np.asarray(draws, np.float64))
  error = np.sqrt(mass.var(0).sum() / len(mass))
  assert error < 0.02 and abs(mass.mean(0).sum() - 1.0) < 4 * error


def test_terms_and_shapes_and_labels():
  model = family('vae', PIXELS, mlps((16,)), conditional=True)
  batch = {'x': prob.grid(3)[jnp.asarray([[0, 1], [2, 2]])].reshape(2, 2, 1, 1)}
  params = jax.jit(model.init)(jax.random.key(0), batch)
  terms = jax.jit(model.elbo)(params, batch, jax.random.key(1))
  assert set(terms) == {'reconstruction', 'kl'} and np.all(terms['kl'] <= 0)
  x, num_evaluations = jax.jit(
      lambda key: model.sample(params, key, 5, None))(jax.random.key(2))
  assert x.shape == (5, 2, 1, 1) and num_evaluations == 1
  np.testing.assert_allclose(prob.from_levels(prob.to_levels(x, 3), 3), x, atol=1e-6)
  draw = jax.jit(lambda cond: model.rsample(params, jax.random.key(2), 5, cond))
  np.testing.assert_allclose(draw(None), draw(jnp.full(5, 4)), rtol=1e-5)
  assert np.abs(draw(jnp.zeros(5, jnp.int32)) - draw(None)).max() > 1e-4


def test_gradients_reach_every_parameter_and_extremes_stay_finite():
  model = family('vae', PIXELS, mlps((16,)))
  batch = {'x': prob.grid(3)[jnp.asarray([[0, 1], [2, 2]])].reshape(2, 2, 1, 1)}
  params = jax.jit(model.init)(jax.random.key(0), batch)
  gradient = jax.jit(jax.grad(
      lambda params: -sum(model.elbo(params, batch, jax.random.key(1)).values()).mean()))
  for scale in (1.0, 100.0):
    for grad in jax.tree.leaves(gradient(jax.tree.map(lambda p: scale * p, params))):
      assert np.isfinite(grad).all() and (scale > 1.0 or np.any(grad))
  grads = jax.jit(jax.grad(lambda p: model.rsample(p, jax.random.key(1), 8, None).sum()))(params)
  assert any(np.any(g) for g in jax.tree.leaves(grads['decoder']))


def test_bad_input():
  with pytest.raises(BadInput, match="'gaussian' .*levels = 3; allowed: categorical, logistic"):
    family('vae', PIXELS, likelihood='gaussian')
