"""A causal network over the levels of x in raster order: exact log P(x), samples token by token."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics import conditions
from genjax.types import BadInput, DataSpec, Model


def make(spec: DataSpec, causal: Callable, *, label_dropout: float = 0.1) -> Model:
  """Returns a model with an exact mass, log P(x) = sum_i log P(x_i | x_<i), in nats.

  causal: network role.
  label_dropout: probability that `log_prob` with an rng (training) drops an example's label.
  With an rng `log_prob` also applies dropout; with None it is deterministic. `sample` evaluates
  the network once per token, with its cache. Raises BadInput on data without levels.
  """
  if spec.levels is None:
    raise BadInput('model autoregressive needs data with levels (integers), but levels = None: '
                   'the data are continuous; allowed there: flow, diffusion, ebm, mixture, ...')
  num_tokens, net = int(np.prod(spec.shape)), causal(out=spec.levels)

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, num_tokens), jnp.int32), None)

  def log_prob(params, batch, rng):
    x, cond, rng_dropout = batch['x'], batch.get('cond'), None
    tokens = prob.to_levels(x, spec.levels).reshape(x.shape[0], num_tokens)
    if rng is not None:
      rng_label, rng_dropout = jax.random.split(rng)
      cond = conditions.drop(rng_label, cond, label_dropout, spec)
    logits, _ = net.apply(params, tokens, cond, rng=rng_dropout)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], -1)
    return log_p[..., 0].sum(-1)

  def sample(params, rng, n, cond):
    def body(carry, inputs):
      token, cache = carry
      i, key = inputs
      logits, cache = net.step(params, cache, token, i)
      token = jax.random.categorical(key, logits).astype(jnp.int32)
      return (token, cache), token

    first = jnp.zeros((n,), jnp.int32), net.start(params, cond, n)
    steps = jnp.arange(num_tokens), jax.random.split(rng, num_tokens)
    _, tokens = jax.lax.scan(body, first, steps)
    return prob.from_levels(tokens.T.reshape(n, *spec.shape), spec.levels), num_tokens

  return Model(init=init, log_prob=log_prob, sample=sample,
               null_cond=conditions.null(spec) if label_dropout else None)
