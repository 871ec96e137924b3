"""What solvers converge to and how fast: orders on a known flow, errors against DOP853."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from genjax.numerics import path as paths
from genjax.numerics import schedules
from genjax.numerics.samplers import DENOISING
from tests.numerics import known_denoisers as known

T_MIN = 1e-3
WIDE = 4.0  # times the Gaussian: of wide data a solver sees what x_1 has of them at t < 1


def sample(name, path, denoise, x_T, t_min=T_MIN, **kw):
  run = lambda x: DENOISING[name](denoise, path, jax.random.key(0), x, None, t_min=t_min, **kw)[0]
  return np.asarray(jax.jit(run)(x_T))


def by_dop853(path, denoise, x_T):
  """E[x_0 | x] at t_min of the mixture's probability-flow ODE from t = 1 (2011.13456, Eq. 13)."""
  @jax.jit
  def slope(t, x):
    x = x.reshape(x_T.shape)
    point = paths.at(path, t[None])
    x_0 = denoise(x, jnp.full(len(x), t))
    return (point.d_alpha * x_0 + point.d_sigma / point.sigma * (x - point.alpha * x_0)).ravel()

  found = solve_ivp(lambda t, x: np.asarray(slope(jnp.float64(t), x)), (1.0, T_MIN),
                    np.asarray(x_T).ravel(), method='DOP853', rtol=1e-7, atol=1e-8)
  return denoise(found.y[:, -1].reshape(x_T.shape), jnp.full(len(x_T), T_MIN))


def error(x, exact):
  return float(np.sqrt(np.mean((x - exact) ** 2)))


@pytest.fixture(scope='module')
def from_no_signal():
  """path, denoise, x_T, and where x_T of the mixture goes."""
  with jax.enable_x64(True):
    path = known.linear
    denoise, x_T = known.mixture(path), jax.random.normal(jax.random.key(0), (32, 2), np.float64)
    return path, denoise, x_T, by_dop853(path, denoise, x_T)


@pytest.mark.parametrize(('name', 'kw', 'least', 'most'), [
    # the trapezoid in alpha / sigma has 0.058, EDM's in sigma / alpha 0.052
    ('heun', {'num_steps': 8}, 0.015, 0.025),
    # of order 3 up to the last times 0.72
    ('unipc', {'num_steps': 20, 'order': 3}, 0.0, 0.15),
    ('unipc', {'num_steps': 20, 'order': 2}, 0.05, 0.07)])
def test_even_times_cross_the_noise_without_large_errors(from_no_signal, name, kw, least, most):
  path, denoise, x_T, exact = from_no_signal
  with jax.enable_x64(True):
    assert least < error(sample(name, path, denoise, x_T, spacing='time', **kw), exact) < most


def slope_of_error(name, path, scale, steps, **kw):
  """Slope of log2 error against log2 steps, in float64, on the Gaussian's probability flow."""
  with jax.enable_x64(True):
    mean, cov = scale * known.MEAN, scale**2 * known.COV
    x_T = path(jnp.ones(1))[1] * jax.random.normal(jax.random.key(0), (64, 2), np.float64)
    exact = known.ode_map(path, x_T, T_MIN, mean, cov)
    errors = []
    for num_steps in (steps, 2 * steps):
      x = sample(name, path, known.gaussian(path, mean, cov), x_T, num_steps=num_steps, **kw)
      assert x.dtype == np.float64
      errors.append(error(x, exact))
  return np.log2(errors[0] / errors[1])


def assert_is(order, slope):
  assert order - 0.2 < slope and (order > 2 or slope < order + 0.3), slope


def slow(*rows):
  return [pytest.param(*row, marks=pytest.mark.slow) for row in rows]


@pytest.mark.parametrize('path', ['linear', *slow(('vp',), ('ve',))])
@pytest.mark.parametrize(('name', 'order', 'kw'), [
    ('heun', 2, {}), ('dpmpp_2m', 2, {'spacing': 'logsnr'}),
    ('unipc', 3, {'order': 2, 'spacing': 'logsnr'}), *slow(
        ('ddim', 1, {'spacing': 'logsnr'}), ('euler', 1, {}),
        ('unipc', 3, {'order': 3, 'spacing': 'logsnr'}))])
def test_order_against_the_exact_ode(name, order, kw, path):
  assert_is(order, slope_of_error(name, known.PATHS[path], 1.0, 64, **kw))


@pytest.mark.parametrize(('name', 'order', 'spacing', 'kw'), [
    ('heun', 2, 'time', {}), *slow(
        ('heun', 2, 'logsnr', {}), ('dpmpp_2m', 2, 'time', {}), ('dpmpp_2m', 2, 'edm', {}),
        ('unipc', 3, 'edm', {'order': 3}))])
def test_orders_at_other_times(name, order, spacing, kw):
  assert_is(order, slope_of_error(name, schedules.cosine(), 1.0, 160, spacing=spacing, **kw))


@pytest.mark.parametrize(('name', 'spacing'), [
    ('dpmpp_2m', 'logsnr'), *slow(('dpmpp_2m', 'edm'), ('heun', 'edm'))])
def test_a_first_step_from_no_signal_leaves_no_error_that_stays(name, spacing):
  """It is as long whatever the number of steps: the step itself has to be of second order."""
  assert_is(2, slope_of_error(name, known.linear, WIDE, 300, spacing=spacing))


@pytest.mark.parametrize(('path', 'exact'), [(known.linear, 0.98), (schedules.cosine(), 0.9995)])
def test_a_first_step_from_little_signal_has_the_width_of_the_path(path, exact):
  """Euler-Maruyama from alpha(1) = 0 or nearly: the drift of that step is no small one."""
  # data at 0; asked at the second and last time, the denoiser repeats where the first step led
  repeats = lambda x_t, t, cond, rng: jnp.where(t[:, None] == 1.0, 0.0, x_t)
  x_T = path(jnp.ones(1))[1] * jax.random.normal(jax.random.key(1), (50000, 2))
  x_s = sample('euler_maruyama', path, repeats, x_T, num_steps=2, t_min=0.99)
  np.testing.assert_allclose(x_s.var(), exact, rtol=0.01)
