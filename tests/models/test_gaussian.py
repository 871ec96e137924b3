"""The Gaussian family against numpy, scipy and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import prob
from genjax.models import gaussian
from genjax.types import BadInput, DataSpec

PLANE = DataSpec((2,), None, None)
IMAGE = DataSpec((2, 2, 1), 5, 3)
RNG = jax.random.key(0)
COV = np.array([[2.0, 0.9], [0.9, 0.7]])
MEAN = np.array([0.5, -1.0])


def params_of(mean, cov):
  factor = np.linalg.cholesky(cov)
  return {'mean': jnp.asarray(mean, jnp.float32),
          'log_diag': jnp.asarray(np.log(np.diag(factor)), jnp.float32),
          'lower': jnp.asarray(factor, jnp.float32)}


def plane_grid(width=12.0, num=300):
  axis = (np.arange(num) + 0.5) / num * 2 * width - width
  x = np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2)
  return jnp.asarray(x, jnp.float32), (2 * width / num) ** 2


def covariance_of(params):
  factor = np.asarray(gaussian.factor(params), np.float64)
  return factor @ factor.T


def test_log_prob_is_scipy():
  x = np.random.default_rng(0).normal(size=(50, 2)) * 3
  got = gaussian.make(PLANE).log_prob(params_of(MEAN, COV), {'x': jnp.asarray(x)}, None)
  np.testing.assert_allclose(got, stats.multivariate_normal(MEAN, COV).logpdf(x), rtol=2e-5)


@pytest.mark.parametrize('covariance', gaussian.COVARIANCES)
def test_density_integrates_to_one(covariance):
  model = gaussian.make(PLANE, covariance=covariance, init_scale=1.3, init_spread=0.5)
  params = jax.jit(model.init)(RNG, {'x': jnp.zeros((1, 2))})
  params = jax.tree.map(lambda p: p + 0.2, params)
  x, cell = plane_grid()
  assert float(jnp.exp(model.log_prob(params, {'x': x}, None)).sum() * cell) == pytest.approx(
      1.0, abs=1e-3)


@pytest.mark.parametrize('covariance', gaussian.COVARIANCES)
def test_fit_is_the_moments(covariance):
  x = np.random.default_rng(1).multivariate_normal(MEAN, COV, 500).astype(np.float32)
  model = gaussian.make(PLANE, covariance=covariance)
  params = model.fit(RNG, x)
  np.testing.assert_allclose(params['mean'], x.mean(0), rtol=1e-5)
  cov = np.cov(x.T.astype(np.float64), bias=True)
  if covariance == 'full':
    np.testing.assert_allclose(covariance_of(params), cov, rtol=1e-5)
  else:
    wanted = np.diag(cov) if covariance == 'diagonal' else np.trace(cov) / 2
    np.testing.assert_allclose(np.exp(2 * params['log_diag']), wanted, rtol=1e-5)
  # the maximum: the gradient of the mean log-likelihood vanishes
  slope = jax.grad(lambda p: model.log_prob(p, {'x': x}, None).mean())(params)
  assert max(float(jnp.abs(s).max()) for s in jax.tree.leaves(slope)) < 1e-4


def test_fit_of_levels_is_that_of_the_dequantised_data():
  x = np.array(prob.from_levels(np.random.default_rng(2).integers(0, 5, (400, 2, 2, 1)), 5))
  x[:, 0, 0] = -1.0  # a constant pixel
  model = gaussian.make(IMAGE)
  cov = covariance_of(model.fit(RNG, x))
  cell = (2 / 4) ** 2 / 12
  wanted = np.cov(x.reshape(400, 4).T.astype(np.float64), bias=True) + cell * np.eye(4)
  np.testing.assert_allclose(cov, wanted, rtol=1e-4, atol=1e-6)
  assert model.log_prob is None and model.elbo is not None
  samples, nfe = model.sample(model.fit(RNG, x), RNG, 7, None)
  assert samples.shape == (7, 2, 2, 1) and nfe == 0


@pytest.mark.parametrize('covariance', gaussian.COVARIANCES)
def test_fit_of_singular_data_is_finite(covariance):
  x = np.repeat(np.random.default_rng(3).normal(size=(50, 1)), 2, axis=1).astype(np.float32)
  x = np.concatenate([x, np.ones((50, 1), np.float32)], 1)
  model = gaussian.make(DataSpec((3,), None, None), covariance=covariance)
  assert np.isfinite(model.log_prob(model.fit(RNG, x), {'x': x}, None)).all()


@pytest.mark.parametrize('covariance', gaussian.COVARIANCES)
def test_rsample_gradient_of_a_quadratic(covariance):
  """E |x|^2 = |mean|^2 + tr S, whose gradient in the parameters is known."""
  model = gaussian.make(PLANE, covariance=covariance)
  params = jax.tree.map(lambda p: p + 0.3, jax.jit(model.init)(RNG, {'x': jnp.zeros((1, 2))}))
  got = jax.grad(lambda p: (model.rsample(p, RNG, 200_000, None) ** 2).sum(-1).mean())(params)

  def exact(p):
    if covariance == 'full':
      return (p['mean'] ** 2).sum() + (gaussian.factor(p) ** 2).sum()
    return (p['mean'] ** 2).sum() + (jnp.exp(2 * p['log_diag']) * jnp.ones(2)).sum()

  for key, wanted in jax.grad(exact)(params).items():
    np.testing.assert_allclose(got[key], wanted, atol=0.03, err_msg=key)


def test_sample_and_log_prob_agree_with_log_prob_and_energy():
  model, params = gaussian.make(PLANE), params_of(MEAN, COV)
  x, log_p = model.sample_and_log_prob(params, RNG, 100, None)
  np.testing.assert_allclose(log_p, model.log_prob(params, {'x': x}, None), atol=1e-4)
  np.testing.assert_allclose(log_p, -model.energy(params, x, None), atol=1e-4)
  # KL(q, q) has gradient 0 along the path: E d/dtheta log q(x(theta); theta) = d/dtheta E log q
  entropy = jax.grad(lambda p: model.sample_and_log_prob(p, RNG, 10, None)[1].mean())(params)
  np.testing.assert_allclose(entropy['log_diag'], -1.0, atol=1e-5)
  np.testing.assert_allclose(entropy['lower'], 0.0, atol=1e-5)


def test_unknown_covariance_is_refused():
  with pytest.raises(BadInput, match="'fulll'.*full, diagonal, isotropic"):
    gaussian.make(PLANE, covariance='fulll')
