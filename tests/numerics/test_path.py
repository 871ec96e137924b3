"""The Gaussian path against Bayes' rule, its schedules at both ends, and the conversions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import path as paths
from genjax.numerics import schedules
from genjax.types import BadInput

BOUNDED = [name for name in schedules.SCHEDULES if name not in schedules.UNBOUNDED]
PRESERVING = ('cosine', 'linear_beta', 'linear_logsnr', 'zero_terminal_snr')


@pytest.mark.parametrize('name', BOUNDED)
@pytest.mark.parametrize('bounds', [(-10.0, 10.0), (-6.0, 13.3)])
def test_schedules_fall_between_their_bounds(name, bounds):
  path = schedules.schedule(name, *bounds)
  t = jnp.linspace(0.0, 1.0, 1001)
  alpha, sigma = path(t)
  logsnr = paths.logsnr(alpha, sigma)
  assert alpha.dtype == sigma.dtype == jnp.float32
  np.testing.assert_allclose(logsnr[jnp.array([0, -1])], bounds[::-1], atol=2e-3)
  assert (jnp.diff(logsnr) < 0).all()


@pytest.mark.parametrize('name', PRESERVING)
def test_variance_is_preserved(name):
  alpha, sigma = schedules.schedule(name, -6.0, 13.3)(jnp.linspace(0.0, 1.0, 1001))
  np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=1e-6)


@pytest.mark.parametrize('name', schedules.UNBOUNDED)
def test_ends_without_signal_or_noise_are_exact_and_have_slopes(name):
  path = schedules.schedule(name, -10.0, 10.0)
  t = jnp.linspace(0.0, 1.0, 1001)
  for of in (paths.at, jax.jit(paths.at, static_argnums=0)):
    point = of(path, t)
    assert point.alpha[-1] == 0.0 and point.d_alpha[-1] < 0.0
    assert all(jnp.isfinite(field).all() for field in point)
    assert (jnp.diff(paths.logsnr(point.alpha, point.sigma)) < 0).all()
  assert name != 'linear' or (point.sigma[0] == 0.0 and point.alpha[0] == 1.0)
  if name == 'zero_terminal_snr':
    np.testing.assert_allclose(paths.logsnr(*path(jnp.zeros(1))), 10.0, atol=2e-3)
    # 2305.08891, Alg. 1: shifted and scaled, nothing else
    before, _ = schedules.linear_beta(-10.0, 10.0)(t)
    first, last = float(before[0]), float(before[-1])
    np.testing.assert_allclose(point.alpha, (before - last) * first / (first - last), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('name', list(schedules.SCHEDULES))
def test_time_of_logsnr_inverts_and_has_finite_slopes(name):
  path = schedules.schedule(name, -10.0, 10.0)
  value = jnp.linspace(-9.9, 9.9, 33)
  t = paths.time_of_logsnr(path, value)
  np.testing.assert_allclose(paths.logsnr(*path(t)), value, atol=2e-3)
  slope = paths.d_logsnr(paths.at(path, t))
  assert jnp.isfinite(slope).all() and (slope < 0).all()
  inner = jnp.linspace(0.1, 0.9, 9)
  by_steps = (paths.logsnr(*path(inner + 0.01)) - paths.logsnr(*path(inner - 0.01))) / 0.02
  np.testing.assert_allclose(paths.d_logsnr(paths.at(path, inner)), by_steps, rtol=0.02)


def test_paths_follow_double_precision():
  with jax.enable_x64(True):
    for name in schedules.SCHEDULES:
      alpha, sigma = schedules.schedule(name, -10.0, 10.0)(jnp.linspace(0.01, 0.9, 5))
      assert alpha.dtype == sigma.dtype == jnp.float64
  alpha, _ = schedules.cosine()(jnp.ones(1, jnp.bfloat16))
  assert alpha.dtype == jnp.float32


def test_the_other_schedules_follow_their_formulas():
  t = jnp.array([0.0, 0.25, 0.5, 1.0])
  _, sigma = schedules.edm()(t)  # 2206.00364, Eq. 5 from the last of its steps to the first
  low, high = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
  np.testing.assert_allclose(sigma, (high + (1 - np.asarray(t)) * (low - high)) ** 7, rtol=1e-5)
  _, sigma = schedules.ve(-2 * np.log(50.0), -2 * np.log(0.01))(t)
  np.testing.assert_allclose(sigma, 0.01 * 5000.0 ** np.asarray(t), rtol=1e-5)
  alpha, sigma = schedules.sub_vp(-10.0, 10.0)(t)
  np.testing.assert_allclose(sigma, 1 - alpha**2, atol=2e-7)
  np.testing.assert_array_equal(schedules.linear()(t), (1 - t, t))


def test_cosine_and_linear_beta_follow_their_formulas():
  alpha, sigma = schedules.cosine(-20.0, 20.0)(jnp.array([0.3]))
  np.testing.assert_allclose([alpha[0], sigma[0]], [np.cos(0.15 * np.pi), np.sin(0.15 * np.pi)],
                             atol=1e-4)
  alpha, _ = schedules.linear_beta(-9.9, 25.0)(jnp.array([0.5]))
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
  path = schedules.cosine()
  (a_s, s_s), (a_t, s_t) = path(jnp.array([0.31])), path(jnp.array([0.35]))
  on_t, on_0, var = paths.posterior_coefficients(a_s, s_s, a_t, s_t)
  np.testing.assert_allclose(on_t * a_t + on_0, a_s, rtol=1e-5)
  np.testing.assert_allclose((on_t * s_t) ** 2 + var, s_s**2, rtol=1e-5)


def test_the_divergence_of_a_step_is_that_of_its_two_normals():
  """KL of N(m, beta_tilde) and N(m_hat, beta_tilde^(1 - v) beta^v), per dimension."""
  (a_s, s_s), (a_t, s_t) = (0.9, 0.5), (0.6, 1.7)
  _, on_x_0, tilde = paths.posterior_coefficients(a_s, s_s, a_t, s_t)
  beta = paths.transition_variance(a_s, s_s, a_t, s_t)
  x_error = np.array([[0.3, -0.8]])
  for v in (0.0, 0.4, 1.0):
    var = tilde ** (1 - v) * beta**v
    expected = 0.5 * ((on_x_0 * x_error) ** 2 / var + tilde / var - 1 - np.log(tilde / var))
    found = paths.step_divergence(
        jnp.asarray(a_t / s_t * x_error), jnp.full(1, 2 * np.log(a_s * s_t / (s_s * a_t))),
        jnp.full(1, 2 * np.log(s_s / s_t)), v)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_refusals_name_the_value():
  with pytest.raises(BadInput, match='sine.*cosine'):
    schedules.schedule('sine', -10.0, 10.0)
  with pytest.raises(BadInput, match='3.0'):
    schedules.schedule('cosine', 3.0, 1.0)
