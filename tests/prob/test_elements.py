"""Likelihoods of an element: masses that sum to one, draws that follow them, known formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import prob
from genjax.prob import elements
from genjax.types import BadInput
from tests.networks import jit

LEVELS = 7
NAMES = tuple(elements.OF_LEVELS)


def of_levels(name, levels=LEVELS):
  return elements.likelihood(name, 2 if name == 'bernoulli' else levels,
                             3 if name == 'logistic_mixture' else None)


def outputs(like, scale, size=20):
  return np.float32(scale * np.random.default_rng(0).standard_normal((size, like.num_params)))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('levels', [
    LEVELS, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 256))])
def test_masses_sum_to_one_with_finite_gradients(name, levels):
  like = of_levels(name, levels)
  grid = prob.grid(2 if name == 'bernoulli' else levels)

  def loss(out):  # the masses of all levels of each, and their gradients
    log_p = like.log_prob(out[:, None], grid)
    return log_p.sum(), log_p

  run = jit(jax.value_and_grad(loss, has_aux=True))
  for scale in (0.0, 1.0, 10.0, 1e4):
    (_, log_p), gradient = run(outputs(like, scale))
    assert np.isfinite(log_p).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(-1), 1.0, atol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_draws_follow_their_masses_and_the_mean_is_theirs(name):
  like, n = of_levels(name), 10_000
  out = outputs(like, 0.7, 1)[0]
  many = jnp.broadcast_to(out, (n, len(out)))
  x, mean, logits = jit(lambda rng: (like.sample(rng, many), like.rsample(rng, many[:1]),
                                     like.logits(many[0])))(jax.random.key(1))
  levels = len(logits)
  k = np.asarray(prob.to_levels(x, levels))
  np.testing.assert_allclose(x, prob.from_levels(k, levels), atol=1e-6)
  p = np.float64(jax.nn.softmax(logits))
  count = np.bincount(k, minlength=levels)
  above = stats.chi2.ppf(0.9999, levels - 1)
  assert ((count - n * p) ** 2 / (n * p)).sum() < above
  np.testing.assert_allclose(mean, p @ np.asarray(prob.grid(levels)), atol=1e-5)


@pytest.mark.parametrize('levels', [LEVELS, 256])
def test_a_beta_binomial_is_that_of_scipy(levels):
  log_prob = jit(lambda a, b: prob.beta_binomial_log_prob(jnp.arange(levels), a, b, levels - 1))
  for alpha, beta in ((1.0, 1.0), (0.01, 0.3), (0.5, 40.0), (1e4, 1e4), (1e6, 20.0)):
    expected = stats.betabinom.logpmf(np.arange(levels), levels - 1, alpha, beta)
    found = np.asarray(log_prob(np.float32(alpha), np.float32(beta)))
    likely = expected > -30
    np.testing.assert_allclose(found[likely], expected[likely], atol=2e-4)


def test_a_logistic_mixture_is_the_difference_of_its_distribution_function():
  """PixelCNN++, Eqs. 1 and 2, in float64: the outer cells take the tails."""
  like = of_levels('logistic_mixture')
  out = np.float64(outputs(like, 0.7))
  logits, means, log_scales = np.split(out, 3, -1)
  means, scales = means + [-2 / 3, 0.0, 2 / 3], np.exp(log_scales) / 3
  weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  edges = 2.0 * (np.arange(LEVELS + 1) - 0.5) / (LEVELS - 1) - 1.0
  edges[0], edges[-1] = -np.inf, np.inf
  with np.errstate(over='ignore'):
    below = 1.0 / (1.0 + np.exp(-(edges[:, None, None] - means) / scales))
  expected = (weights * np.diff(below, axis=0)).sum(-1).T
  np.testing.assert_allclose(np.exp(jit(like.logits)(np.float32(out))), expected, atol=1e-6)


@pytest.mark.parametrize('num_mixtures', [1, pytest.param(10, marks=pytest.mark.slow)])
def test_outputs_of_zero_are_about_uniform_and_no_two_components_move_alike(num_mixtures):
  like, out = elements.logistic_mixture(256, num_mixtures), np.zeros((1, 3 * num_mixtures))
  log_p = jit(like.logits)(out)[0]
  assert abs(-log_p.mean() / np.log(256) - 1.0) < 0.15
  x = prob.from_levels(40, 256)
  means = jit(jax.grad(lambda out: like.log_prob(out, x).sum()))(out)[0]
  assert len(np.unique(means[num_mixtures:2 * num_mixtures])) == num_mixtures


@pytest.mark.parametrize('levels', [
    17, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 256))])
def test_the_differentiable_mean_is_that_of_the_levels_up_to_the_edge(levels):
  like = elements.logistic(levels)
  # location, log scale + 2: sharp and blunt, inside, at the edge and outside
  out = jnp.asarray([[m, s] for m in (-1.4, -0.99, 0.013, 0.5, 0.97, 1.2)
                     for s in (-4.0, -1.0, 1.0)])
  mean = jit(like.mean)(out)
  np.testing.assert_allclose(mean, jnp.exp(jit(like.logits)(out)) @ prob.grid(levels), atol=1e-4)
  if levels == 2:  # between two levels a sharp draw is one of them
    np.testing.assert_allclose(mean[9], 1.0, atol=1e-6)
  slope = jit(jax.grad(lambda out: like.rsample(None, out).sum()))(out)
  assert np.all(np.isfinite(slope)) and np.all(slope[:, 0] >= 0)


def test_gaussians_are_normal_and_their_scale_is_an_output_or_not():
  out = jnp.float32([[0.3, -0.5], [1.0, 0.7]])
  x = jnp.float32([0.1, -2.0])
  for name, own in (('gaussian', 1), ('gaussian_output_scale', 0)):
    like = elements.likelihood(name, None)
    assert (like.num_params, like.num_own, like.logits) == (2, own, None)
    np.testing.assert_allclose(like.log_prob(out, x), stats.norm.logpdf(
        x, out[:, 0], np.exp(out[:, 1])), rtol=1e-5)
    draws = like.sample(jax.random.key(0), jnp.broadcast_to(out[1], (4000, 2)))
    np.testing.assert_allclose([draws.mean(), draws.std()], [1.0, np.exp(0.7)], atol=0.13)


def test_defaults_and_what_does_not_suit_the_levels():
  assert elements.likelihood(None, 2).num_params == 1
  with pytest.raises(BadInput, match="'bernoulli' on data with levels = 7; allowed: categorical"):
    elements.likelihood('bernoulli', 7)
  with pytest.raises(BadInput, match="'logistic' .*None; allowed: gaussian, gaussian_output_scale"):
    elements.likelihood('logistic', None)
  with pytest.raises(BadInput, match="num_mixtures = 5 .*'logistic_mixture', not 'logistic'"):
    elements.likelihood('logistic', 7, 5)
