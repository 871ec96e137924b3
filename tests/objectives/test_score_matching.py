import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import compat
from genjax.numerics import schedules
from genjax.numerics.shapes import sum_event
from genjax.objectives import score_matching
from genjax.types import BadInput, Denoised, Model
from tests.objectives.exact_diffusion import (
  DIFFUSION,
  GAUSSIAN,
  SPEC,
  STEEP,
  VARIANCE,
  diffusing,
  evaluate,
  make,
)

MIX = jnp.array([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [-0.3, 0.2, 0.6]])
X = jax.random.normal(jax.random.key(0), (2000, 3)) @ MIX.T
X = X - X.mean(0)
S = X.T @ X / len(X)


def quadratic(precision):
  """E(x) = x^T precision x / 2."""
  energy = lambda params, x, cond: 0.5 * ((x @ params['precision']) * x).sum(-1)
  return Model(lambda rng, batch: {'precision': precision}, energy=energy)


@pytest.mark.parametrize('kw', [
    {'estimator': 'explicit'}, {'estimator': 'sliced', 'num_projections': 64}, pytest.param(
        {'estimator': 'sliced', 'num_projections': 64, 'variance_reduced': False},
        marks=pytest.mark.slow)])
def test_minimiser_is_the_inverse_covariance_of_the_sample(kw):
  inverse = jnp.linalg.inv(S)
  value, metrics, grads = evaluate(quadratic(inverse), {'x': X}, **kw)
  exact = kw['estimator'] == 'explicit'
  np.testing.assert_allclose(value, -0.5 * jnp.trace(inverse), rtol=1e-3 if exact else 0.05)
  np.testing.assert_allclose(grads['precision'], np.zeros((3, 3)), atol=1e-3 if exact else 0.1)
  # elsewhere the gradient is (P S - I), symmetrised
  other = inverse + 0.5 * jnp.eye(3)
  _, _, grads = evaluate(quadratic(other), {'x': X}, **kw)
  np.testing.assert_allclose(grads['precision'], 0.5 * (S + S.T) * 0.5, atol=1e-3 if exact else 0.1)


def test_score_of_a_log_prob_is_its_gradient_in_x():
  model = quadratic(jnp.linalg.inv(S))
  by_log_prob = Model(model.init, log_prob=lambda params, batch, rng: -model.energy(
      params, batch['x'], None))
  for estimator in ('explicit', 'denoising_one_level'):
    np.testing.assert_allclose(
        evaluate(by_log_prob, {'x': X}, estimator=estimator)[0],
        evaluate(model, {'x': X}, estimator=estimator)[0], rtol=1e-5)


def test_one_level_recovers_the_blurred_covariance():
  std = 0.3
  blurred = jnp.linalg.inv(S + std**2 * jnp.eye(3))
  batch = {'x': jnp.tile(X, (20, 1))}
  kw = {'estimator': 'denoising_one_level', 'noise_std': std}
  _, _, grads = evaluate(quadratic(blurred), batch, **kw)
  np.testing.assert_allclose(grads['precision'] / std**2, np.zeros((3, 3)), atol=0.04)
  # the gradient over std^2 is P (S + std^2 I) - I
  inverse = jnp.linalg.inv(S)
  _, _, grads = evaluate(quadratic(inverse), batch, **kw)
  np.testing.assert_allclose(grads['precision'] / std**2, std**2 * inverse, atol=0.04)


def test_exact_denoiser_has_the_least_eps_error_and_the_integral_of_the_mmse():
  value, metrics, grads = evaluate(DIFFUSION, GAUSSIAN, estimator='denoising')
  t = np.linspace(1e-3, 1.0, 2001)
  alpha2 = 1 / (1 + np.exp(-STEEP * (0.5 - t)))
  eps_mse = (alpha2 * VARIANCE / (alpha2 * VARIANCE + 1 - alpha2)).mean()
  np.testing.assert_allclose(value, eps_mse, rtol=5e-3)
  np.testing.assert_allclose(metrics['eps_mse'], value, rtol=1e-6)
  np.testing.assert_allclose(grads['scale'], 0.0, atol=5e-3)
  # 1/2 int mmse d snr = 1/2 log det(I + snr S) between the ends
  snr = np.exp(STEEP * (0.5 - np.array([1e-3, 1.0])))
  nats = 3 * 0.5 * -np.diff(np.log1p(snr * VARIANCE))[0]
  np.testing.assert_allclose(metrics['diffusion_loss'], nats, rtol=5e-3)


