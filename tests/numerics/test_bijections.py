"""Inverses, log-determinants by autodiff, and gradients that stay finite at the knots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import bijections, splits

BOUND = 2.0
spline = jax.jit(bijections.rational_quadratic)
spline_inverse = jax.jit(bijections.rational_quadratic_inverse)


def spline_inputs(num_bins=5, size=6, spread=1.5):
  rng = np.random.default_rng(0)
  x = np.linspace(-3.0, 3.0, 40 * size).reshape(40, size).astype(np.float32)
  params = rng.normal(size=(40, bijections.num_spline_params(num_bins), size)) * spread
  return jnp.asarray(x), jnp.asarray(params, jnp.float32)


def affine_pair():
  x, params = spline_inputs()
  shift, log_scale = params[:, 0], params[:, 1]
  return (x, lambda x: bijections.affine(x, shift, log_scale),
          lambda y: bijections.affine_inverse(y, shift, log_scale))


def spline_pair():
  x, params = spline_inputs()
  return (x, lambda x: spline(x, params, BOUND), lambda y: spline_inverse(y, params, BOUND))


@pytest.mark.parametrize('pair', [affine_pair, spline_pair])
def test_inverse_and_log_derivative(pair):
  x, forward, inverse = pair()
  y, log_det = forward(x)
  back, log_det_back = inverse(y)
  np.testing.assert_allclose(back, x, atol=5e-4)
  np.testing.assert_allclose(log_det + log_det_back, 0.0, atol=5e-3)
  # elementwise: the sum's gradient is the diagonal of the Jacobian
  slope = jax.grad(lambda x: forward(x)[0].sum())(x)
  np.testing.assert_allclose(jnp.log(slope), log_det, atol=2e-3)
  slope = jax.grad(lambda y: inverse(y)[0].sum())(y)
  np.testing.assert_allclose(jnp.log(slope), log_det_back, atol=5e-3)


def test_zero_parameters_are_the_identity():
  x, params = spline_inputs()
  for f in (spline, spline_inverse):
    y, log_det = f(x, 0.0 * params, BOUND)
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-5)


def test_tails_are_linear_and_the_box_is_kept():
  x, params = spline_inputs()
  y, log_det = spline(x, params, BOUND)
  outside = np.abs(np.asarray(x)) > BOUND
  assert outside.any() and not outside.all()
  np.testing.assert_array_equal(np.asarray(y)[outside], np.asarray(x)[outside])
  assert not np.any(np.asarray(log_det)[outside])
  assert np.all(np.abs(np.asarray(y)[~outside]) <= BOUND * (1.0 + 1e-6))


def test_known_values_at_knots():
  # two bins: widths 1 and 3, heights 3 and 1 of [-2, 2]: the inner knot is (-1, 1), slope 2
  free = 1.0 - 2 * bijections.MIN_BIN
  share = lambda s: np.log((s - bijections.MIN_BIN) / free)
  slope = np.log(np.expm1(2.0 - bijections.MIN_SLOPE)) - bijections.SLOPE_OFFSET
  params = jnp.asarray([share(0.25), share(0.75), share(0.75), share(0.25), slope], jnp.float32)
  x = jnp.asarray([[-2.0], [-1.0], [2.0]])
  y, log_det = spline(x, jnp.tile(params[:, None], (3, 1, 1)), BOUND)
  np.testing.assert_allclose(y[:, 0], [-2.0, 1.0, 2.0], atol=1e-5)
  np.testing.assert_allclose(jnp.exp(log_det[:, 0]), [1.0, 2.0, 1.0], rtol=1e-4)


@pytest.mark.parametrize('f', [spline, spline_inverse])
def test_gradients_are_finite_at_the_edges(f):
  rng = np.random.default_rng(1)
  x = np.asarray([[-BOUND], [BOUND], [0.0], [2.0000002], [1e6], [-1e6]], np.float32)

  @jax.jit
  def run(x, params):
    def loss(x, params):
      y, log_det = f(x, params, BOUND)
      return y.sum() + log_det.sum(), (y, log_det)
    return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, params)

  for spread in (0.0, 1.0, 30.0):  # 30: bins and slopes at their least
    params = jnp.asarray(spread * rng.normal(size=(6, 11, 1)), jnp.float32)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run(x, params)))


def test_each_pair_of_couplings_has_a_random_order_of_its_own():
  orders, shapes = splits.permutation(7, 6)
  assert orders.shape == (3, 7) and shapes == ((4,), (3,))
  assert (np.sort(orders, -1) == np.arange(7)).all()
  assert (orders[0] != orders[1]).any() and (orders[1] != orders[2]).any()
