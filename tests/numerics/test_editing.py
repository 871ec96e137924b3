"""Posterior samples given linear measurements, against the exact conditional of a mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.numerics import editing, measurements
from genjax.types import BadInput
from tests.numerics import known_denoisers as known

NOISE = 0.1


def smooth_fields(side=4, count=6):
  """Weights, means, covariances of a mixture of images side x side whose pixels go together."""
  rng = np.random.RandomState(0)
  place = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
  near = np.exp(-((place[:, None] - place[None]) ** 2).sum(-1) / 4.0) + 0.02 * np.eye(side**2)
  means = rng.multivariate_normal(np.zeros(side**2), 0.4 * near, count)
  covs = 0.06 * near * np.linspace(0.5, 1.5, count)[:, None, None]
  return np.full(count, 1.0 / count), means, covs


PLANE = known.WEIGHTS, known.MEANS, known.COVS
FIELDS = smooth_fields()
SQUARES = np.kron(np.eye(2), np.full((1, 2), 0.5))  # means of two neighbours of four
HALF = np.arange(16) < 8


def exact_posterior(mixture, matrix, y, noise):
  """Mean, covariance and log p(y) of the mixture given matrix x + noise z = y."""
  log_w, means, covs = [], [], []
  for w, m, c in zip(*mixture, strict=True):
    seen = matrix @ c @ matrix.T + noise**2 * np.eye(len(matrix))
    gain = c @ matrix.T @ np.linalg.inv(seen)
    log_w.append(np.log(w) + stats.multivariate_normal(matrix @ m, seen).logpdf(y))
    means.append(m + gain @ (y - matrix @ m))
    covs.append(c - gain @ matrix @ c)
  log_p_y = np.logaddexp.reduce(log_w)
  weights = np.exp(np.array(log_w) - log_p_y)
  return *known.mixture_moments(weights, np.array(means), np.array(covs)), log_p_y


def drawn(mixture, n, seed=0):
  """float32 [n, d] from a mixture (weights, means, covariances)."""
  rng = np.random.RandomState(seed)
  weights, means, covs = mixture
  counts = rng.multinomial(n, weights)
  parts = [rng.multivariate_normal(m, c, k) for m, c, k in zip(means, covs, counts, strict=True)]
  return np.concatenate(parts).astype(np.float32)


def posterior(mixture, shape, measurement, y, n, path=known.linear, seed=0, **kw):
  denoise, x = known.mixture(path, *mixture), drawn(mixture, 2000).reshape(-1, *shape)

  def draw(keys):
    spread = editing.spread(denoise, path, jax.random.key(seed), x)
    return editing.posterior_sample(denoise, path, keys, shape, measurement,
                                    jnp.asarray(y, jnp.float32), spread, **kw)

  return jax.jit(draw)(jax.random.split(jax.random.key(seed), n))


@pytest.mark.parametrize('path', [known.linear, known.vp, known.ve])
def test_the_spread_is_the_variance_of_x_0_given_x_t(path):
  """Of a Gaussian: the mean over the axes of s^2 r^2 / (s^2 + r^2), r = sigma / alpha."""
  rng = np.random.RandomState(0)
  x = rng.multivariate_normal(known.MEAN, known.COV, 4000).astype(np.float32)
  found = jax.jit(lambda x: editing.spread(known.gaussian(path), path, jax.random.key(0), x))(x)
  square = np.exp(2.0 * np.asarray(found.log_ratio))[:, None]
  values = np.linalg.eigvalsh(known.COV)
  np.testing.assert_allclose(found.variance, (values * square / (values + square)).mean(-1),
                             rtol=0.08)
  assert (np.diff(found.log_ratio) >= 0.0).all()


@pytest.mark.slow
def test_steps_of_the_prior_keep_the_variance_of_a_gaussian():
  """Few ancestral steps with the spread: exact; without what x_0 varies by, too narrow."""
  cov = 0.3 * np.eye(2)
  denoise, path = known.gaussian(known.linear, cov=cov), known.linear
  t = jnp.array([0.9, 0.6, 0.35, 0.15, 0.05, 0.01])
  x = np.random.RandomState(0).multivariate_normal(known.MEAN, cov, 4000).astype(np.float32)
  spread = editing.spread(denoise, path, jax.random.key(0), x)

  def last_variance(spread):
    x_t = path(t)[0][0] * x + path(t)[1][0] * jax.random.normal(jax.random.key(1), x.shape)
    for i, (time, a, b, std) in enumerate(zip(t, *editing.scales(path, t, spread), strict=True)):
      x_0 = denoise(x_t, jnp.full(len(x), time))
      x_t = a * x_t + b * x_0 + std * jax.random.normal(jax.random.key(2 + i), x.shape)
    return x_t.var(0).mean()

  np.testing.assert_allclose(last_variance(spread), 0.3, rtol=0.08)
  nothing = spread._replace(variance=jnp.zeros_like(spread.variance))
  assert last_variance(nothing) < 0.8 * 0.3


def errors(x, mean, cov):
  """Of the mean in deviations of the posterior, and of the covariance relative to its norm."""
  x = np.asarray(x, np.float64).reshape(len(x), -1)
  return (np.linalg.norm(x.mean(0) - mean) / np.sqrt(np.trace(cov)),
          np.linalg.norm(np.cov(x.T) - cov) / np.linalg.norm(cov))


@pytest.mark.slow
@pytest.mark.parametrize(('measurement', 'matrix', 'y'), [
    (measurements.inpainting([1.0, 0.0]), [[1.0, 0.0]], [0.3]),  # all three modes remain
    (measurements.linear([[0.6, 0.8]]), [[0.6, 0.8]], [0.1]),
    # two rows of rank 1: the second value says as much again, and its misfit is noise
    (measurements.linear([[0.6, 0.8], [0.3, 0.4]]), [[0.6, 0.8], [0.3, 0.4]],
     [0.1, 0.1])],
    ids=['inpainting', 'linear', 'rank 1 of 2'])
def test_mean_and_covariance_are_those_of_the_exact_conditional(measurement, matrix, y):
  """In the plane, every mode possible: 0.15 of a deviation, 0.3 of the covariance, 0.2 nats."""
  mean, cov, log_p_y = exact_posterior(PLANE, np.array(matrix), y, NOISE)
  seen = np.array(y) if measurement.mix is not None else np.array([*y, 0.0])
  found = posterior(PLANE, (2,), measurement, seen, 500, noise=NOISE)
  off_mean, off_cov = errors(found.x, mean, cov)
  assert off_mean < 0.15 and off_cov < 0.3, (off_mean, off_cov)
  assert abs(np.log(np.exp(found.log_evidence).mean()) - log_p_y) < 0.2
  assert found.evaluations == 220 and 8.0 < found.effective.mean() <= 16.0


def test_directions_that_the_matrix_does_not_reach_count_as_noise():
  """p(y) of two rows of rank 1 is p(u_y) of their one component times the density of the rest."""
  matrix, y = np.array([[0.6, 0.8], [0.3, 0.4]]), np.array([0.1, 0.3])
  measurement = measurements.linear(matrix)
  whole = exact_posterior(PLANE, matrix, y, NOISE)[2]
  one = exact_posterior(PLANE, np.asarray(measurement.mix.T @ matrix),
                        np.asarray(measurement.mix.T @ y), NOISE)[2]
  outside = measurements.log_prob_outside(measurement, y, NOISE)
  np.testing.assert_allclose(outside, whole - one, rtol=1e-3)
  assert abs(outside) > 0.1
  assert measurements.log_prob_outside(measurement, y, 0.0) == 0.0
  full = measurements.linear(np.eye(2))
  np.testing.assert_allclose(measurements.log_prob_outside(full, y, NOISE), 0.0, atol=1e-5)


MEASUREMENTS = {
    'inpainting': (measurements.inpainting(HALF.reshape(4, 4, 1)), np.eye(16)[HALF]),
    'averaging': (measurements.super_resolution(2), np.kron(SQUARES, SQUARES)),
    'linear': (measurements.linear(np.random.RandomState(1).randn(5, 16) / 4),
               np.random.RandomState(1).randn(5, 16) / 4)}


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'noise'), [
    ('inpainting', 0.0), ('averaging', 0.1), ('averaging', 0.0), ('linear', 0.1)])
def test_of_images_too_the_moments_are_those_of_the_exact_conditional(name, noise):
  """Sixteen pixels, six modes: 0.12 of a deviation, 0.3 of the covariance, of 400 draws."""
  measurement, matrix = MEASUREMENTS[name]
  rng = np.random.RandomState(5)
  x = rng.multivariate_normal(FIELDS[1][2], FIELDS[2][2])
  y = matrix @ x + noise * rng.randn(len(matrix))
  mean, cov, _ = exact_posterior(FIELDS, matrix, y, max(noise, 1e-3))
  seen = np.where(HALF, np.append(y, np.zeros(8)), 0.0).reshape(4, 4, 1) if (
      name == 'inpainting') else y.reshape(2, 2, 1) if name == 'averaging' else y
  found = posterior(FIELDS, (4, 4, 1), measurement, seen, 400, noise=noise, path=known.vp,
                    num_particles=32)
  off_mean, off_cov = errors(found.x, mean, cov)
  assert off_mean < 0.12 and off_cov < 0.3, (off_mean, off_cov)
  if not noise:
    assert measurements.residual(measurement, found.x, jnp.asarray(seen)).max() < 1e-5


@pytest.mark.slow
def test_one_particle_is_not_enough():
  """Without weights the modes have the shares of the prior's neighbourhood: what they are for."""
  mean, cov, _ = exact_posterior(PLANE, np.array([[1.0, 0.0]]), [0.3], NOISE)
  found = posterior(PLANE, (2,), measurements.inpainting([1.0, 0.0]), np.array([0.3, 0.0]), 500,
                    noise=NOISE, num_particles=1, num_steps=5)
  assert errors(found.x, mean, cov)[0] > 0.2


