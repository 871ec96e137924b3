"""The causal transformer's switches: rematerialisation and the type of its products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.transformer import TokenTransformer
from genjax.types import BadInput, DataSpec
from tests.networks import family

SIZES = {'shape': (2, 3, 1), 'levels': 5, 'width': 16, 'num_blocks': 2, 'num_heads': 2,
         'dropout': 0.0}
TOKENS = jnp.arange(12).reshape(2, 6) % 5


def parameters():
  params = TokenTransformer(**SIZES).init(jax.random.key(0), TOKENS)
  return jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(1), a.shape), params)


@pytest.mark.slow
def test_rematerialisation_changes_no_number_and_no_step():
  plain, remat = TokenTransformer(**SIZES), TokenTransformer(**SIZES, remat=True)
  params = parameters()

  def loss(net):
    return lambda p: (net.apply(p, TOKENS) ** 2).sum()

  one, other = (jax.jit(jax.grad(loss(net)))(params) for net in (plain, remat))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one, other)
  assert 'remat' in str(jax.make_jaxpr(jax.grad(loss(remat)))(params))
  logits = remat.apply(params, TOKENS)
  cache = remat.grow(remat.apply(params, None, 2, method='start'), TOKENS.shape[1])
  first, _ = remat.apply(params, cache, TOKENS[:, 0], 0, method='step')
  np.testing.assert_allclose(first, logits[:, 0], atol=1e-5)


@pytest.mark.slow
def test_bfloat16_keeps_the_residual_stream_float32():
  net, params = TokenTransformer(**SIZES, dtype=jnp.bfloat16), parameters()
  logits, kept = net.apply(params, TOKENS, capture_intermediates=True)
  kept = kept['intermediates']
  assert kept['blocks_0']['qkv']['__call__'][0].dtype == jnp.bfloat16
  assert kept['blocks_0']['norm_mlp']['__call__'][0].dtype == jnp.float32
  assert kept['blocks_1']['__call__'][0].dtype == logits.dtype == jnp.float32
  expected = TokenTransformer(**SIZES).apply(params, TOKENS)
  error = jnp.sqrt(((logits - expected) ** 2).mean() / (expected**2).mean())
  assert 1e-5 < error < 0.03


def test_the_family_hands_both_on():
  spec = DataSpec((2, 3, 1), 5, None)
  kw = {'width': 16, 'num_blocks': 1, 'num_heads': 2}
  model = family('autoregressive', spec, {'causal': {**kw, 'dtype': 'bfloat16', 'remat': True}})
  batch = {'x': jnp.zeros((2, 2, 3, 1))}
  params = jax.eval_shape(model.init, jax.random.key(0), batch)
  text = str(jax.make_jaxpr(jax.grad(lambda p: model.log_prob(p, batch, None).sum()))(params))
  assert 'bf16' in text and 'remat' in text
  with pytest.raises(BadInput, match="'half'"):
    family('autoregressive', spec, {'causal': {**kw, 'dtype': 'half'}})
