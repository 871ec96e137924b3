"""Variational autoencoder (1312.6114): a Gaussian latent z, a posterior q(z|x), a decoder p(x|z).

log p(x) >= E_q log p(x|z) - KL(q(z|x) || p(z)). Data with levels have a discretised likelihood, and
the bound is on the probability mass of the integers; continuous data have a Gaussian likelihood.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, DataSpec, Model

LIKELIHOODS = {'levels': ('logistic', 'categorical'), 'continuous': ('gaussian',)}
MIN_LOG_SCALE = -7.0  # narrower than a cell of 1000 levels; smaller scales only overflow


class Likelihood(NamedTuple):
  """p(x|z) of independent elements, as functions of the decoder's output [B, num_params, D]."""

  num_params: int
  log_prob: Callable  # (out, x [B, D]) -> [B] nats
  sample: Callable  # (out, rng) -> x [B, D]
  rsample: Callable  # (out, rng) -> x [B, D], differentiable in out


def categorical(levels: int) -> Likelihood:
  """Each element has a softmax over the levels."""

  def log_prob(out, x):
    hot = jax.nn.one_hot(prob.to_levels(x, levels), levels, axis=1)  # [B, L, D]
    return jnp.sum(hot * jax.nn.log_softmax(out, axis=1), (1, 2))

  def sample(out, rng):
    return prob.from_levels(jax.random.categorical(rng, out, axis=1), levels)

  def rsample(out, rng):
    del rng
    return jnp.sum(jax.nn.softmax(out, axis=1) * prob.grid(levels)[:, None], 1)

  return Likelihood(levels, log_prob, sample, rsample)


def logistic(levels: int) -> Likelihood:
  """Each element is a logistic variable rounded to the grid, tails included (1701.05517, Eq. 2)."""

  def location_scale(out):
    # a scale of e^-2 is about one cell of 17 levels
    return out[:, 0], jnp.maximum(out[:, 1] - 2.0, MIN_LOG_SCALE)

  def log_prob(out, x):
    return prob.logistic_cell_log_prob(x, *location_scale(out), levels).sum(-1)

  def sample(out, rng):
    mean, log_scale = location_scale(out)
    x = mean + jnp.exp(log_scale) * jax.random.logistic(rng, mean.shape)
    return prob.from_levels(prob.to_levels(x, levels), levels)

  def rsample(out, rng):
    # E x = 1 - 2 / (L - 1) sum_k P(x <= level k), k < L - 1; one level after the other, since there
    # may be 256
    del rng
    mean, log_scale = location_scale(out)
    inv, width = jnp.exp(-log_scale), 2.0 / (levels - 1)

    def add(total, edge):
      return total + jax.nn.sigmoid((edge - mean) * inv), None

    edges = prob.grid(levels)[:-1] + 0.5 * width
    total, _ = jax.lax.scan(jax.checkpoint(add), jnp.zeros_like(mean), edges)
    return 1.0 - width * total

  return Likelihood(2, log_prob, sample, rsample)


def gaussian() -> Likelihood:
  """Each element is Gaussian, with a learned log standard deviation that does not depend on z."""

  def log_prob(out, x):
    return prob.normal_log_prob(x, out[:, 0], jnp.exp(out[:, 1])).sum(-1)

  def sample(out, rng):
    return out[:, 0] + jnp.exp(out[:, 1]) * jax.random.normal(rng, out[:, 0].shape)

  return Likelihood(1, log_prob, sample, sample)


def make(spec: DataSpec, posterior: Callable, decoder: Callable, *, latent_dim: int | None = None,
         likelihood: str | None = None) -> Model:
  """Returns a VAE: init, sample, rsample, elbo (reconstruction, kl) and log_weight.

  posterior, decoder: network roles; their outputs are the parameters of q(z|x) and of p(x|z).
  latent_dim: dimension of z; None: 16, for vectors of up to 8 elements their dimension.
  likelihood: 'logistic' (default) or 'categorical' with levels, 'gaussian' without.

  The posterior's dropout is always on: a random q still gives a bound. With levels, rsample returns
  E[x|z].
  """
  size = int(np.prod(spec.shape))
  latent_dim = (size if size <= 8 else 16) if latent_dim is None else latent_dim
  like, learned_std = _likelihood(spec, likelihood), spec.levels is None
  q, p = posterior(out=2 * latent_dim), decoder(out=like.num_params)

  def init(rng, batch):
    rng_q, rng_p = jax.random.split(rng)
    params = {'posterior': q.init(rng_q, jnp.zeros((1, *spec.shape)), None),
              'decoder': p.init(rng_p, jnp.zeros((1, latent_dim)), None)}
    return params | ({'log_std': jnp.zeros(size)} if learned_std else {})

  def encode(params, x, cond, rng):
    raw, _ = q.apply(params['posterior'], x, cond, rng=rng)
    mean, raw_std = jnp.split(raw, 2, -1)
    return mean, jax.nn.softplus(raw_std + 0.5) + 1e-4  # initially near 1, like the prior's

  def decode(params, z, cond):
    out, _ = p.apply(params['decoder'], z, cond)
    out = out.reshape(-1, size, like.num_params).swapaxes(1, 2)
    if not learned_std:
      return out
    log_std = jnp.broadcast_to(params['log_std'], (out.shape[0], 1, size))
    return jnp.concatenate([out, log_std], 1)

  def inferred(params, batch, rng):
    rng_z, rng_dropout = jax.random.split(rng)
    x, cond = batch['x'], batch.get('cond')
    mean, std = encode(params, x, cond, rng_dropout)
    z = mean + std * jax.random.normal(rng_z, mean.shape)
    return mean, std, z, like.log_prob(decode(params, z, cond), x.reshape(-1, size))

  def elbo(params, batch, rng):
    mean, std, _, log_p = inferred(params, batch, rng)
    return {'reconstruction': log_p, 'kl': -sum_event(prob.normal_kl(mean, std))}

  def log_weight(params, batch, rng):
    mean, std, z, log_p = inferred(params, batch, rng)
    return log_p + sum_event(
        prob.normal_log_prob(z) - prob.normal_log_prob(z, mean, std))

  def draw(params, rng, n, cond, how):
    rng_z, rng_x = jax.random.split(rng)
    out = decode(params, jax.random.normal(rng_z, (n, latent_dim)), cond)
    return how(out, rng_x).reshape(n, *spec.shape)

  return Model(init, sample=lambda params, rng, n, cond: (draw(params, rng, n, cond, like.sample),
                                                          1),
               rsample=lambda params, rng, n, cond: draw(params, rng, n, cond, like.rsample),
               elbo=elbo, log_weight=log_weight)


def _likelihood(spec: DataSpec, name: str | None) -> Likelihood:
  """The likelihood of that name, or the default for the data; BadInput for an illegal one."""
  kind = 'continuous' if spec.levels is None else 'levels'
  name = name or LIKELIHOODS[kind][0]
  if name not in LIKELIHOODS[kind]:
    raise BadInput(f'likelihood {name!r} on data with levels = {spec.levels}; '
                   f'allowed: {", ".join(LIKELIHOODS[kind])}')
  if name == 'gaussian':
    return gaussian()
  return {'categorical': categorical, 'logistic': logistic}[name](spec.levels)
