"""Flows: log-determinants by autodiff, densities that integrate to 1, dequantised data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.models import frames
from genjax.models.couplings import couplings
from genjax.numerics import bijections, splits
from genjax.types import BadInput, DataSpec
from tests.networks import family, initial, moved

PLANE = DataSpec((2,), None, None)
PIXELS = DataSpec((3, 2, 1), 5, 3)
SMALL = {'num_couplings': 4, 'num_bins': 4}
MLP = {'conditioner': {'features': (16, 16)}}


def built(spec, scale=0.1, **kw):
  model = family('flow', spec, MLP, **{**SMALL, **kw})
  batch = {'x': jnp.zeros((2, *spec.shape)), 'cond': jnp.zeros((2,), jnp.int32)}
  return model, moved(initial(model, batch), scale)


@pytest.mark.slow
@pytest.mark.parametrize('transform, scale', [('affine', 0.05), ('rational_quadratic', 0.1)])
def test_density_of_the_plane_integrates_to_one(transform, scale):
  model, params = built(PLANE, scale, transform=transform)
  # a chart that spends its points where the mass is, and reaches far into the tails
  side = np.sinh(np.linspace(-4.5, 4.5, 500))
  step = np.gradient(side)
  x = np.stack(np.meshgrid(side, side, indexing='ij'), -1).reshape(-1, 2).astype(np.float32)
  log_p = jax.jit(lambda x: model.log_prob(params, {'x': x}, None))(x)
  total = np.sum(np.exp(np.asarray(log_p, np.float64)) * np.outer(step, step).ravel())
  assert abs(total - 1.0) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize('transform', bijections.TRANSFORMS)
def test_samples_know_their_density(transform):
  spec = DataSpec((5,), None, 3)
  model, params = built(spec, transform=transform, conditional=True)
  cond = jnp.arange(64) % 4
  key = jax.random.key(2)

  @jax.jit
  def draw(cond):
    return (*model.sample_and_log_prob(params, key, 64, cond), model.rsample(params, key, 64, None))

  x, log_p, unlabelled = draw(cond)
  log_prob = jax.jit(lambda c: model.log_prob(params, {'x': x, 'cond': c}, None))
  np.testing.assert_allclose(log_prob(cond), log_p, atol=2e-3)
  assert np.abs(log_prob((cond + 1) % 4) - log_p).max() > 0.03  # the label is heard
  np.testing.assert_allclose(unlabelled[3::4], x[3::4], atol=1e-5)  # None is "no label"


@pytest.mark.parametrize('frame', [
    frames.triangular(4), frames.marginals(4, 5), frames.logit(frames.marginals(4, 5))])
def test_frames_against_the_jacobian(frame):
  params = moved(frame.init(None))
  x = jax.random.uniform(jax.random.key(3), (8, 4), minval=-1.2, maxval=1.2)
  z, log_det = jax.jit(frame.forward)(params, x, None)
  back, log_det_back = jax.jit(frame.inverse)(params, z, None)
  np.testing.assert_allclose(back, x, atol=1e-3)
  np.testing.assert_allclose(log_det, -log_det_back, atol=1e-2)
  one = lambda x: frame.forward(params, x[None], None)[0][0]
  jacobian = jax.jit(jax.vmap(jax.jacobian(one)))(x)
  np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, atol=1e-2)


@pytest.mark.slow
def test_couplings_against_the_jacobian():
  size, num_couplings = 5, 6
  half = {'first': 3, 'last': 2}
  weights = {k: 0.5 * jax.random.normal(jax.random.key(i), (num_couplings // 2, size - d, 11 * d))
             for i, (k, d) in enumerate(half.items())}

  def net(params, x, cond, which):
    return jnp.sin(x @ params).reshape(-1, 11, half[which])

  def transform(raw, x, inverse):
    f = bijections.rational_quadratic_inverse if inverse else bijections.rational_quadratic
    return f(x, raw, 3.0)

  layers = couplings(splits.permutation(size, num_couplings), transform, None, net)
  x = jax.random.normal(jax.random.key(4), (8, size))
  y, log_det = jax.jit(lambda x: layers.forward(weights, x, None))(x)
  back, log_det_back = jax.jit(lambda y: layers.inverse(weights, y, None))(y)
  np.testing.assert_allclose(back, x, atol=1e-3)
  np.testing.assert_allclose(log_det, -log_det_back, atol=1e-2)
  one = lambda x: layers.forward(weights, x[None], None)[0][0]
  jacobian = jax.jit(jax.vmap(jax.jacobian(one)))(x)
  assert np.abs(log_det).max() > 0.3
  np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, atol=1e-2)
  assert np.all(np.any(jacobian - np.eye(size), (0, 2)))  # every element was transformed


def test_untrained_dequantised_flow_is_uniform():
  model = family('flow', PIXELS, MLP, **SMALL)
  levels = jax.random.randint(jax.random.key(0), (16, *PIXELS.shape), 0, 5)
  batch = {'x': prob.from_levels(levels, 5)}
  params = jax.jit(model.init)(jax.random.key(1), batch)
  assert model.log_prob is None and model.elbo is not None
  total = sum(jax.jit(model.elbo)(params, batch, jax.random.key(2)).values())
  np.testing.assert_allclose(total, -6 * np.log(5.0), rtol=1e-4)  # bits per dim: log2 of levels


@pytest.mark.slow
@pytest.mark.parametrize('transform, scale', [('affine', 0.03), ('rational_quadratic', 0.1)])
def test_mass_of_all_integers_is_one(transform, scale):
  spec = DataSpec((2,), 4, None)
  model, params = built(spec, scale, transform=transform)
  k = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2)
  batch = {'x': prob.from_levels(k, 4)}
  draws = jax.jit(jax.vmap(lambda key: model.log_weight(params, batch, key)))(
      jax.random.split(jax.random.key(0), 4000))
  # E exp(log_weight) is the mass of a cell: the density leaks out of no cell of the cube
  mass = np.exp(np.asarray(draws, np.float64))
  error = np.sqrt(mass.var(0).sum() / len(mass))
  assert error < 0.03 and abs(mass.mean(0).sum() - 1.0) < 4 * error + 1e-3
  assert np.all(draws.mean(0) <= np.log(mass.mean(0)) + 1e-6)


def test_samples_of_data_with_levels_stay_in_the_cube():
  model, params = built(PIXELS)
  x, num_evaluations = jax.jit(lambda p: model.sample(p, jax.random.key(0), 256, None))(params)
  assert num_evaluations == 1
  assert x.shape == (256, *PIXELS.shape) and np.abs(x).max() <= 1.25 + 1e-5


@pytest.mark.slow
def test_a_gaussian_is_in_reach_of_the_frame_alone():
  model = family('flow', PLANE, MLP, **SMALL)
  params = jax.jit(model.init)(jax.random.key(0), None)
  params['frame'] = {
      'shift': jnp.asarray([1.0, -2.0]), 'log_diag': jnp.log(jnp.asarray([2.0, 0.5])),
      'lower': jnp.asarray([[0.0, 9.0], [0.7, 0.0]])}  # 9: above the diagonal, ignored
  factor = np.asarray([[2.0, 0.0], [0.7, 0.5]])  # of the precision matrix
  x = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
  residual = (x - [1.0, -2.0]) @ factor.T
  expected = -0.5 * (residual ** 2).sum(-1) - np.log(2 * np.pi) + np.log(2.0 * 0.5)
  np.testing.assert_allclose(model.log_prob(params, {'x': x}, None), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_gradients_are_finite_in_parameters_and_samples():
  model, params = built(PLANE)
  x = jax.random.normal(jax.random.key(0), (16, 2)) * 3.0
  x = x.at[0].set(4.0).at[1].set(-4.0)

  def loss(params):
    nll = -model.log_prob(params, {'x': x}, None).mean()
    y, log_q = model.sample_and_log_prob(params, jax.random.key(1), 16, None)
    return nll + log_q.mean() + (y ** 2).mean()

  grads = jax.tree.leaves(jax.jit(jax.grad(loss))(params))
  assert all(np.isfinite(g).all() for g in grads) and all(np.any(g) for g in grads)


@pytest.mark.parametrize('kw, named', [
    ({'transform': 'spline'}, "'spline'.*rational_quadratic"), ({'num_couplings': 3}, '3.*2, 4'),
    ({'num_bins': 1}, '1.*2 to'), ({'split': 'chess'}, "'chess'.*checkerboard"),
    ({'split': 'checkerboard'}, r'checkerboard.*\(2,\).*permutation')])
def test_bad_input(kw, named):
  with pytest.raises(BadInput, match=named):
    family('flow', PLANE, **kw)
