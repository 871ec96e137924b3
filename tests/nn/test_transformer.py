"""The causal transformer's switches: rematerialisation and the type of its products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.rotary import rotate
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


def test_rotated_products_depend_on_the_difference_of_places_alone():
  q, k = jax.random.normal(jax.random.key(0), (2, 8))
  product = lambda i, j: float(rotate(q, i) @ rotate(k, j))
  np.testing.assert_allclose([product(7, 3), product(104, 100)], product(4, 0), atol=1e-4)
  assert abs(product(7, 3) - product(7, 4)) > 1e-2
  np.testing.assert_allclose(jnp.linalg.norm(rotate(q, 9)), jnp.linalg.norm(q), rtol=1e-5)


def test_rotary_positions_have_cached_steps_and_no_table():
  net = TokenTransformer(**SIZES, positions='rotary')
  params = net.init(jax.random.key(0), TOKENS)
  assert not any('place' in name for name in params['params'])
  params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(1), a.shape), params)

  @jax.jit
  def both(params):
    def body(cache, i):
      out, cache = net.apply(params, cache, TOKENS[:, jnp.maximum(i - 1, 0)], i, method='step')
      return cache, out

    start = net.grow(net.apply(params, None, 2, method='start'), 6)
    return net.apply(params, TOKENS), jax.lax.scan(body, start, jnp.arange(6))[1]

  parallel, steps = both(params)
  np.testing.assert_allclose(steps.swapaxes(0, 1), parallel, atol=1e-5)
  # equal tokens: only the places can tell their outputs apart
  moved = net.apply(params, jnp.array([[1, 2, 1, 1, 1, 1], [2, 1, 1, 1, 1, 1]]))
  assert np.abs(moved[0, 2] - moved[1, 2]).max() > 1e-4


@pytest.mark.parametrize('kw, words', [
    ({'positions': 'sine'}, "positions 'sine'; allowed: learned, rotary"),
    ({'positions': 'rotary', 'width': 6}, 'a head has 3; allowed: an even')])
def test_positions_that_are_refused(kw, words):
  with pytest.raises(BadInput, match=words):
    jax.eval_shape(TokenTransformer(**{**SIZES, **kw}).init, jax.random.key(0), TOKENS)


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
