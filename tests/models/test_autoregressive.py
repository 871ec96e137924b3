"""The causal transformer: causality, exact mass, and a cache that changes nothing."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.models import autoregressive
from genjax.nn.transformer import TokenTransformer
from genjax.types import BadInput, DataSpec
from tests.networks import family, initial, moved

SPEC = DataSpec((3, 4, 1), 5, 3)
TINY = {'width': 16, 'num_blocks': 2, 'num_heads': 2}
NET = TokenTransformer((3, 4, 1), 5, 3, **TINY)


def made(spec, conditional=False, **kw):
  """A small model of this data, its parameters moved, and its jitted log_prob."""
  model = family('autoregressive', spec, {'causal': {**TINY, **kw}}, conditional=conditional)
  params = moved(initial(model, None), 0.3)
  return model, params, jax.jit(model.log_prob)


@pytest.fixture(scope='module')
def variables():
  """Every leaf is moved, so that no zero initialisation hides a leak."""
  return moved(initial(NET, jnp.zeros((1, 12), jnp.int32)), 0.3)


def test_logits_do_not_see_their_token_or_later_ones(variables):
  tokens = jax.random.randint(jax.random.key(1), (12,), 0, 5)
  changed = jnp.where(jnp.eye(12, dtype=bool), (tokens + 1) % 5, tokens)  # row j moves token j
  logits = jax.jit(NET.apply)(variables, jnp.vstack([tokens, changed, tokens]),
                              jnp.array([1] * 13 + [2]))
  change = jnp.abs(logits[1:] - logits[0]).max(-1)  # [what moved, where it is seen]
  seen = np.vstack([np.triu(np.ones((12, 12), bool), 1), np.ones((1, 12), bool)])
  assert (change[~seen] < 1e-6).all()
  assert (change[seen] > 1e-5).all()  # and all later ones see it, and all see the label


def test_cached_steps_give_the_parallel_logits(variables):
  tokens = jax.random.randint(jax.random.key(2), (4, 12), 0, 5)
  cond = jnp.array([0, 1, 2, 3])

  @jax.jit
  def stepped(variables):
    cache = NET.grow(NET.apply(variables, cond, 4, method='start'), 12)

    def body(carry, inputs):
      i, token = inputs
      logits, cache = NET.apply(variables, carry[1], carry[0], i, method='step')
      return (token, cache), logits

    first = jnp.full(4, 3), cache  # no token stands before the first
    return jax.lax.scan(body, first, (jnp.arange(12), tokens.T))[1].swapaxes(0, 1)

  parallel = jax.jit(NET.apply)(variables, tokens, cond)
  assert jnp.std(parallel) > 0.3  # there is something to compare
  np.testing.assert_allclose(stepped(variables), parallel, atol=1e-5)


@pytest.mark.slow
def test_a_growing_cache_changes_no_sample(monkeypatch):
  """Twelve tokens in one part, or in four whose caches have 3, 6, 9 and 12 places."""
  model, params, _ = made(SPEC)
  draw = lambda: jax.jit(lambda p, rng: model.sample(p, rng, 5, None)[0])(params, jax.random.key(1))
  whole = draw()
  monkeypatch.setattr(autoregressive, 'LEAST_PART', 3)
  assert autoregressive.spans(12, True) == [(0, 3), (3, 6), (6, 9), (9, 12)]
  np.testing.assert_array_equal(draw(), whole)


def test_a_completion_keeps_what_is_known_and_draws_the_rest_given_it():
  model, params, log_prob = made(DataSpec((2, 2, 1), 2, None))
  x = prob.from_levels(jnp.array([[1, 0], [0, 0]]), 2).reshape(1, 2, 2, 1).repeat(4000, 0)
  drawn, evaluations = jax.jit(model.complete, static_argnums=3)(
      params, jax.random.key(0), x, 2, None)
  assert evaluations == 4
  np.testing.assert_array_equal(drawn[:, 0], x[:, 0])
  rest = jnp.array(list(itertools.product([0, 1], repeat=2)))
  states = jnp.concatenate([jnp.tile(jnp.array([[1, 0]]), (4, 1)), rest], 1)
  p = np.exp(log_prob(params, {'x': prob.from_levels(states, 2).reshape(4, 2, 2, 1)}, None))
  p /= p.sum()
  seen = np.asarray(drawn[:, 1, :, 0] > 0)
  share = np.array([np.mean(np.all(seen == np.asarray(r, bool), 1)) for r in rest])
  assert np.all(np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / 4000)), (share, p)


def test_mass_of_all_states_is_one_and_follows_the_chain_rule():
  spec = DataSpec((12,), 2, None)
  _, params, log_prob = made(spec)
  states = jnp.array(list(itertools.product([0, 1], repeat=12)))
  log_p = log_prob(params, {'x': prob.from_levels(states, 2)}, None)
  assert log_p.dtype == jnp.float32 and jnp.std(log_p) > 0.5
  np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(), 1.0, atol=1e-4)


@pytest.mark.slow
def test_samples_follow_log_prob():
  """Frequencies of 16 states of a 4-bit set against their probabilities (chi-square)."""
  spec = DataSpec((2, 2, 1), 2, None)
  model, params, log_prob = made(spec, width=8)
  n = 4096
  x, nfe = jax.jit(lambda key: model.sample(params, key, n, None))(jax.random.key(1))
  assert int(nfe) == 4 and x.shape == (n, 2, 2, 1)
  states = jnp.array(list(itertools.product([0, 1], repeat=4)))
  p = jnp.exp(log_prob(params, {'x': prob.from_levels(states, 2).reshape(-1, 2, 2, 1)}, None))
  index = prob.to_levels(x, 2).reshape(n, 4) @ jnp.array([8, 4, 2, 1])
  count = jnp.bincount(index, length=16)
  assert float(((count - n * p) ** 2 / (n * p)).sum()) < 37.7  # 99.9 % of chi-square, 15 d.o.f.


@pytest.mark.slow
def test_dropout_and_labels_act_only_where_asked():
  _, params, log_prob = made(SPEC, conditional=True)
  batch = {'x': prob.from_levels(jnp.zeros((2, 3, 4, 1)), 5), 'cond': jnp.array([0, 2])}
  still = log_prob(params, batch, None)
  np.testing.assert_allclose(still, log_prob(params, batch, None))
  keys = jax.random.split(jax.random.key(3))
  assert (jnp.abs(log_prob(params, batch, keys[0]) - log_prob(params, batch, keys[1])) > 0).all()
  no_label = log_prob(params, {**batch, 'cond': jnp.full(2, 3)}, None)
  np.testing.assert_allclose(no_label, log_prob(params, {'x': batch['x']}, None))
  assert (jnp.abs(no_label - still) > 1e-4).all()


def test_an_untrained_model_is_uniform():
  model = family('autoregressive', SPEC, {'causal': TINY})
  params = jax.jit(lambda rng: model.init(rng, None))(jax.random.key(0))
  log_p = jax.jit(model.log_prob)(params, {'x': jnp.ones((2, 3, 4, 1))}, None)
  np.testing.assert_allclose(log_p, -12 * np.log(5), rtol=1e-5)


def test_refusals_name_the_value():
  with pytest.raises(BadInput, match='levels = None'):
    family('autoregressive', DataSpec((2,), None, None))
  with pytest.raises(BadInput, match='30.*4'):
    family('autoregressive', SPEC, {'causal': {'width': 30}}).init(jax.random.key(0), None)
