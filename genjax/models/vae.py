"""Variational autoencoder (1312.6114): a Gaussian latent z, an encoder q(z|x), a decoder p(x|z).

log p(x) >= E_q log p(x|z) - KL(q(z|x) || p(z)). Data with levels have a discretised likelihood, so
the bound is one on the probability mass of the integers; continuous data have a Gaussian.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genjax import prob
from genjax.nn.embed import LabelEmbed
from genjax.nn.mlp import MLP
from genjax.types import BadInput, DataSpec, Model

LIKELIHOODS = {'levels': ('logistic', 'categorical'), 'continuous': ('gaussian',)}
MIN_LOG_SCALE = -7.0  # narrower than a cell of 1000 levels: beyond that only overflow is to be had


class Likelihood(NamedTuple):
  """p(x|z) of independent elements, given the decoder's output [B, num_params, D]."""

  num_params: int
  log_prob: Callable  # (out, x [B, D]) -> [B] nats
  sample: Callable  # (out, rng) -> x [B, D]
  rsample: Callable  # (out, rng) -> x [B, D], differentiable in out


def categorical(levels: int) -> Likelihood:
  """Each element takes one of the levels, by a softmax of its own."""

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
    # E x = 1 - 2 / (L - 1) sum_k P(x <= level k), k < L - 1: one level after the other, as they may
    # be 256
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
  """Each element is Gaussian; the network joins a log standard deviation common to all z."""

  def log_prob(out, x):
    return prob.normal_log_prob(x, out[:, 0], jnp.exp(out[:, 1])).sum(-1)

  def sample(out, rng):
    return out[:, 0] + jnp.exp(out[:, 1]) * jax.random.normal(rng, out[:, 0].shape)

  return Likelihood(1, log_prob, sample, sample)


class Autoencoder(nn.Module):
  """Encoder x [B, D] -> mean, std of z [B, latent_dim]; decoder z -> [B, num_params, D]."""

  size: int
  num_params: int
  latent_dim: int
  hidden: tuple[int, ...]
  dropout: float  # of the encoder
  learned_std: bool  # joins to the decoder's output a log standard deviation, free of z
  num_classes: int | None

  def setup(self):
    self.encoder = MLP(self.hidden, 2 * self.latent_dim, dropout=self.dropout)
    self.decoder = MLP(self.hidden[::-1], self.size * self.num_params)
    if self.num_classes is not None:
      self.label = LabelEmbed(2 * self.latent_dim, self.num_classes)
    if self.learned_std:
      self.log_std = self.param('log_std', nn.initializers.zeros_init(), (self.size,))

  def encode(self, x, cond, deterministic=True):
    raw = self.encoder(self._join(x, cond), deterministic)
    mean, raw_std = jnp.split(raw, 2, -1)
    return mean, nn.softplus(raw_std + 0.5) + 1e-4  # near 1 at the start, as the prior's

  def decode(self, z, cond):
    out = self.decoder(self._join(z, cond)).reshape(-1, self.num_params, self.size)
    if not self.learned_std:
      return out
    log_std = jnp.broadcast_to(self.log_std, (out.shape[0], 1, self.size))
    return jnp.concatenate([out, log_std], 1)

  def __call__(self, x, cond):
    mean, _ = self.encode(x, cond)
    return self.decode(mean, cond)

  def _join(self, x, cond):
    if self.num_classes is None:
      return x
    return jnp.concatenate([x, self.label(cond, x.shape[0])], -1)


def make(spec: DataSpec, *, latent_dim: int | None = None, hidden: tuple[int, ...] | None = None,
         likelihood: str | None = None, encoder_dropout: float = 0.0,
         conditional: bool = False) -> Model:
  """Returns a VAE: init, sample, rsample, elbo (reconstruction, kl) and log_weight.

  latent_dim: None: 16 (vectors of up to 8 elements: their dimension). hidden: the encoder's
  widths, the decoder's reversed. likelihood: 'logistic' (the default) or 'categorical' with
  levels, 'gaussian' without. encoder_dropout: a random q still gives a bound, so that it stays on
  whenever there is an rng. rsample gives E[x|z] with levels, in place of a draw.
  """
  size = int(np.prod(spec.shape))
  small = size <= 8
  latent_dim = (size if small else 16) if latent_dim is None else latent_dim
  hidden = ((128, 128) if small else (256, 256)) if hidden is None else tuple(hidden)
  like = _likelihood(spec, likelihood)
  if conditional and spec.num_classes is None:
    raise BadInput('conditional = True, but the data have no labels; allowed: False')
  net = Autoencoder(size, like.num_params, latent_dim, hidden, encoder_dropout,
                    spec.levels is None, spec.num_classes if conditional else None)

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, size)), None)['params']

  def decode(params, z, cond):
    return net.apply({'params': params}, z, cond, method='decode')

  def posterior(params, batch, rng):
    rng_z, rng_dropout = jax.random.split(rng)
    x, cond = batch['x'].reshape(-1, size), batch.get('cond')
    mean, std = net.apply({'params': params}, x, cond, encoder_dropout == 0.0,
                          rngs={'dropout': rng_dropout}, method='encode')
    z = mean + std * jax.random.normal(rng_z, mean.shape)
    return mean, std, z, like.log_prob(decode(params, z, cond), x)

  def elbo(params, batch, rng):
    mean, std, _, log_p = posterior(params, batch, rng)
    return {'reconstruction': log_p, 'kl': -prob.sum_event(prob.normal_kl(mean, std))}

  def log_weight(params, batch, rng):
    mean, std, z, log_p = posterior(params, batch, rng)
    return log_p + prob.sum_event(
        prob.normal_log_prob(z) - prob.normal_log_prob(z, mean, std))

  def draw(params, rng, n, cond, how):
    rng_z, rng_x = jax.random.split(rng)
    out = decode(params, jax.random.normal(rng_z, (n, latent_dim)), cond)
    return how(out, rng_x).reshape(n, *spec.shape)

  def sample(params, rng, n, cond):
    return draw(params, rng, n, cond, like.sample), 1

  def rsample(params, rng, n, cond):
    return draw(params, rng, n, cond, like.rsample)

  return Model(init, sample=sample, rsample=rsample, elbo=elbo, log_weight=log_weight)


def _likelihood(spec: DataSpec, name: str | None) -> Likelihood:
  """The likelihood of that name, or the default of the data; BadInput for one that cannot be."""
  kind = 'continuous' if spec.levels is None else 'levels'
  name = name or LIKELIHOODS[kind][0]
  if name not in LIKELIHOODS[kind]:
    raise BadInput(f'likelihood {name!r} on data with levels = {spec.levels}; '
                   f'allowed: {", ".join(LIKELIHOODS[kind])}')
  if name == 'gaussian':
    return gaussian()
  return {'categorical': categorical, 'logistic': logistic}[name](spec.levels)
