import jax
import jax.numpy as jnp
import numpy as np

from genjax.numerics.sinkhorn import sinkhorn_divergence

X = jax.random.normal(jax.random.key(0), (32, 2))
Y = 0.7 * jax.random.normal(jax.random.key(1), (32, 2)) + 1.0
TRACES = []


@jax.jit
def value_and_slope(x, y, epsilon):
  """One compilation for the whole file: epsilon is traced, the shapes are the same."""
  TRACES.append(1)
  return jax.value_and_grad(lambda x: sinkhorn_divergence(
      x, y, epsilon=epsilon, relative=False, threshold=1e-5, max_iterations=2000))(x)


def test_translate_costs_its_squared_length_at_any_epsilon():
  # the cross term of |x_i - x_j - d|^2 is a sum of a function of i and one of j
  d = jnp.array([1.5, -0.5])
  for epsilon in (0.2, 20.0):
    value, slope = value_and_slope(X, X + d, epsilon)
    np.testing.assert_allclose(value, (d**2).sum(), rtol=1e-3)
    np.testing.assert_allclose(slope, jnp.broadcast_to(-2 * d / 32, (32, 2)), atol=2e-3)


def test_vanishes_between_equal_clouds_and_tends_to_the_means_distance():
  assert abs(value_and_slope(X, X, 0.2)[0]) < 1e-4
  distance = ((X.mean(0) - Y.mean(0)) ** 2).sum()
  np.testing.assert_allclose(value_and_slope(X, Y, 1e3)[0], distance, rtol=1e-2)
  assert value_and_slope(X, Y, 0.2)[0] > 1.02 * distance


def test_tends_to_w2_squared_of_sorted_points_on_a_line():
  x, y = X.at[:, 1].set(0.0), Y.at[:, 1].set(0.0)
  exact = ((jnp.sort(x[:, 0]) - jnp.sort(y[:, 0])) ** 2).mean()
  np.testing.assert_allclose(value_and_slope(x, y, 0.005)[0], exact, rtol=0.02)


def test_gradient_is_that_of_differences():
  direction = jax.random.normal(jax.random.key(2), X.shape)
  h = 0.05
  ahead, behind = (value_and_slope(X + s * direction, Y, 0.5)[0] for s in (h, -h))
  analytic = (value_and_slope(X, Y, 0.5)[1] * direction).sum()
  np.testing.assert_allclose(analytic, (ahead - behind) / (2 * h), rtol=0.01, atol=1e-3)
  assert len(TRACES) == 1  # whatever the number of iterations that each call takes


def test_relative_epsilon_is_in_units_of_the_mean_cost_and_images_are_flattened():
  mean_cost = ((X[:, None] - Y[None]) ** 2).sum(-1).mean()
  relative = jax.jit(lambda x, y: sinkhorn_divergence(
      x, y, epsilon=0.2, threshold=1e-5, max_iterations=2000))(
          X.reshape(32, 2, 1), Y.reshape(32, 2, 1))
  np.testing.assert_allclose(relative, value_and_slope(X, Y, 0.2 * mean_cost)[0], rtol=1e-4)