@pytest.mark.parametrize('weighting, weight', [
    ('simple', lambda snr: snr), ('elbo', lambda snr: 0.5 * STEEP * snr),
    ('min_snr', lambda snr: np.minimum(snr, 5.0)),
    ('sigmoid', lambda snr: 0.5 * STEEP * snr / (1 + np.exp(-2.0) * snr))])
def test_weightings_are_those_of_the_papers(weighting, weight):
  # a denoiser that says 0 has the error |x_0|^2, here 1 per dimension
  model = diffusing(denoise=lambda params, x_t, *_: Denoised(0 * params['scale'] * x_t))
  value, _, _ = evaluate(
      model, {'x': jnp.ones((4000, 3))}, estimator='denoising', weighting=weighting)
  t = 1e-3 + (1 - 1e-3) * (np.arange(100000) + 0.5) / 100000
  np.testing.assert_allclose(value, weight(np.exp(STEEP * (0.5 - t))).mean(), rtol=1e-2)


def test_weight_is_finite_where_the_path_ends_without_signal():
  # a cosine that ends at 0 and not, by rounding, below
  ending = lambda params, t: (jnp.sin(0.5 * np.pi * (1.0 - t)), jnp.sin(0.5 * np.pi * t))
  for name in ('simple', 'elbo', 'edm', 'flow_matching'):
    value, metrics, grads = evaluate(
        diffusing(path=ending), {'x': X}, estimator='denoising', weighting=name, t_min=0.999)
    assert all(np.isfinite(v) for v in (value, grads['scale'], *metrics.values()))


@pytest.mark.parametrize('sampling', [
    'stratified', 'logit_normal', pytest.param('uniform', marks=pytest.mark.slow),
    pytest.param('importance', marks=pytest.mark.slow)])
def test_flow_matching_reaches_its_closed_form_minimum(sampling):
  """Between N(m, S) and noise: the least E|u - u_hat|^2 / D is s0^2 / A, A = (1-t)^2 s0^2 + t^2.

  The exact denoiser has it under every way to draw times, with the mean over their density.
  """
  linear = lambda params, t: (1.0 - t, t)

  def denoise(params, x_t, t, cond, rng):
    gain = (1 - t) * VARIANCE / ((1 - t) ** 2 * VARIANCE + t**2)
    return Denoised(params['scale'] * gain[:, None] * x_t)

  model = diffusing(path=linear, denoise=denoise)
  t = 0.05 + 0.95 * (np.arange(20000) + 0.5) / 20000
  kw = {'estimator': 'denoising', 'weighting': 'flow_matching', 't_min': 0.05}
  least = VARIANCE / ((1 - t) ** 2 * VARIANCE + t**2)
  logit = np.log(t / (1 - t))
  density = np.exp(-0.5 * logit**2) / (t * (1 - t))
  expected = least.mean()
  if sampling == 'logit_normal':
    expected = (least * density).sum() / density.sum()
  value, _, grads = evaluate(model, GAUSSIAN, time_sampling=sampling, **kw)
  np.testing.assert_allclose(value, expected, rtol=0.01)
  np.testing.assert_allclose(grads['scale'], 0.0, atol=0.03)
  off = lambda *args: Denoised(1.1 * denoise(*args).x_0)
  worse = evaluate(diffusing(path=linear, denoise=off), GAUSSIAN, time_sampling=sampling, **kw)[0]
  assert worse > expected * 1.02


