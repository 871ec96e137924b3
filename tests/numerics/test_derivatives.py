import jax
import jax.numpy as jnp
import numpy as np

from genjax.numerics import derivatives

A = np.float32([[1.0, 2.0, -1.0], [0.5, -3.0, 4.0], [2.0, 1.0, 0.25]])


def linear(x):
  return x @ A.T


def test_divergence_of_a_linear_field_is_the_trace():
  x = jax.random.normal(jax.random.key(0), (5, 3))
  y, trace = derivatives.divergence(linear, x)
  np.testing.assert_allclose(y, linear(x), rtol=1e-5)
  np.testing.assert_allclose(trace, np.full(5, np.trace(A)), rtol=1e-5)


def test_divergence_is_of_each_example_whatever_the_shape():
  x = jax.random.normal(jax.random.key(0), (4, 2, 3))
  # the Jacobian of sin(w x) has the trace sum w cos(w x)
  w = jnp.arange(1.0, 7.0).reshape(2, 3)
  _, trace = derivatives.divergence(lambda x: jnp.sin(w * x), x)
  np.testing.assert_allclose(trace, (w * jnp.cos(w * x)).sum((1, 2)), rtol=1e-5)


def test_hutchinson_has_the_mean_and_the_variance_of_its_noise():
  x = jnp.zeros((20000, 3))
  symmetric = 0.5 * (A + A.T)
  off_diagonal = symmetric - np.diag(np.diag(symmetric))
  for noise, variance in (('rademacher', 2 * (off_diagonal**2).sum()),
                          ('normal', 2 * (symmetric**2).sum())):
    _, estimate = derivatives.hutchinson(linear, jax.random.key(1), x, noise=noise)
    np.testing.assert_allclose(estimate.mean(), np.trace(A), atol=4 * np.sqrt(variance / 20000))
    np.testing.assert_allclose(estimate.var(), variance, rtol=0.1)
  _, averaged = derivatives.hutchinson(linear, jax.random.key(1), x, num_samples=4)
  np.testing.assert_allclose(averaged.var(), (off_diagonal**2).sum() / 2, rtol=0.05)


def test_hutchinson_is_exact_for_a_diagonal_jacobian():
  x = jax.random.normal(jax.random.key(0), (6, 3))
  _, estimate = derivatives.hutchinson(jnp.sin, jax.random.key(1), x)
  np.testing.assert_allclose(estimate, jnp.cos(x).sum(1), rtol=1e-5)


def test_jvp_and_vjp_are_products_with_the_jacobian():
  x, v = jax.random.normal(jax.random.key(0), (2, 4, 3))
  np.testing.assert_allclose(derivatives.jvp(linear, x, v)[1], v @ A.T, rtol=1e-5)
  np.testing.assert_allclose(derivatives.vjp(linear, x, v)[1], v @ A, rtol=1e-5)


def test_gradient_of_a_gaussian_log_density_is_its_score():
  x = jax.random.normal(jax.random.key(0), (5, 3))
  log_p = lambda x: -0.5 * ((x - 1.0) ** 2).sum(-1) / 4.0
  values, score = derivatives.value_and_gradient(log_p, x)
  np.testing.assert_allclose(values, log_p(x))
  np.testing.assert_allclose(score, -(x - 1.0) / 4.0, rtol=1e-5)
  np.testing.assert_allclose(derivatives.divergence(derivatives.gradient_of(log_p), x)[1],
                             np.full(5, -0.75), rtol=1e-5)


def test_norm_has_a_finite_gradient_at_zero():
  x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
  values, slope = derivatives.value_and_gradient(derivatives.norm, x)
  np.testing.assert_allclose(values, [0.0, 5.0])
  np.testing.assert_allclose(slope, [[0.0, 0.0], [0.6, 0.8]], rtol=1e-6)
  # and again for the gradient of a gradient penalty through a critic that is constant
  penalty = lambda w: ((derivatives.norm(derivatives.gradient(
      lambda x: (w * x).sum(-1), x)) - 1.0) ** 2).mean()
  assert np.isfinite(jax.grad(penalty)(0.0))


def test_sliced_score_matching_is_explicit_in_the_mean():
  x = jax.random.normal(jax.random.key(0), (50, 3))
  score = lambda x: jnp.sin(x @ A.T)
  s, explicit = derivatives.explicit_score_matching(score, x)
  np.testing.assert_allclose(s, score(x), rtol=1e-5)
  for reduced in (True, False):
    _, sliced = derivatives.sliced_score_matching(
        score, jax.random.key(2), x, num_projections=4000, variance_reduced=reduced)
    np.testing.assert_allclose(sliced, explicit, atol=0.5)
    np.testing.assert_allclose(sliced.mean(), explicit.mean(), atol=0.03)
