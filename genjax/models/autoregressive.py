"""A causal network over the levels of x in raster order: exact log P(x), samples token by token."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics import conditions
from genjax.prob import elements
from genjax.types import BadInput, DataSpec, Model, Network

MAX_PARTS, LEAST_PART = 4, 128  # lengths of a growing cache: each compiles a loop of its own

def make(spec: DataSpec, causal: Callable, *, label_dropout: float = 0.1,
         likelihood: str = 'categorical', num_mixtures: int | None = None,
         temperature: float = 1.0, top_p: float = 1.0) -> Model:
  """Returns a model with an exact mass, log P(x) = sum_i log P(x_i | x_<i), in nats.

  causal: network role.
  label_dropout: probability that `log_prob` with an rng (training) drops an example's label.
  likelihood: of a token: 'categorical', or one that knows that levels are ordered:
    'logistic_mixture', 'logistic', 'beta_binomial'; with two levels also 'bernoulli'.
  num_mixtures: components of a logistic mixture; None: 10.
  temperature: `sample` divides the log-probabilities of a token's levels by it.
  top_p: `sample` draws a token from its likeliest levels of this total probability (1904.09751).

  With an rng `log_prob` also applies dropout; with None it is deterministic. `sample` evaluates
  the network once per token, with its cache; `complete` does the same where the first elements in
  raster order are known. Samples under a temperature or top_p other than 1 are
  not from p_theta, so that `log_prob` is not theirs. Raises BadInput on data without levels, for an
  unknown likelihood, and for num_mixtures of another one.
  """
  if spec.levels is None:
    raise BadInput('model autoregressive needs data with levels (integers), but levels = None: '
                   'the data are continuous; allowed there: flow, diffusion, ebm, mixture, ...')
  like = elements.likelihood(likelihood, spec.levels, num_mixtures)
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
    return like.log_prob(out, prob.from_levels(tokens, spec.levels)).sum(-1)

  def draw(rng, out):
    if temperature == top_p == 1.0:
      return prob.to_levels(like.sample(rng, out), spec.levels)
    logits = like.logits(out)
    logits = (logits - logits.max(-1, keepdims=True)) / temperature
    return jax.random.categorical(rng, prob.nucleus(logits, top_p))

  def complete(params, rng, x, num_known, cond):
    known = prob.to_levels(x, spec.levels).reshape(-1, num_tokens)
    tokens = completed(net, draw, params, rng, known, num_known, cond)
    return prob.from_levels(tokens.reshape(-1, *spec.shape), spec.levels), num_tokens

  def sample(params, rng, n, cond):
    return complete(params, rng, jnp.zeros((n, *spec.shape)), 0, cond)

  return Model(init=init, log_prob=log_prob, sample=sample, complete=complete,
               null_cond=conditions.null(spec) if label_dropout else None)


def completed(net: Network, draw: Callable, params, rng, known, num_known: int, cond):
  """Tokens int32 [n, D]: the first num_known of `known` [n, D], the others drawn one by one.

  net: a causal network; draw: (key, its outputs [n, out] for one token) -> tokens [n].
  """
  n, num_tokens = known.shape

  def body(carry, inputs):
    token, cache = carry
    i, key, given = inputs
    out, cache = net.step(params, cache, token, i)
    token = jnp.where(i < num_known, given, draw(key, out).astype(jnp.int32))
    return (token, cache), token

  steps = jnp.arange(num_tokens), jax.random.split(rng, num_tokens), known.T
  carry, tokens = (jnp.zeros((n,), jnp.int32), net.start(params, cond, n)), []
  for first, last in spans(num_tokens, net.grow is not None):
    token, cache = carry
    carry = token, net.grow(cache, last) if net.grow else cache
    carry, part = jax.lax.scan(body, carry, jax.tree.map(lambda a: a[first:last], steps))
    tokens.append(part)
  return jnp.concatenate(tokens).T


def spans(num_tokens: int, grows: bool) -> list[tuple[int, int]]:
  """[(first, last)] tokens that are drawn with a cache of one length; grows: with several.

  A step reads the whole cache, so a cache that grows in four parts costs 5/8 of a whole one.
  """
  num_parts = min(MAX_PARTS, -(-num_tokens // LEAST_PART)) if grows else 1
  ends = [num_tokens * (i + 1) // num_parts for i in range(num_parts)]
  return list(zip([0, *ends[:-1]], ends, strict=True))