def test_edm_recipe_is_its_weight_over_log_normal_times():
  """2206.00364, Table 1: lambda(sigma) |D - y|^2 averaged over log sigma ~ N(-1.2, 1.2^2)."""
  std = 0.5
  path = schedules.edm()
  model = diffusing(
      path=lambda params, t: path(t),
      denoise=lambda params, x_t, t, *_: Denoised(
          params['scale'] * (std**2 / (std**2 + path(t)[1] ** 2))[:, None] * x_t))
  x = std * jax.random.normal(jax.random.key(0), (100000, 3))
  value, metrics, grads = evaluate(model, {'x': x}, estimator='denoising', weighting='edm')
  # the least error of D is sigma^2 std^2 / (sigma^2 + std^2) = c_out^2, so every sigma gives 1
  np.testing.assert_allclose(value, 1.0, rtol=0.01)
  np.testing.assert_allclose(grads['scale'], 0.0, atol=0.02)
  nats = 1.5 * np.diff(np.log1p(std**2 / np.array([80.0, 0.002]) ** 2))[0]
  np.testing.assert_allclose(metrics['diffusion_loss'], nats, rtol=0.03)


def test_the_estimator_follows_from_what_the_model_and_the_data_provide():
  legal = lambda fields, data: compat.legal(score_matching.ESTIMATORS, frozenset(fields) | {data})
  assert legal(['energy', 'sample'], 'data.discrete') == ('denoising_one_level',)
  assert legal(['energy', 'sample'], 'data.continuous')[0] == 'explicit'
  assert legal(['denoise', 'fixed_path', 'elbo'], 'data.discrete')[0] == 'denoising'
  assert legal(['denoise', 'elbo'], 'data.discrete') == ()  # a learned schedule
  smooth = ['log_prob', 'sample_and_log_prob']
  assert legal(smooth, 'data.continuous')[0] == 'explicit'
  assert legal(smooth, 'data.discrete') == ()  # a mass has no score
  assert legal(['log_prob', 'sample'], 'data.continuous') == ()  # nor has a histogram


def test_model_loses_only_the_map_between_times():
  assert make(DIFFUSION._replace(flow_map=len, elbo=len)).model == DIFFUSION._replace(elbo=len)
  model = quadratic(S)
  assert make(model, 'explicit').model == model


@pytest.mark.parametrize('kw, match', [
    ({'weighting': 'sigmiod'}, 'sigmiod.*sigmoid'), ({'time_sampling': 'even'}, 'even.*uniform'),
    ({'time_mean': 0.3}, 'time_mean=0.3.*logit_normal'), ({'num_steps': 0}, 'num_steps=0'),
    ({'label_dropout': 0.1}, 'without labels'),
    ({'num_steps': 10, 'time_sampling': 'edm'}, 'num_steps=10.*stratified, uniform, importance'),
    ({'t_min': 2.0}, 't_min=2.0')])
def test_bad_values_are_named(kw, match):
  with pytest.raises(BadInput, match=match):
    score_matching.denoising(DIFFUSION, spec=SPEC, **kw)


def test_bad_values_of_the_other_estimators_are_named():
  with pytest.raises(BadInput, match='noise_std=0.0'):
    score_matching.denoising_one_level(quadratic(S), spec=SPEC, noise_std=0.0)
  with pytest.raises(BadInput, match='num_projections=0'):
    score_matching.sliced(quadratic(S), num_projections=0)


def test_digits_meet_an_energy_dequantised():
  # the energy x^4 of the grid point 0: its score there is 0, within the cell it is not
  model = Model(lambda rng, batch: {'w': jnp.ones(3)},
                energy=lambda params, x, cond: sum_event(params['w'] * x**4))
  kw = {'estimator': 'denoising_one_level', 'noise_std': 1e-6}
  batch = {'x': jnp.zeros((400, 3))}
  assert evaluate(model, batch, **kw)[1]['score_norm'] < 1e-6
  assert evaluate(model, batch, SPEC._replace(levels=3), **kw)[1]['score_norm'] > 0.1
