"""A linear VAE on real digits against the closed form of probabilistic PCA.

Tipping and Bishop 1999. log p of the fitted model is known, and so is its best value: the bound
reaches it where the posterior is exact, and importance weights rise to it and never pass it where
it is not.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.types import DataSpec
from tests.linear_vae import mlps
from tests.networks import family, jit

LATENTS = 5


def digits():
  """[1197, 64] digits as continuous vectors, scaled to a mean variance of one per pixel."""
  x = np.asarray(data.load('digits').splits['train']['x'], np.float64).reshape(-1, 64)
  x = x + np.random.default_rng(0).standard_normal(x.shape)  # pixels that are constant vary
  return x / np.sqrt(x.var(0).mean())


def closed_form(x, q: int):
  """W [D, q], b, s^2 of the maximum likelihood, and its mean log p in nats (their Eqs. 7 and 8)."""
  n, dim = x.shape
  values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
  values, vectors = values[::-1], vectors[:, ::-1]
  noise = values[q:].mean()
  weights = vectors[:, :q] * np.sqrt(values[:q] - noise)
  log_p = -0.5 * (dim * np.log(2 * np.pi) + np.log(values[:q]).sum()
                  + (dim - q) * np.log(noise) + dim)
  return weights, x.mean(0), noise, log_p


def at_the_optimum(x):
  """(model, its parameters at the maximum of the bound, the maximum of log p)."""
  weights, b, noise, best = closed_form(x, LATENTS)
  precision = np.eye(LATENTS) + weights.T @ weights / noise
  gain = weights @ np.linalg.inv(precision) / noise  # [D, q]
  std = np.diag(precision) ** -0.5  # q has the best diagonal covariance: the exact one here
  raw = np.log(np.expm1(std - 1e-4)) - 0.5
  params = {
      'posterior': {'out': {'kernel': np.concatenate([gain, 0 * gain], 1),
                            'bias': np.concatenate([-b @ gain, raw])}},
      'decoder': {'out': {'kernel': weights.T, 'bias': b}},
      'log_std': np.full(64, 0.5 * np.log(noise))}
  model = family('vae', DataSpec((64,), None, None), mlps(()), latent_dim=LATENTS)
  return model, jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params), best


def mean_bound(model, params, x, num_weights: int, repeats: int, seed: int):
  """The bound at num_weights weights per example and repeat, [repeats, N] nats."""
  def bound(key):
    weights = jax.vmap(lambda key: model.log_weight(params, {'x': x}, key))(
        jax.random.split(key, num_weights))
    return jax.nn.logsumexp(weights, 0) - jnp.log(num_weights)

  return np.float64(jit(lambda keys: jax.lax.map(bound, keys))(
      jax.random.split(jax.random.key(seed), repeats)))


@pytest.mark.slow
def test_the_bound_at_the_optimum_is_the_maximum_of_log_p():
  x = digits()
  model, params, best = at_the_optimum(x)
  elbo = jit(lambda x, key: sum(model.elbo(params, {'x': x}, key).values()))(
      jnp.asarray(x, jnp.float32), jax.random.key(0))
  exact = mean_bound(model, params, jnp.asarray(x, jnp.float32), 1, 1, 0)
  assert abs(exact.mean() - best) < 0.02  # every weight is p(x): no noise
  assert abs(np.mean(elbo) - best) < 4 * np.std(elbo - exact[0]) / np.sqrt(len(x)) + 0.02


@pytest.mark.slow
def test_training_reaches_the_closed_form():
  """The learned scale per element starts from one and is kept equal: pPCA has one noise."""
  import optax
  x = jnp.asarray(digits(), jnp.float32)
  model, _, best = at_the_optimum(np.float64(x))
  params = jax.jit(model.init)(jax.random.key(0), {'x': x})
  schedule = optax.cosine_decay_schedule(0.02, 8000)
  optimizer = optax.adam(schedule)

  def tied(params):
    return {**params, 'log_std': jnp.broadcast_to(params['log_std'].mean(), 64)}

  def step(carry, key):
    params, state = carry
    grads = jax.grad(lambda params: -sum(
        model.elbo(tied(params), {'x': x}, key).values()).mean())(params)
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(params, updates), state), None

  (params, _), _ = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
      (params, optimizer.init(params)), jax.random.split(jax.random.key(1), 8000))
  elbo = jit(lambda keys: jax.lax.map(lambda key: sum(
      model.elbo(tied(params), {'x': x}, key).values()).mean(), keys))(
          jax.random.split(jax.random.key(2), 200))
  assert abs(float(np.mean(elbo)) - best) < 0.02, (float(np.mean(elbo)), best)


@pytest.mark.slow
def test_weights_rise_with_their_number_and_never_pass_log_p():
  x = digits()[:200]
  model, params, _ = at_the_optimum(digits())
  x = jnp.asarray(x, jnp.float32)
  exact = mean_bound(model, params, x, 1, 1, 0)[0]  # log p of each
  raw = params['posterior']['out']['bias']
  params['posterior']['out']['bias'] = raw + jnp.concatenate([
      jnp.full(LATENTS, 0.3), jnp.full(LATENTS, 0.2)])
  bounds = [mean_bound(model, params, x, k, 20, k).mean(0) for k in (1, 4, 16, 64, 256)]
  for one, more in zip(bounds, bounds[1:], strict=False):  # paired by example
    gap = more - one
    assert gap.mean() > -3 * gap.std() / np.sqrt(len(gap))
  assert bounds[0].mean() < bounds[2].mean() - 0.1
  for bound in bounds:
    gap = bound - exact
    assert gap.mean() < 3 * gap.std() / np.sqrt(len(gap))