@pytest.mark.slow
def test_draw_i_depends_on_its_key_alone():
  y, spread = jnp.array([0.3, 0.0]), editing.Spread(jnp.array([-3.0, 3.0]), jnp.full(2, 0.3))
  kw = {'num_particles': 4, 'num_steps': 4, 'num_start': 4, 'num_inner': 2}
  keys = jax.random.split(jax.random.key(0), 5)
  draw = jax.jit(lambda keys: editing.posterior_sample(
      known.mixture(known.vp), known.vp, keys, (2,), measurements.inpainting([1.0, 0.0]), y, spread,
      **kw).x)
  np.testing.assert_allclose(draw(keys)[3:], draw(keys[jnp.array([3, 4, 0, 0, 0])])[:2], atol=1e-5)


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
def test_measurements_are_the_decompositions_that_they_state():
  """Linear, of orthonormal rows where something is measured, and mix diag(scale) rows is A."""
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
  deficient = np.random.RandomState(0).randn(5, 2) @ np.random.RandomState(1).randn(2, 48)
  mask = np.arange(4)[:, None, None] < 3
  for measurement, matrix in (
      (measurements.inpainting(mask), None), (measurements.super_resolution(2), None),
      (measurements.colourisation(), None), (measurements.linear(deficient), deficient)):
    rows = jax.jacfwd(lambda x, m=measurement: m.rows(x[None])[0].ravel())(x[0])
    rows = np.asarray(rows).reshape(len(rows), -1)
    scale = np.broadcast_to(measurement.scale, measurement.rows(x).shape[1:]).ravel()
    np.testing.assert_allclose(rows @ rows.T, np.diag(scale > 0), atol=1e-5)
    y = measurements.observe(measurement, x)
    if matrix is not None:
      np.testing.assert_allclose(y, np.asarray(x).reshape(2, -1) @ matrix.T, atol=1e-4)
    back = measurements.lift(measurement, measurements.components(measurement, y[0])[None], x[:1])
    np.testing.assert_allclose(measurements.residual(measurement, back, y[0]), 0.0, atol=1e-5)
  masked = measurements.inpainting(mask)
  y = measurements.observe(masked, x)
  np.testing.assert_array_equal(y, x * mask)
  np.testing.assert_allclose(measurements.residual(masked, x, y + 0.5), 0.5, rtol=1e-5)
  small = measurements.observe(measurements.super_resolution(2), x)
  np.testing.assert_allclose(small[0, 0, 1, 2], x[0, :2, 2:, 2].mean(), rtol=1e-5)
  grey = measurements.observe(measurements.colourisation(), x)
  np.testing.assert_allclose(grey[..., 0], x.mean(-1), atol=1e-6)


