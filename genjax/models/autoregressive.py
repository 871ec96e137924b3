"""A causal network over the levels of x in raster order: exact log P(x), samples token by token."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics import conditions
from genjax.types import BadInput, DataSpec, Model

LIKELIHOODS = ('categorical', 'logistic_mixture')
NUM_MIXTURES = 10  # as in the code of 1701.05517
MIN_LOG_SCALE = -7.0  # narrower than a cell of 1000 levels; smaller scales only overflow


class Likelihood(NamedTuple):
  """P(token | tokens before), as functions of the network's output [..., num_params]."""

  num_params: int
  log_prob: Callable  # (out, tokens [...]) -> [...] nats
  logits: Callable  # out -> [..., L]: log P of each level, up to a constant
  sample: Callable  # (rng, out [n, num_params]) -> tokens [n]


def categorical(levels: int) -> Likelihood:
  """A logit of each level."""

  def log_prob(out, tokens):
    return jnp.take_along_axis(jax.nn.log_softmax(out), tokens[..., None], -1)[..., 0]

  return Likelihood(levels, log_prob, lambda out: out, jax.random.categorical)


def logistic_mixture(levels: int, num_mixtures: int) -> Likelihood:
  """Logistic variables in a mixture, rounded to the grid, tails included (1701.05517, Eqs. 1-2).

  Outputs of 0 are components of equal weight whose means are spread over [-1, 1]: about uniform.
  """
  centres = (2.0 * np.arange(num_mixtures) + 1.0) / num_mixtures - 1.0

  def parts(out):
    logits, means, log_scales = jnp.split(out, 3, -1)
    return logits, means + centres, jnp.maximum(log_scales - np.log(num_mixtures), MIN_LOG_SCALE)

  def log_prob(out, tokens):
    return prob.logistic_mixture_log_prob(prob.from_levels(tokens, levels), *parts(out), levels)

  def sample(rng, out):
    logits, means, log_scales = parts(out)
    rng_k, rng_x = jax.random.split(rng)
    k = jax.random.categorical(rng_k, logits)[:, None]
    mean, log_scale = (jnp.take_along_axis(a, k, 1)[:, 0] for a in (means, log_scales))
    x = mean + jnp.exp(log_scale) * jax.random.logistic(rng_x, mean.shape)
    return prob.to_levels(x, levels)

  return Likelihood(3 * num_mixtures, log_prob,
                    lambda out: log_prob(out[..., None, :], jnp.arange(levels)), sample)


def make(spec: DataSpec, causal: Callable, *, label_dropout: float = 0.1,
         likelihood: str = 'categorical', num_mixtures: int | None = None,
         temperature: float = 1.0, top_p: float = 1.0) -> Model:
  """Returns a model with an exact mass, log P(x) = sum_i log P(x_i | x_<i), in nats.

  causal: network role.
  label_dropout: probability that `log_prob` with an rng (training) drops an example's label.
  likelihood: of a token: 'categorical', or 'logistic_mixture', which knows that levels are ordered.
  num_mixtures: components of a logistic mixture; default 10.
  temperature: `sample` divides the log-probabilities of a token's levels by it.
  top_p: `sample` draws a token from its likeliest levels of this total probability (1904.09751).

  With an rng `log_prob` also applies dropout; with None it is deterministic. `sample` evaluates
  the network once per token, with its cache. Samples under a temperature or top_p other than 1 are
  not from p_theta, so that `log_prob` is not theirs. Raises BadInput on data without levels, for an
  unknown likelihood, and for num_mixtures of another one.
  """
  if spec.levels is None:
    raise BadInput('model autoregressive needs data with levels (integers), but levels = None: '
                   'the data are continuous; allowed there: flow, diffusion, ebm, mixture, ...')
  like = _likelihood(spec.levels, likelihood, num_mixtures)
  num_tokens, net = int(np.prod(spec.shape)), causal(out=like.num_params)

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, num_tokens), jnp.int32), None)

  def log_prob(params, batch, rng):
    x, cond, rng_dropout = batch['x'], batch.get('cond'), None
    tokens = prob.to_levels(x, spec.levels).reshape(x.shape[0], num_tokens)
    if rng is not None:
      rng_label, rng_dropout = jax.random.split(rng)
      cond = conditions.drop(rng_label, cond, label_dropout, spec)
    out, _ = net.apply(params, tokens, cond, rng=rng_dropout)
    return like.log_prob(out, tokens).sum(-1)

  def draw(rng, out):
    if temperature == top_p == 1.0:
      return like.sample(rng, out)
    logits = like.logits(out)
    logits = (logits - logits.max(-1, keepdims=True)) / temperature
    return jax.random.categorical(rng, prob.nucleus(logits, top_p))

  def sample(params, rng, n, cond):
    def body(carry, inputs):
      token, cache = carry
      i, key = inputs
      out, cache = net.step(params, cache, token, i)
      token = draw(key, out).astype(jnp.int32)
      return (token, cache), token

    first = jnp.zeros((n,), jnp.int32), net.start(params, cond, n)
    steps = jnp.arange(num_tokens), jax.random.split(rng, num_tokens)
    _, tokens = jax.lax.scan(body, first, steps)
    return prob.from_levels(tokens.T.reshape(n, *spec.shape), spec.levels), num_tokens

  return Model(init=init, log_prob=log_prob, sample=sample,
               null_cond=conditions.null(spec) if label_dropout else None)


def _likelihood(levels: int, name: str, num_mixtures: int | None) -> Likelihood:
  """The likelihood of that name; BadInput for another, and for num_mixtures without a mixture."""
  if name not in LIKELIHOODS:
    raise BadInput(f'unknown likelihood {name!r}; allowed: {", ".join(LIKELIHOODS)}')
  if name == 'logistic_mixture':
    return logistic_mixture(levels, num_mixtures or NUM_MIXTURES)
  if num_mixtures is not None:
    raise BadInput(f"num_mixtures = {num_mixtures} is of likelihood='logistic_mixture', not "
                   f'{name!r}')
  return categorical(levels)
