"""A mixture of products of categoricals over pixels: exact mass for levels, and its EM."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics import em
from genjax.types import DataSpec, Model


def make(spec: DataSpec, num_components: int, smoothing: float, marginal_prior: float,
         loop: dict, num_restarts: int) -> Model:
  """Returns p(x) = sum_k pi_k prod_d p_kd(x_d): log_prob is the log-mass in nats of the integers.

  The fit's Dirichlet prior, in pseudo-counts for every pixel of every component: smoothing of
  each level, so that no level has mass 0, and marginal_prior spread as that pixel's histogram
  over the training set. loop: {'tolerance' (nats per example), 'max_steps'}.
  """
  dim, levels = int(np.prod(spec.shape)), spec.levels

  def init(rng, batch):
    del batch
    return {'logits': jnp.zeros(num_components),
            'pixel_logits': jax.random.normal(rng, (num_components, dim, levels))}

  def sample(params, rng, n, cond):
    del cond
    rng_k, rng_x = jax.random.split(rng)
    k = jax.random.categorical(rng_k, params['logits'], shape=(n,))
    level = jax.random.categorical(rng_x, params['pixel_logits'][k])
    # no network is evaluated
    return prob.from_levels(level, levels).reshape(n, *spec.shape), 0

  def log_prob(params, batch, rng):
    del rng
    level = prob.to_levels(batch['x'], levels).reshape(-1, dim)
    return jax.nn.logsumexp(joint_log_mass(params, level), axis=-1)

  def fit(rng, x_train):
    level = prob.to_levels(x_train, levels).reshape(-1, dim)
    prior = smoothing + marginal_prior * histogram(level, levels)
    run = partial(fit_em, num=num_components, **loop)
    return em.best(lambda key: run(key, level, prior), rng, num_restarts)

  return Model(init=init, sample=sample, log_prob=log_prob, fit=fit)


def joint_log_mass(params: dict, level) -> jax.Array:
  """log pi_k + sum_d log p_kd(level_d): level int [B, D] -> [B, K] nats."""
  log_p = jax.nn.log_softmax(params['pixel_logits'], axis=-1)

  def add(total, args):  # one level a step: a one-hot of all levels would not fit for images
    index, log_p_level = args
    mask = (level == index).astype(log_p.dtype)
    return total + jnp.matmul(mask, log_p_level.T, precision='highest'), None

  start = jnp.broadcast_to(jax.nn.log_softmax(params['logits']),
                           (level.shape[0], log_p.shape[0]))
  indices = jnp.arange(log_p.shape[-1])
  return jax.lax.scan(add, start, (indices, jnp.moveaxis(log_p, -1, 0)))[0]


def histogram(level, levels: int) -> jax.Array:
  """The share of each level in each pixel: level int [N, D] -> [D, L]."""
  return jax.lax.map(lambda index: (level == index).mean(0), jnp.arange(levels)).T


def em_step(params: dict, level, prior):
  """One EM step on level int [N, D]: new params, and the objective [] at the old ones.

  prior: pseudo-counts [D, L]. The objective, in nats per example, is the mean log-mass plus
  1 / N sum_kdl prior_dl log p_kdl, the Dirichlet prior; it never decreases.
  """
  joint = joint_log_mass(params, level)
  log_prior = (prior * jax.nn.log_softmax(params['pixel_logits'], axis=-1)).sum()
  objective = jax.nn.logsumexp(joint, axis=-1).mean() + log_prior / level.shape[0]
  return m_step(jax.nn.softmax(joint, axis=-1), level, prior), objective


def m_step(r, level, prior) -> dict:
  """The parameters that maximise the expected objective of `em_step` under r [N, K]."""
  count = lambda index: jnp.matmul(r.T, (level == index).astype(r.dtype), precision='highest')
  counts = jnp.moveaxis(jax.lax.map(count, jnp.arange(prior.shape[-1])), 0, -1)  # [K, D, L]
  size = jnp.maximum(r.sum(0), 1e-6)  # a component that lost all its points keeps finite logits
  mass = (counts + prior) / (counts + prior).sum(-1, keepdims=True)
  return {'logits': jnp.log(size / size.sum()), 'pixel_logits': jnp.log(mass)}


@partial(jax.jit, static_argnames=('num', 'max_steps'))
def fit_em(rng, level, prior, *, num: int, tolerance, max_steps: int):
  """EM on level int [N, D] from greedy k-means++ seeds: params, objective [], number of steps."""
  x = prob.from_levels(level, prior.shape[-1])
  seeds = x[em.seed_rows(rng, x, num)]
  params = m_step(em.nearest_seed(x, seeds), level, prior)
  return em.iterate(lambda params: em_step(params, level, prior), params, tolerance=tolerance,
                    max_steps=max_steps)
