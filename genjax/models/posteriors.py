"""Posteriors q(z | x) of a VAE's latent vector."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax import prob
from genjax.numerics.shapes import sum_event
from genjax.types import DataSpec


class Posterior(NamedTuple):
  """q(z | x); params are those of the whole VAE, with the posterior's own under 'posterior'."""

  init: Callable  # rng -> the posterior's own params
  # (params, x, cond=None, rng=None) -> mean, std [B, d]; rng: for dropout
  encode: Callable
  # (params, batch, rng) -> z [B, d], its log q [B], and (mean, std) if q is Gaussian, else None;
  # rng None: the mean, without dropout
  draw: Callable
  log_prob: Callable  # (params, batch, rng, z) -> [B] nats; rng: that of `draw`, for its dropout


def gaussian(spec: DataSpec, posterior: Callable, dim: int) -> Posterior:
  """N(mean, diag(std^2)), both the outputs of the network role `posterior`."""
  net = posterior(out=2 * dim)

  def init(rng):
    return net.init(rng, jnp.zeros((1, *spec.shape)), None)

  def encode(params, x, cond=None, rng=None):
    raw, _ = net.apply(params['posterior'], x, cond, rng=rng)
    mean, raw_std = jnp.split(raw, 2, -1)
    return mean, jax.nn.softplus(raw_std + 0.5) + 1e-4  # initially near 1, like the prior's

  def parts(params, batch, rng):
    """The key of z, and the mean and std of q."""
    rng_z, rng_dropout = (None, None) if rng is None else jax.random.split(rng)
    return rng_z, encode(params, batch['x'], batch.get('cond'), rng_dropout)

  def draw(params, batch, rng):
    rng_z, (mean, std) = parts(params, batch, rng)
    z = mean if rng is None else mean + std * jax.random.normal(rng_z, mean.shape)
    return z, sum_event(prob.normal_log_prob(z, mean, std)), (mean, std)

  def log_prob(params, batch, rng, z):
    return sum_event(prob.normal_log_prob(z, *parts(params, batch, rng)[1]))

  return Posterior(init, encode, draw, log_prob)
