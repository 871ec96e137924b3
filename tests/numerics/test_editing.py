"""Posterior samples given linear measurements, against the exact conditional of a mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.numerics import editing
from genjax.types import BadInput
from tests.numerics import known_denoisers as known

NOISE = 0.1


def exact_posterior(matrix, y):
  """Mean, covariance and log p(y) of the mixture given matrix x + NOISE z = y."""
  matrix, log_w, means, covs = np.atleast_2d(matrix), [], [], []
  for w, m, c in zip(known.WEIGHTS, known.MEANS, known.COVS, strict=True):
    seen = matrix @ c @ matrix.T + NOISE**2 * np.eye(len(matrix))
    gain = c @ matrix.T @ np.linalg.inv(seen)
    log_w.append(np.log(w) + stats.multivariate_normal(matrix @ m, seen).logpdf(y))
    means.append(m + gain @ (y - matrix @ m))
    covs.append(c - gain @ matrix @ c)
  log_p_y = np.logaddexp.reduce(log_w)
  weights = np.exp(np.array(log_w) - log_p_y)
  return *known.mixture_moments(weights, np.array(means), np.array(covs)), log_p_y


def posterior(measurement, y, n=1500, **kw):
  path = known.linear
  draw = jax.jit(lambda key: editing.posterior_sample(
      known.mixture(path), path, key, (2,), measurement, jnp.asarray(y, jnp.float32), n=n,
      noise=NOISE, **kw))
  return draw(jax.random.key(0))


@pytest.mark.parametrize(('measurement', 'matrix', 'y'), [
    (editing.inpainting([1.0, 0.0]), [[1.0, 0.0]], [0.3]),  # all three modes remain
    pytest.param(editing.linear([[0.6, 0.8]]), [[0.6, 0.8]], [0.1], marks=pytest.mark.slow)],
                         ids=['inpainting', 'linear'])
def test_mean_and_covariance_are_those_of_the_exact_conditional(measurement, matrix, y):
  """Tolerance 0.06 of a posterior of standard deviation 0.7: four standard errors at n = 1500."""
  mean, cov, log_p_y = exact_posterior(matrix, y)
  seen = np.array([*y, 0.0]) if len(np.ravel(measurement.gain)) == 2 else np.array(y)
  found = posterior(measurement, seen, num_particles=16)
  np.testing.assert_allclose(found.x.mean(0), mean, atol=0.06)
  np.testing.assert_allclose(np.cov(found.x.T), cov, atol=0.06)
  assert abs(np.log(np.exp(found.log_evidence).mean()) - log_p_y) < 0.1
  assert int(found.evaluations) == 100 and found.effective.mean() > 4.0


@pytest.mark.slow
def test_one_particle_is_not_enough():
  """Without weights the pull alone has another law: what the particles are for."""
  mean, _, _ = exact_posterior([[1.0, 0.0]], [0.3])
  found = posterior(editing.inpainting([1.0, 0.0]), np.array([0.3, 0.0]), num_particles=1)
  assert np.abs(found.x.mean(0) - mean).max() > 0.1


def test_systematic_resampling_keeps_shares_within_one():
  log_weight = jnp.log(jnp.array([0.05, 0.5, 0.0, 0.45]))
  draw = jax.jit(editing.systematic)
  for seed in range(5):
    index = draw(jax.random.key(seed), jnp.tile(log_weight, 5) - 3.0)
    count = np.bincount(np.asarray(index) % 4, minlength=4)
    assert count[2] == 0 and (np.abs(count - 20 * np.exp(log_weight)) <= 5).all()
  even = editing.systematic(jax.random.key(0), jnp.zeros(7))
  np.testing.assert_array_equal(even, np.arange(7))


@pytest.mark.slow
def test_measurements_are_linear_with_the_gains_they_state():
  x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
  for measurement in (editing.inpainting(np.arange(8)[:, None, None] < 3),
                      editing.super_resolution(4), editing.colourisation(),
                      editing.linear(np.ones((5, 192)))):
    y = measurement.apply(x)
    np.testing.assert_allclose(measurement.apply(3.0 * x[:1] - x[1:]), 3.0 * y[:1] - y[1:],
                               atol=1e-3)
    rows = jax.jit(jax.jacfwd(lambda x, m=measurement: m.apply(x)[0].ravel()))(x)[:, 0]
    gain = (rows.reshape(len(rows), -1) ** 2).sum(-1)
    np.testing.assert_allclose(np.broadcast_to(measurement.gain, y.shape[1:]).ravel(), gain,
                               rtol=1e-5)
  mask = editing.inpainting(np.arange(8)[:, None, None] < 3)
  np.testing.assert_allclose(editing.residual(mask, x, mask.apply(x) + 0.5), 0.5, rtol=1e-5)
  small = editing.super_resolution(4).apply(x)
  np.testing.assert_allclose(small[0, 0, 1, 2], x[0, :4, 4:, 2].mean(), rtol=1e-5)


@pytest.mark.parametrize(('make', 'word'), [
    (lambda: editing.super_resolution(3).apply(jnp.zeros((1, 8, 8, 1))), '3'),
    (lambda: editing.colourisation().apply(jnp.zeros((1, 8, 8, 1))), 'channels'),
    (lambda: posterior(editing.inpainting([1.0, 0.0]), np.zeros(2), num_particles=0), 'particles')])
def test_refusals(make, word):
  with pytest.raises(BadInput, match=word):
    make()
