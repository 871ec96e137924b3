"""What temperature and top_p change, and likelihoods of a token that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.models import autoregressive
from genjax.prob import elements
from genjax.types import BadInput, DataSpec, Network
from tests.networks import jit

LEVELS = 7


@pytest.mark.parametrize(('share', 'kept'), [
    (1.0, [1, 1, 1, 1]), (0.81, [1, 1, 0, 1]), (0.79, [1, 0, 0, 1]), (0.4, [0, 0, 0, 1]),
    (1e-6, [0, 0, 0, 1])])
def test_the_nucleus_is_the_fewest_values_of_a_share(share, kept):
  logits = np.log(np.float32([0.3, 0.15, 0.05, 0.5])) + 2.0
  found = prob.nucleus(jnp.array(logits), share)
  np.testing.assert_array_equal(found, np.where(kept, logits, -np.inf))


def drawn(likelihood, **kw):
  """A model whose tokens are independent with fixed outputs, 4,000 samples, and its log_prob."""
  like = elements.likelihood(likelihood, LEVELS)
  out = jnp.linspace(-1.0, 1.0, like.num_params) ** 3
  net = Network(
      init=lambda rng, *inputs: {}, apply=lambda params, tokens, cond, rng=None: (
          jnp.broadcast_to(out, (*tokens.shape, out.size)), {}),
      start=lambda params, cond, n: (),
      step=lambda params, cache, token, i: (
          jnp.broadcast_to(out, (token.shape[0], out.size)), cache))
  model = autoregressive.make(DataSpec((2,), LEVELS), lambda *, out: net, likelihood=likelihood,
                              **kw)
  x = jit(lambda rng: model.sample({}, rng, 4000, None)[0])(jax.random.key(3))
  log_p = model.log_prob({}, {'x': prob.from_levels(np.full((1, 2), 5), LEVELS)}, None)
  return np.asarray(x), float(log_p[0]), np.exp(np.float64(jax.nn.log_softmax(like.logits(out))))


@pytest.mark.slow
@pytest.mark.parametrize('likelihood', ['categorical', 'logistic_mixture'])
def test_temperature_and_top_p_change_samples_alone(likelihood):
  x, log_p, p = drawn(likelihood)
  np.testing.assert_allclose(log_p, 2 * np.log(p[5]), rtol=1e-5)
  for kw, expected in (({'temperature': 0.5}, p**2), ({'temperature': 2.0}, p**0.5),
                       ({'top_p': 0.5}, np.asarray(jax.nn.softmax(prob.nucleus(np.log(p), 0.5)))),
                       ({}, p)):
    x, same, _ = drawn(likelihood, **kw)
    assert same == log_p
    expected = expected / expected.sum()
    share = np.bincount(np.asarray(prob.to_levels(x, LEVELS)).ravel(), minlength=LEVELS) / x.size
    np.testing.assert_allclose(share, expected, atol=0.025)  # over 4 standard errors


def test_refusals_name_the_value():
  make = lambda **kw: autoregressive.make(DataSpec((2,), LEVELS), None, **kw)
  with pytest.raises(BadInput, match="'bernoulli' .*allowed: categorical, logistic, logistic_mix"):
    make(likelihood='bernoulli')
  with pytest.raises(BadInput, match="num_mixtures = 5 .*'logistic_mixture', not 'categorical'"):
    make(num_mixtures=5)
