"""Guidance: its weights, its interval, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import guidance
from genjax.numerics.samplers import SAMPLERS
from genjax.types import BadInput
from tests.numerics import known_denoisers as known

PATH = known.linear
MEANS = jnp.array([[1.0, 0.0], [-1.0, 0.5], [0.2, 0.1]])  # of two classes, and of no label


def denoise(x_t, t, cond, rng):
  """A Gaussian of covariance 0.25 I around the mean of the label."""
  alpha, sigma = (a[:, None] for a in PATH(t))
  mean = MEANS[cond]
  return mean + 0.25 * alpha / (0.25 * alpha**2 + sigma**2) * (x_t - alpha * mean)


X = jax.random.normal(jax.random.key(0), (4, 2))
COND = jnp.array([0, 1, 1, 0])
null = lambda n: jnp.full(n, 2)
NONE = null(4)


def parts(t):
  return denoise(X, t, COND, None), denoise(X, t, NONE, None)


@pytest.mark.parametrize(('weight', 'cost'), [(0.0, 1), (1.0, 1), (2.5, 2)])
def test_weights_zero_and_one_are_the_models_themselves(weight, cost):
  t = jnp.full(4, 0.6)
  guided = guidance.classifier_free(denoise, PATH, null, weight)
  labelled, none = parts(t)
  np.testing.assert_allclose(guided.denoise(X, t, COND, None), none + weight * (labelled - none),
                             atol=1e-6)
  assert int(guided.cost(jnp.float32(0.6))) == cost


def test_it_is_the_same_guidance_of_the_noise():
  t = jnp.full(4, 0.3)
  alpha, sigma = PATH(t[0])
  eps = [(X - alpha * x_0) / sigma for x_0 in parts(t)]
  x_0 = guidance.classifier_free(denoise, PATH, null, 3.0).denoise(X, t, COND, None)
  np.testing.assert_allclose((X - alpha * x_0) / sigma, eps[1] + 3.0 * (eps[0] - eps[1]),
                             atol=1e-5)


def test_inside_the_interval_alone_also_within_one_batch():
  guided = guidance.classifier_free(denoise, PATH, null, 3.0, (0.5, 2.0))
  t = jnp.array([0.2, 0.4, 0.6, 1.0])  # ratios 0.25, 0.67, 1.5, infinite
  labelled, none = parts(t)
  inside = np.array([False, True, True, False])[:, None]
  expected = np.where(inside, none + 3.0 * (labelled - none), labelled)
  np.testing.assert_allclose(guided.denoise(X, t, COND, None), expected, atol=1e-5)
  for i in range(4):  # all examples at one time, as the samplers ask
    one = jnp.full(4, t[i])
    labelled, none = parts(one)
    expected = none + 3.0 * (labelled - none) if inside[i] else labelled
    np.testing.assert_allclose(guided.denoise(X, one, COND, None), expected, atol=1e-5)
  np.testing.assert_array_equal(guided.cost(t), [1, 2, 2, 1])


@pytest.mark.parametrize('name', ['heun'])
def test_the_count_is_of_the_networks_rows(name):
  rows = []

  def counted(x_t, t, cond, rng):
    jax.debug.callback(lambda x: rows.append(len(x)), x_t)
    return denoise(x_t, t, cond, rng)

  guided = guidance.classifier_free(counted, PATH, null, 2.0, (0.2, 5.0))
  _, nfe = jax.jit(lambda x: SAMPLERS[name](guided.denoise, PATH, jax.random.key(0), x, COND,
                                            cost=guided.cost, num_steps=9))(X)
  jax.effects_barrier()
  assert int(nfe) == sum(rows) / len(X)
  assert 9 < int(nfe) < 34


@pytest.mark.slow
def test_guided_samples_of_gaussians_are_where_the_closed_form_says():
  """Equal covariances: the guided denoiser is that of the mean none + w (labelled - none)."""
  guided = guidance.classifier_free(denoise, PATH, null, 2.0)
  x_T = jax.random.normal(jax.random.key(1), (4096, 2))
  x_0, nfe = jax.jit(lambda x: SAMPLERS['heun'](guided.denoise, PATH, jax.random.key(0), x,
                                                jnp.zeros(4096, int), cost=guided.cost,
                                                num_steps=20))(x_T)
  assert int(nfe) == 78
  np.testing.assert_allclose(x_0.mean(0), 2.0 * MEANS[0] - MEANS[2], atol=0.04)
  np.testing.assert_allclose(jnp.cov(x_0.T), 0.25 * np.eye(2), atol=0.03)


def test_autoguidance_goes_away_from_the_worse_model():
  t = jnp.full(4, 0.5)
  worse = lambda x_t, t, cond, rng: 0.5 * denoise(x_t, t, cond, rng)
  guided = guidance.autoguidance(denoise, worse, PATH, 1.5)
  np.testing.assert_allclose(guided.denoise(X, t, COND, None), 1.25 * parts(t)[0], atol=1e-6)
  assert int(guided.cost(jnp.float32(0.5))) == 2
  zero = guidance.autoguidance(denoise, worse, PATH, 0.0)
  np.testing.assert_allclose(zero.denoise(X, t, COND, None), 0.5 * parts(t)[0], atol=1e-6)


@pytest.mark.parametrize(('weight', 'interval', 'word'), [
    (-1.0, (0.0, 1.0), '-1.0'), (2.0, (1.0, 0.5), '0.5'), (2.0, (1.0,), 'two noise ratios')])
def test_refusals(weight, interval, word):
  with pytest.raises(BadInput, match=word):
    guidance.classifier_free(denoise, PATH, null, weight, interval)
