import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics.shapes import sum_event
from genjax.objectives import reverse_kl
from genjax.prob import normal_log_prob
from genjax.types import BadInput


def log_density(x):
  return sum_event(normal_log_prob(x, -1.0, 0.8))


def value_and_grad(model, batch_size=4000, params=None, **kw):
  objective = reverse_kl.pathwise(model, log_density=log_density, **kw)
  batch = {'x': jnp.zeros((batch_size, 1))}
  start, carry = objective.init(jax.random.key(0), batch)
  loss = objective.players[0].loss
  return jax.jit(jax.value_and_grad(
      lambda p: loss(p, carry, batch, jax.random.key(1), 0), has_aux=True))(params or start)


@pytest.mark.parametrize('path_gradient', [False, True])
def test_value_and_gradient_are_those_between_gaussians(quantile_gaussian, path_gradient):
  (value, aux), grads = value_and_grad(quantile_gaussian, path_gradient=path_gradient)
  # KL(N(m, s^2) || N(-1, 0.64)) at m = 0.5, s = 1.2
  exact = np.log(0.8 / 1.2) + (1.2**2 + 1.5**2) / (2 * 0.64) - 0.5
  np.testing.assert_allclose(value, exact, rtol=2e-3)
  np.testing.assert_allclose(grads['model']['mean'], [1.5 / 0.64], rtol=2e-3)
  np.testing.assert_allclose(grads['model']['log_std'], [1.2**2 / 0.64 - 1], rtol=5e-3)
  np.testing.assert_allclose(aux.metrics['log_q'] - aux.metrics['log_p'], value, rtol=1e-5)


def test_path_gradient_has_no_variance_at_the_target(gaussian):
  target = {'model': {'mean': jnp.array([-1.0]), 'log_std': jnp.log(jnp.array([0.8]))}}
  _, grads = value_and_grad(gaussian(1), 8, target, path_gradient=True)
  np.testing.assert_allclose(jax.tree.leaves(grads), np.zeros((2, 1)), atol=1e-5)
  _, grads = value_and_grad(gaussian(1), 8, target)
  assert abs(grads['model']['log_std'][0]) > 0.05  # without it there is


def test_num_samples_is_of_the_model(gaussian):
  seen = []
  model = gaussian(1)
  counting = model._replace(sample_and_log_prob=lambda params, rng, n, cond: (
      seen.append(n), model.sample_and_log_prob(params, rng, n, cond))[1])
  value_and_grad(counting, 8)
  value_and_grad(counting, 8, num_samples=33)
  assert seen == [8, 33]


def test_bad_values_are_named(gaussian):
  with pytest.raises(BadInput, match='num_samples=0'):
    value_and_grad(gaussian(1), num_samples=0)
  with pytest.raises(BadInput, match='path_gradient=True'):
    value_and_grad(gaussian(1)._replace(log_prob=None), path_gradient=True)