def test_a_measurement_is_met_within_bounds():
  """Where one projection onto A x = y leaves [-1, 1], and clipping leaves A x = y."""
  measurement = measurements.super_resolution(2)
  x = jnp.array([-0.9, 0.9, 0.9, 0.9]).reshape(1, 2, 2, 1)
  y = jnp.full((1, 1, 1), 0.7)
  found = jax.jit(lambda x: measurements.met(measurement, x, y, -1.0, 1.0))(x)
  assert np.abs(found).max() <= 1.0 and measurements.residual(measurement, found, y)[0] < 1e-5
  once = jnp.clip(x + 0.7 - x.mean(), -1.0, 1.0)
  assert measurements.residual(measurement, once, y)[0] > 0.1


@pytest.mark.parametrize(('make', 'word'), [
    (lambda: measurements.super_resolution(3).rows(jnp.zeros((1, 8, 8, 1))), '3'),
    (lambda: measurements.colourisation().rows(jnp.zeros((1, 8, 8, 1))), 'channels'),
    (lambda: measurements.linear(np.zeros((2, 4))), 'rank 0'),
    (lambda: posterior(PLANE, (2,), measurements.inpainting([1.0, 0.0]), np.zeros(2), 1,
                       num_particles=0), 'particles'),
    (lambda: posterior(PLANE, (2,), measurements.inpainting([1.0, 0.0]), np.zeros(2), 1,
                       noise=-1.0), 'noise')])
def test_refusals(make, word):
  with pytest.raises(BadInput, match=word):
    make()
