"""The Gaussian path against Bayes' rule, its schedules at both ends, and the conversions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import path as paths
from genjax.types import BadInput


@pytest.mark.parametrize('name', list(paths.SCHEDULES))
@pytest.mark.parametrize('bounds', [(-10.0, 10.0), (-6.0, 13.3)])
def test_schedules_fall_between_their_bounds(name, bounds):
  path = paths.schedule(name, *bounds)
  t = jnp.linspace(0.0, 1.0, 1001)
  alpha, sigma = path(t)
  logsnr = paths.logsnr(alpha, sigma)
  assert alpha.dtype == sigma.dtype == jnp.float32
  np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=1e-6)
  np.testing.assert_allclose(logsnr[jnp.array([0, -1])], bounds[::-1], atol=2e-3)
  assert (jnp.diff(logsnr) < 0).all()


@pytest.mark.parametrize('name', list(paths.SCHEDULES))
def test_time_of_logsnr_inverts_and_has_finite_slopes(name):
  path = paths.schedule(name, -10.0, 10.0)
  value = jnp.linspace(-9.9, 9.9, 33)
  t = paths.time_of_logsnr(path, value)
  np.testing.assert_allclose(paths.logsnr(*path(t)), value, atol=2e-3)
  slope = jax.vmap(jax.grad(lambda t: paths.logsnr(*path(t))))(jnp.linspace(0.0, 1.0, 11))
  assert jnp.isfinite(slope).all() and (slope < 0).all()


def test_cosine_and_linear_beta_follow_their_formulas():
  alpha, sigma = paths.cosine(-20.0, 20.0)(jnp.array([0.3]))
  np.testing.assert_allclose([alpha[0], sigma[0]], [np.cos(0.15 * np.pi), np.sin(0.15 * np.pi)],
                             atol=1e-4)
  alpha, _ = paths.linear_beta(-9.9, 25.0)(jnp.array([0.5]))
  np.testing.assert_allclose(alpha[0], np.exp(-0.25 * 0.25 * 19.9 - 0.25 * 0.1), rtol=0.02)


@pytest.mark.parametrize('general', [False, True])
def test_posterior_is_bayes_rule(general):
  """q(x_s|x_t,x_0) from the joint Gaussian of (x_s, x_t) given x_0, also off VP paths."""
  scales = [(0.9, 0.5), (0.6, 1.7)] if general else [(0.8, 0.6), (0.28, 0.96)]
  (a_s, s_s), (a_t, s_t) = scales
  x_0, x_t = 0.7, -1.1
  ratio = a_t / a_s
  cov, var_s, var_t = ratio * s_s**2, s_s**2, s_t**2
  mean = a_s * x_0 + cov / var_t * (x_t - a_t * x_0)
  var = var_s - cov**2 / var_t
  got_mean, got_var = paths.posterior(
      jnp.full((1, 1), x_t), jnp.full((1, 1), x_0), *(jnp.full(1, v) for v in (a_s, s_s, a_t, s_t)))
  np.testing.assert_allclose([got_mean[0, 0], got_var[0]], [mean, var], rtol=1e-5)
  upper = paths.transition_variance(a_s, s_s, a_t, s_t)
  np.testing.assert_allclose(upper, s_t**2 - ratio**2 * s_s**2, rtol=1e-5)


def test_posterior_composes_to_the_marginal():
  """x_t ~ q(.|x_0), x_s ~ q(.|x_t,x_0) has the moments of q(x_s|x_0)."""
  path = paths.cosine()
  (a_s, s_s), (a_t, s_t) = path(jnp.array([0.31])), path(jnp.array([0.35]))
  on_t, on_0, var = paths.posterior_coefficients(a_s, s_s, a_t, s_t)
  np.testing.assert_allclose(on_t * a_t + on_0, a_s, rtol=1e-5)
  np.testing.assert_allclose((on_t * s_t) ** 2 + var, s_s**2, rtol=1e-5)


def test_conversions_agree_and_score_is_the_gradient():
  rng = jax.random.key(0)
  x_0, eps = jax.random.normal(rng, (2, 5, 3))
  alpha, sigma = paths.linear_beta()(jnp.linspace(0.1, 0.9, 5))
  x_t = paths.diffuse(x_0, eps, alpha, sigma)
  v = paths.to_v(x_0, x_t, alpha, sigma)
  for name, output in [('data', x_0), ('noise', eps), ('v', v)]:
    np.testing.assert_allclose(paths.to_data(name, output, x_t, alpha, sigma), x_0, atol=1e-4)
  np.testing.assert_allclose(paths.to_noise(x_0, x_t, alpha, sigma), eps, atol=1e-4)
  score = paths.to_score(x_0, x_t, alpha, sigma)
  np.testing.assert_allclose(score, -eps / sigma[:, None], atol=1e-3)


def test_refusals_name_the_value():
  with pytest.raises(BadInput, match='sine.*cosine'):
    paths.schedule('sine', -10.0, 10.0)
  with pytest.raises(BadInput, match='3.0'):
    paths.schedule('cosine', 3.0, 1.0)
  with pytest.raises(BadInput, match='score.*noise'):
    paths.to_data('score', jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.ones(1), jnp.ones(1))
