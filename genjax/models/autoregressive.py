"""A causal transformer over the levels of x in raster order: exact log P(x), sampling by token."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.nn.dense import product_dtype
from genjax.nn.transformer import TokenTransformer
from genjax.numerics import conditions
from genjax.types import BadInput, DataSpec, Model


def make(spec: DataSpec, *, width: int = 64, num_blocks: int = 3, num_heads: int = 4,
         mlp_ratio: int = 4, dropout: float = 0.1, conditional: bool = False,
         label_dropout: float = 0.1, dtype: str | None = None, remat: bool = False) -> Model:
  """Model with an exact probability mass, log P(x) = sum_i log P(x_i | x_<i), in nats.

  `log_prob` given an rng (training) applies dropout and drops labels at the rate `label_dropout`;
  with rng None it is deterministic. `sample` evaluates the network once a token, with a cache of
  keys and values. dtype, 'float32' or 'bfloat16': of the network's products; remat: see
  TokenTransformer. Raises BadInput on data without levels, a width that num_heads cannot share
  and an unknown dtype.
  """
  if spec.levels is None:
    raise BadInput('model autoregressive needs data with levels (integers), but levels = None: '
                   'the data are continuous; allowed there: flow, diffusion, ebm, mixture, ...')
  if width % num_heads:
    raise BadInput(f'width = {width} is not a multiple of num_heads = {num_heads}')
  if conditional and spec.num_classes is None:
    raise BadInput('conditional = True, but the data have no labels; allowed: False')
  num_tokens, num_classes = int(np.prod(spec.shape)), spec.num_classes if conditional else 0
  net = TokenTransformer(spec.shape, spec.levels, num_classes, width, num_blocks, num_heads,
                         mlp_ratio, dropout, product_dtype(dtype), remat)

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, num_tokens), jnp.int32))['params']

  def log_prob(params, batch, rng):
    x, cond = batch['x'], batch.get('cond') if conditional else None
    tokens = prob.to_levels(x, spec.levels).reshape(x.shape[0], num_tokens)
    rngs = {}
    if rng is not None:
      rng_label, rngs['dropout'] = jax.random.split(rng)
      cond = conditions.drop(rng_label, cond, label_dropout, spec)
    logits = net.apply({'params': params}, tokens, cond, rng is None, rngs=rngs)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], -1)
    return log_p[..., 0].sum(-1)

  def sample(params, rng, n, cond):
    variables = {'params': params}
    start, place, cache = net.apply(variables, cond if conditional else None, n,
                                    method='start')

    def body(carry, inputs):
      x, cache = carry
      i, key, place_i = inputs
      logits, cache = net.apply(variables, x + place_i, cache, i, method='step')
      token = jax.random.categorical(key, logits).astype(jnp.int32)
      return (net.apply(variables, token, method='embed'), cache), token

    steps = (jnp.arange(num_tokens), jax.random.split(rng, num_tokens), place)
    _, tokens = jax.lax.scan(body, (start, cache), steps)
    return prob.from_levels(tokens.T.reshape(n, *spec.shape), spec.levels), num_tokens

  return Model(init=init, log_prob=log_prob, sample=sample,
               null_cond=conditions.null(spec) if conditional and label_dropout else None)
