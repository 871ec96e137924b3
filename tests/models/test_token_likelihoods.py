"""Likelihoods of a token, and what temperature and top_p change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.models import autoregressive
from genjax.types import BadInput, DataSpec, Network
from tests.networks import jit

LEVELS = 7


def outputs(scale, num_mixtures=3, size=40):
  return np.float32(scale * np.random.default_rng(0).standard_normal((size, 3 * num_mixtures)))


@pytest.mark.parametrize('levels', [2, 7, 256])
@pytest.mark.parametrize('scale', [0.0, 1.0, 10.0, 1e4])
def test_a_logistic_mixture_has_mass_one_and_finite_gradients(levels, scale):
  like, out = autoregressive.logistic_mixture(levels, 3), outputs(scale)
  grid = jnp.arange(levels)

  def loss(out):  # the masses of all levels of each, and their gradients
    log_p = like.log_prob(out[:, None], grid)
    return log_p.sum(), log_p

  (_, log_p), gradient = jit(jax.value_and_grad(loss, has_aux=True))(out)
  assert np.isfinite(log_p).all() and np.isfinite(gradient).all()
  np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(-1), 1.0, atol=1e-5)


def test_a_logistic_mixture_is_the_difference_of_its_distribution_function():
  """PixelCNN++, Eqs. 1 and 2, in float64: the outer cells take the tails."""
  num_mixtures, out = 3, np.float64(outputs(0.7))
  logits, means, log_scales = np.split(out, 3, -1)
  means, scales = means + [-2 / 3, 0.0, 2 / 3], np.exp(log_scales) / num_mixtures
  weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  edges = 2.0 * (np.arange(LEVELS + 1) - 0.5) / (LEVELS - 1) - 1.0
  edges[0], edges[-1] = -np.inf, np.inf
  with np.errstate(over='ignore'):
    below = 1.0 / (1.0 + np.exp(-(edges[:, None, None] - means) / scales))
  expected = (weights * np.diff(below, axis=0)).sum(-1).T
  like = autoregressive.logistic_mixture(LEVELS, num_mixtures)
  np.testing.assert_allclose(np.exp(jit(like.logits)(np.float32(out))), expected, atol=1e-6)


@pytest.mark.parametrize('num_mixtures', [1, 10])
def test_outputs_of_zero_are_about_uniform_and_no_two_components_move_alike(num_mixtures):
  like, out = autoregressive.logistic_mixture(256, num_mixtures), np.zeros((1, 3 * num_mixtures))
  log_p = jit(like.logits)(out)[0]
  assert abs(-log_p.mean() / np.log(256) - 1.0) < 0.15
  means = jit(jax.grad(lambda out: like.log_prob(out, jnp.array([40])).sum()))(out)[0]
  means = means[num_mixtures:2 * num_mixtures]
  assert len(np.unique(means)) == num_mixtures


def test_samples_of_a_mixture_follow_its_masses():
  n = 20_000
  like = autoregressive.logistic_mixture(LEVELS, 3)
  out = np.float32([0.3, -0.5, 0.0, -0.2, 0.4, 0.9, -0.5, 0.3, -1.0])
  tokens = jit(lambda rng: like.sample(rng, jnp.broadcast_to(out, (n, 9))))(jax.random.key(0))
  p = np.exp(np.float64(jit(like.logits)(out)))
  count = np.bincount(np.asarray(tokens), minlength=LEVELS)
  assert ((count - n * p) ** 2 / (n * p)).sum() < 22.5  # 99.9 % of chi-square, 6 d.o.f.


@pytest.mark.parametrize(('share', 'kept'), [
    (1.0, [1, 1, 1, 1]), (0.81, [1, 1, 0, 1]), (0.79, [1, 0, 0, 1]), (0.4, [0, 0, 0, 1]),
    (1e-6, [0, 0, 0, 1])])
def test_the_nucleus_is_the_fewest_values_of_a_share(share, kept):
  logits = np.log(np.float32([0.3, 0.15, 0.05, 0.5])) + 2.0
  found = prob.nucleus(jnp.array(logits), share)
  np.testing.assert_array_equal(found, np.where(kept, logits, -np.inf))


def drawn(likelihood, **kw):
  """A model whose tokens are independent with fixed outputs, 4,000 samples, and its log_prob."""
  like = autoregressive._likelihood(LEVELS, likelihood, None)
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
@pytest.mark.parametrize('likelihood', autoregressive.LIKELIHOODS)
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
  with pytest.raises(BadInput, match="'logistic'; allowed: categorical, logistic_mixture"):
    make(likelihood='logistic')
  with pytest.raises(BadInput, match="num_mixtures = 5 .*'logistic_mixture', not 'categorical'"):
    make(num_mixtures=5)
