"""Likelihoods of independent elements, as functions of a network's outputs [..., num_params].

Data with levels: x lies on the grid, and log_prob is the log-mass of its level. Continuous data:
log_prob is a log-density. Outputs of 0 are a broad likelihood.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.prob import densities
from genjax.prob.levels import from_levels, grid, to_levels
from genjax.types import BadInput

NUM_MIXTURES = 10  # as in the code of 1701.05517
MIN_LOG_SCALE = -7.0  # narrower than a cell of 1000 levels; smaller scales only overflow
MAX_LOG_SCALE = 7.0


class Likelihood(NamedTuple):
  """The distribution of one element x, given outputs [..., num_params]."""

  num_params: int
  log_prob: Callable  # (out, x [...]) -> [...] nats
  sample: Callable  # (rng, out) -> x [...]
  # (rng, out) -> x [...], differentiable in out: a draw if x is continuous, else the mean
  rsample: Callable
  mean: Callable  # out -> E x [...]
  logits: Callable | None = None  # out -> [..., L]: log P of each level + const; None: continuous x
  # number of trailing outputs that are parameters of the model, one set per element, not outputs
  num_own: int = 0


def bernoulli(levels: int) -> Likelihood:
  """The logit of the upper of two levels, which are x = -1 and x = 1. levels: 2."""
  def sample(rng, out):
    return from_levels(jax.random.bernoulli(rng, jax.nn.sigmoid(out[..., 0])), levels)

  return _of_levels(1, lambda out, x: jax.nn.log_sigmoid(x * out[..., 0]), sample,
                    lambda out: jnp.tanh(0.5 * out[..., 0]),
                    lambda out: jnp.stack([jnp.zeros_like(out[..., 0]), out[..., 0]], -1))


def categorical(levels: int) -> Likelihood:
  """A logit of each level."""
  def log_prob(out, x):
    # a selection and not a gather, whose gradient would be a scatter
    chosen = to_levels(x, levels)[..., None] == jnp.arange(levels)
    return jnp.where(chosen, jax.nn.log_softmax(out), 0.0).sum(-1)

  return _of_levels(levels, log_prob,
                    lambda rng, out: from_levels(jax.random.categorical(rng, out), levels),
                    lambda out: jax.nn.softmax(out) @ grid(levels), lambda out: out)


def beta_binomial(levels: int) -> Likelihood:
  """The level is the number of successes in L - 1 trials of probability Beta(alpha, beta).

  Two outputs, whose softplus are alpha and beta up to a shift; outputs of 0 are uniform.
  """
  n = levels - 1

  def shapes(out):
    positive = jax.nn.softplus(out + float(np.log(np.e - 1.0))) + 1e-4
    return positive[..., 0], positive[..., 1]

  def log_prob(out, x):
    return densities.beta_binomial_log_prob(to_levels(x, levels), *shapes(out), n)

  def sample(rng, out):
    # by the inverse of its distribution function, one level after the other
    uniform = jax.random.uniform(rng, out.shape[:-1])

    def add(carry, level):
      below, x = carry
      below = below + jnp.exp(log_prob(out, jnp.full_like(x, level)))
      return (below, x + 2.0 / n * (uniform > below)), None

    start = jnp.zeros_like(uniform), jnp.full_like(uniform, -1.0)
    (_, x), _ = jax.lax.scan(add, start, grid(levels)[:-1])
    return from_levels(to_levels(x, levels), levels)

  def mean(out):
    alpha, beta = shapes(out)
    return 2.0 * alpha / (alpha + beta) - 1.0

  return _of_levels(2, log_prob, sample, mean, _logits_of(log_prob, levels))


def logistic(levels: int) -> Likelihood:
  """A logistic variable rounded to the grid, tails included (1701.05517, Eq. 2).

  Two outputs: its location and the logarithm of its scale.
  """
  def parts(out):
    # a scale of e^-2 is about one cell of 17 levels
    return out[..., 0], jnp.maximum(out[..., 1] - 2.0, MIN_LOG_SCALE)

  def log_prob(out, x):
    return densities.logistic_cell_log_prob(x, *parts(out), levels)

  return _of_levels(2, log_prob, lambda rng, out: _rounded_logistic(rng, *parts(out), levels),
                    lambda out: _rounded_logistic_mean(*parts(out), levels),
                    _logits_of(log_prob, levels))


def logistic_mixture(levels: int, num_mixtures: int = NUM_MIXTURES) -> Likelihood:
  """Logistic variables in a mixture, rounded to the grid, tails included (1701.05517, Eqs. 1-2).

  Outputs of 0 are components of equal weight whose means are spread over [-1, 1]: about uniform.
  """
  centres = (2.0 * np.arange(num_mixtures) + 1.0) / num_mixtures - 1.0

  def parts(out):
    logits, means, log_scales = jnp.split(out, 3, -1)
    return logits, means + centres, jnp.maximum(log_scales - np.log(num_mixtures), MIN_LOG_SCALE)

  def log_prob(out, x):
    return densities.logistic_mixture_log_prob(x, *parts(out), levels)

  def sample(rng, out):
    logits, means, log_scales = parts(out)
    rng_k, rng_x = jax.random.split(rng)
    k = jax.random.categorical(rng_k, logits)[..., None]
    mean, log_scale = (jnp.take_along_axis(a, k, -1)[..., 0] for a in (means, log_scales))
    return _rounded_logistic(rng_x, mean, log_scale, levels)

  def mean(out):
    logits, means, log_scales = parts(out)
    return (jax.nn.softmax(logits) * _rounded_logistic_mean(means, log_scales, levels)).sum(-1)

  return _of_levels(3 * num_mixtures, log_prob, sample, mean, _logits_of(log_prob, levels))


def gaussian(num_own: int = 1) -> Likelihood:
  """A normal variable; outputs: its mean, and the logarithm of its standard deviation.

  num_own: 1: one standard deviation per element, a parameter of the model; 0: it is an output too.
  """
  def parts(out):
    return out[..., 0], jnp.clip(out[..., 1], MIN_LOG_SCALE, MAX_LOG_SCALE)

  def log_prob(out, x):
    mean, log_std = parts(out)
    return densities.normal_log_prob(x, mean, jnp.exp(log_std))

  def sample(rng, out):
    mean, log_std = parts(out)
    return mean + jnp.exp(log_std) * jax.random.normal(rng, mean.shape)

  return Likelihood(2, log_prob, sample, sample, lambda out: out[..., 0], num_own=num_own)


# of data with levels (bernoulli: with two), and of continuous data
OF_LEVELS = {'bernoulli': bernoulli, 'categorical': categorical, 'logistic': logistic,
             'logistic_mixture': logistic_mixture, 'beta_binomial': beta_binomial}
CONTINUOUS = {'gaussian': gaussian, 'gaussian_output_scale': partial(gaussian, num_own=0)}


def likelihood(name: str | None, levels: int | None,
               num_mixtures: int | None = None) -> Likelihood:
  """The likelihood of that name for data with these levels (None: continuous).

  name: None: 'logistic' with levels, 'bernoulli' with two, 'gaussian' without.
  num_mixtures: components of 'logistic_mixture'; None: 10.
  Raises BadInput for a name that does not suit the levels, and for num_mixtures of another one.
  """
  allowed = CONTINUOUS if levels is None else {
      each: make for each, make in OF_LEVELS.items() if levels == 2 or each != 'bernoulli'}
  name = name or ('gaussian' if levels is None else 'bernoulli' if levels == 2 else 'logistic')
  if name not in allowed:
    raise BadInput(f'likelihood {name!r} on data with levels = {levels}; '
                   f'allowed: {", ".join(allowed)}')
  if num_mixtures is not None and name != 'logistic_mixture':
    raise BadInput(f"num_mixtures = {num_mixtures} is of likelihood='logistic_mixture', not "
                   f'{name!r}; allowed: None')
  if levels is None:
    return allowed[name]()
  return allowed[name](levels, *([] if num_mixtures is None else [num_mixtures]))


def _of_levels(num_params: int, log_prob, sample, mean, logits) -> Likelihood:
  """A likelihood of levels, of which the mean alone is differentiable."""
  return Likelihood(num_params, log_prob, sample, lambda rng, out: mean(out), mean, logits)


def _logits_of(log_prob: Callable, levels: int) -> Callable:
  return lambda out: log_prob(out[..., None, :], grid(levels))


def _rounded_logistic(rng, mean, log_scale, levels: int) -> jax.Array:
  """A draw on the grid."""
  x = mean + jnp.exp(log_scale) * jax.random.logistic(rng, mean.shape)
  return from_levels(to_levels(x, levels), levels)


def _rounded_logistic_mean(mean, log_scale, levels: int) -> jax.Array:
  """Its mean, 1 - 2 / (L - 1) sum_k P(x <= level k), k < L - 1: one level after the other."""
  inv, width = jnp.exp(-log_scale), 2.0 / (levels - 1)

  def add(total, edge):
    return total + jax.nn.sigmoid((edge - mean) * inv), None

  edges = grid(levels)[:-1] + 0.5 * width
  total, _ = jax.lax.scan(jax.checkpoint(add), jnp.zeros_like(mean), edges)
  return 1.0 - width * total
