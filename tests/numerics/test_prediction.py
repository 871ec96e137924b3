"""What networks put out, read back as E[x_0 | x_t], on every path and at its ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import path as paths
from genjax.numerics import prediction as predictions
from genjax.numerics import schedules
from genjax.types import BadInput

T = jnp.linspace(0.05, 0.95, 7)


def targets(x_0, eps, p, sigma_data):
  """What each prediction stands for, by its definition in the papers."""
  a, s, d_a, d_s = (field[:, None] for field in p)
  x_t = a * x_0 + s * eps
  x, sigma = x_t / a, s / a  # EDM's own variables: x = x_0 + sigma eps
  c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
  c_out = sigma * sigma_data / jnp.sqrt(sigma**2 + sigma_data**2)
  return {'noise': eps, 'data': x_0, 'v': a * eps - s * x_0, 'score': -eps / s,
          'velocity': d_a * x_0 + d_s * eps, 'edm': (x_0 - c_skip * x) / c_out}


@pytest.mark.parametrize('name', list(schedules.SCHEDULES))
def test_every_prediction_gives_the_data_back(name):
  with jax.enable_x64(True):
    p = paths.at(schedules.schedule(name, -10.0, 10.0), jnp.asarray(np.asarray(T), jnp.float64))
    x_0, eps = jax.random.normal(jax.random.key(0), (2, 7, 3), jnp.float64)
    x_t = paths.diffuse(x_0, eps, p.alpha, p.sigma)
    of_all = targets(x_0, eps, p, 0.7)
    assert set(of_all) == set(predictions.PREDICTIONS)
    for prediction, output in of_all.items():
      found = predictions.to_data(prediction, output, x_t, p, 0.7)
      np.testing.assert_allclose(found, x_0, atol=1e-9)
      np.testing.assert_allclose(predictions.to_output(prediction, x_0, x_t, p, 0.7), output,
                                 rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(predictions.to_noise(x_0, x_t, p.alpha, p.sigma), eps, atol=1e-9)
    np.testing.assert_allclose(predictions.to_score(x_0, x_t, p.alpha, p.sigma),
                               -eps / p.sigma[:, None], rtol=1e-9)


@pytest.mark.parametrize('name', list(schedules.SCHEDULES))
@pytest.mark.parametrize('prediction', list(predictions.PREDICTIONS))
def test_conversions_are_finite_at_both_ends(name, prediction):
  """alpha(1) = 0 and sigma(0) = 0 too, and so are their gradients."""
  p = paths.at(schedules.schedule(name, -10.0, 10.0), jnp.array([0.0, 1.0]))

  def total(output, x_t):
    return predictions.to_data(prediction, output, x_t, p).sum()

  value, grads = jax.value_and_grad(total, (0, 1))(jnp.ones((2, 3)), jnp.full((2, 3), 0.5))
  assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads)


def test_v_is_edm_turned_round_for_unit_data_and_velocity_is_that_of_rectified_flow():
  x_t, output = jax.random.normal(jax.random.key(0), (2, 7, 3))
  p = paths.at(schedules.cosine(), T)
  np.testing.assert_allclose(predictions.to_data('edm', output, x_t, p, 1.0),
                             predictions.to_data('v', -output, x_t, p), atol=1e-5)
  p = paths.at(schedules.linear(), T)
  np.testing.assert_allclose(predictions.to_data('velocity', output, x_t, p),
                             x_t - T[:, None] * output, atol=1e-5)
  # dx_t/dt of a cosine path is -v times its rate of turning
  b = float(np.arctan(np.exp(-5.0)))
  p = paths.at(schedules.cosine(), T)
  turning = (0.5 * np.pi - 2 * b) * output
  np.testing.assert_allclose(predictions.to_data('velocity', turning, x_t, p),
                             predictions.to_data('v', output, x_t, p), atol=1e-4)


def test_input_scale_makes_unit_variance():
  p = paths.at(schedules.edm(), T)
  var = 0.5**2 * p.alpha**2 + p.sigma**2
  np.testing.assert_allclose(predictions.c_in(p, 0.5) ** 2 * var, 1.0, rtol=1e-5)


def test_refusals_name_the_value():
  p = paths.Point(jnp.ones(1), jnp.ones(1))
  with pytest.raises(BadInput, match='socre.*noise'):
    predictions.to_data('socre', jnp.ones((1, 1)), jnp.ones((1, 1)), p)
  with pytest.raises(BadInput, match='velocity'):
    predictions.to_data('velocity', jnp.ones((1, 1)), jnp.ones((1, 1)), p)
