"""Tiny models and critics whose answers are known on paper."""

import jax
import jax.numpy as jnp
import pytest

from genjax.numerics.shapes import sum_event
from genjax.prob import normal_log_prob
from genjax.types import Model
from tests.networks import critic

MEAN, STD = 0.5, 1.2


def _standard(rng, n, dim):
  return jax.random.normal(rng, (n, dim))


def _quantiles(rng, n, dim):
  """n equally likely points of N(0, 1): expectations become quadratures, free of noise."""
  return jax.scipy.stats.norm.ppf((jnp.arange(n) + 0.5) / n).reshape(n, 1)


def _gaussian(dim=1, draw=_standard):
  """N(mean, exp(log_std)^2) over x [B, dim]."""
  def init(rng, batch):
    return {'mean': jnp.full(dim, MEAN), 'log_std': jnp.full(dim, jnp.log(STD))}

  def log_prob(params, batch, rng):
    return sum_event(normal_log_prob(batch['x'], params['mean'], jnp.exp(params['log_std'])))

  def rsample(params, rng, n, cond):
    return params['mean'] + jnp.exp(params['log_std']) * draw(rng, n, dim)

  def sample_and_log_prob(params, rng, n, cond):
    x = rsample(params, rng, n, cond)
    return x, log_prob(params, {'x': x}, None)

  return Model(init, sample=lambda *args: (rsample(*args), 0), rsample=rsample, log_prob=log_prob,
               sample_and_log_prob=sample_and_log_prob,
               energy=lambda params, x, cond: -log_prob(params, {'x': x}, None))


@pytest.fixture
def gaussian():
  """gaussian(dim) -> Model: N(0.5, 1.2^2) at the start."""
  return _gaussian


@pytest.fixture
def quantile_gaussian():
  """The same in one dimension, sampled at its quantiles whatever the rng."""
  return _gaussian(1, _quantiles)


@pytest.fixture
def quantiles():
  """quantiles(n) -> [n, 1] of N(0, 1)."""
  return lambda n: _quantiles(None, n, 1)


@pytest.fixture
def linear_critic():
  """v(x) = w . x, starting at w = 1."""
  return critic(lambda params, x, cond: sum_event(params['w'] * x),
                lambda rng, x, cond: {'w': jnp.ones(x.shape[1:])})
