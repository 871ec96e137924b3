"""Posteriors q(z | x) of a VAE's latent vector."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax import prob
from genjax.models import autoregressive_flow, bijection
from genjax.numerics import bijections
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, DataSpec

FLOWS = ('iaf',)
NUM_LAYERS = 4  # of an inverse autoregressive posterior


class Posterior(NamedTuple):
  """q(z | x); params are those of the whole VAE."""

  init: Callable  # rng -> the posterior's own entries of params
  # (params, x, cond=None, rng=None) -> mean, std [B, d] of a Gaussian q, rng: for dropout; None: q
  # is not Gaussian
  encode: Callable | None
  # (params, batch, rng) -> z [B, d], its log q [B], and (mean, std) if q is Gaussian, else None;
  # rng None: a central point, without dropout (`Latents.infer`)
  draw: Callable
  log_prob: Callable  # (params, batch, rng, z) -> [B] nats; rng: that of `draw`, for its dropout


def gaussian(spec: DataSpec, posterior: Callable, dim: int) -> Posterior:
  """N(mean, diag(std^2)), both the outputs of the network role `posterior`."""
  net, init = _network(spec, posterior(out=2 * dim))

  def encode(params, x, cond=None, rng=None):
    return _moments(net(params, x, cond, rng))

  def draw(params, batch, rng):
    rng_z, rng_dropout = _keys(rng)
    mean, std = encode(params, batch['x'], batch.get('cond'), rng_dropout)
    z = mean if rng is None else mean + std * jax.random.normal(rng_z, mean.shape)
    return z, sum_event(prob.normal_log_prob(z, mean, std)), (mean, std)

  def log_prob(params, batch, rng, z):
    mean, std = encode(params, batch['x'], batch.get('cond'), _keys(rng)[1])
    return sum_event(prob.normal_log_prob(z, mean, std))

  return Posterior(init, encode, draw, log_prob)


def inverse_autoregressive(spec: DataSpec, posterior: Callable, masked: Callable,
                           dim: int) -> Posterior:
  """A Gaussian draw through NUM_LAYERS affine autoregressive maps (1606.04934, Eqs. 8 to 11).

  The network role `posterior` outputs mean and std of the draw and the context of the maps, each of
  `dim` numbers; the role `masked` is the network of each map. A draw and its density are one pass
  per map, the density of another z `dim` passes.
  """
  net, init_net = _network(spec, posterior(out=3 * dim))
  one = autoregressive_flow.layer(dim, partial(bijections.elementwise, 'affine', 1.0),
                                  masked(out=bijections.num_params('affine', 0), context=dim))
  maps = bijection.repeated(one, NUM_LAYERS)

  def init(rng):
    rng_net, rng_maps = jax.random.split(rng)
    return {**init_net(rng_net), 'posterior_flow': maps.init(rng_maps)}

  def parts(params, batch, rng):
    raw = net(params, batch['x'], batch.get('cond'), rng)
    return *_moments(raw[:, :2 * dim]), raw[:, 2 * dim:]

  def draw(params, batch, rng):
    rng_z, rng_dropout = _keys(rng)
    mean, std, context = parts(params, batch, rng_dropout)
    start = mean if rng is None else mean + std * jax.random.normal(rng_z, mean.shape)
    z, log_det = maps.forward(params['posterior_flow'], start, context)
    return z, sum_event(prob.normal_log_prob(start, mean, std)) - log_det, None

  def log_prob(params, batch, rng, z):
    mean, std, context = parts(params, batch, _keys(rng)[1])
    start, log_det = maps.inverse(params['posterior_flow'], z, context)
    return sum_event(prob.normal_log_prob(start, mean, std)) + log_det

  return Posterior(init, None, draw, log_prob)


def make(flow: str | None, spec: DataSpec, posterior: Callable, masked: Callable,
         dim: int) -> Posterior:
  """The posterior over z [dim]; flow: None, or a name in FLOWS. Raises BadInput for another."""
  if flow is None:
    return gaussian(spec, posterior, dim)
  if flow not in FLOWS:
    raise BadInput(f'unknown posterior_flow {flow!r}; allowed: None, {", ".join(FLOWS)}')
  return inverse_autoregressive(spec, posterior, masked, dim)


def _network(spec: DataSpec, network) -> tuple[Callable, Callable]:
  """(params, x, cond, rng) -> raw [B, out], and rng -> {'posterior': its params}."""
  def init(rng):
    return {'posterior': network.init(rng, jnp.zeros((1, *spec.shape)), None)}

  return lambda params, x, cond, rng: network.apply(
      params['posterior'], x, cond, rng=rng)[0], init


def _moments(raw) -> tuple[jax.Array, jax.Array]:
  """Mean and standard deviation [B, d] from raw [B, 2 d]."""
  mean, raw_std = jnp.split(raw, 2, -1)
  return mean, jax.nn.softplus(raw_std + 0.5) + 1e-4  # initially near 1, like the prior's


def _keys(rng):
  """The keys of z and of dropout; None, None without an rng."""
  return (None, None) if rng is None else jax.random.split(rng)
