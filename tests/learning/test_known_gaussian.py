"""Data of one known Gaussian: the families reach it, the denoiser its closed form, masses are 1."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.data.toys import gaussian_parameters
from genjax.evals.quadrature import stretched_grid
from genjax.models import diffusion_bound, mixture
from genjax.numerics import path as paths
from genjax.numerics import prediction as predictions
from genjax.numerics import schedules
from genjax.train import init
from genjax.types import DataSpec
from tests.learning import running
from tests.networks import family

LOGSNR = np.linspace(-6.0, 6.0, 25)
GRADIENT = {'steps_per_dispatch': 100, 'batch_size': 512, 'optim__lr': 1e-2, 'ema': 0.99}


def kl_to_the_data(argument: str, dim: int, **settings) -> float:
  """KL(p, model) in nats from 50,000 exact draws; its standard error is below 0.001."""
  config = running.config_of(f'data=gaussian,data.dim={dim},{argument}', **settings)
  run, params, _ = running.train(config)
  x = run.dataset.sample(jax.random.key(5), 50_000)
  log_q = jax.jit(lambda params, x: run.model.log_prob(params, {'x': x}, None))(params, x)
  gap = np.asarray(run.dataset.log_density(x), np.float64) - np.asarray(log_q, np.float64)
  print(argument, dim, gap.mean(), gap.std() / len(gap) ** 0.5)
  return gap.mean()


@pytest.mark.slow
@pytest.mark.parametrize('dim', [2, 6])
@pytest.mark.parametrize('argument', ['family=gaussian', 'family=mixture,model.num_components=3'],
                         ids=['gaussian', 'mixture'])
def test_what_is_fitted_reaches_the_gaussian(argument, dim):
  assert abs(kl_to_the_data(argument, dim)) < 0.01


TRAINED = {
    'gaussian': ('family=gaussian,estimator=exact', {'steps': 1000}),
    'mixture': ('family=mixture,model.num_components=2,estimator=exact', {'steps': 1000}),
    'affine': ('family=flow,model.transform=affine,conditioner.features=(32,32)',
               {'steps': 1000, 'optim__lr': 3e-3}),
    # with 50,000 points splines in six dimensions overfit by 0.02 nats
    'rational_quadratic': ('data.num_train=500000,family=flow,conditioner.features=(32,32)',
                           {'steps': 1200, 'optim__lr': 3e-3, 'ema': 0.995}),
}


@pytest.mark.slow
@pytest.mark.parametrize('dim', [2, 6])
@pytest.mark.parametrize('name', TRAINED)
def test_what_is_trained_by_gradient_reaches_the_gaussian(name, dim):
  argument, settings = TRAINED[name]
  assert abs(kl_to_the_data(argument, dim, **{**GRADIENT, **settings})) < 0.01


def exact_denoiser(mean, covariance):
  """(x_t [B, D], alpha, sigma) -> E[x_0 | x_t] in float64, identity 14."""
  def denoise(x_t, alpha, sigma):
    alpha, sigma, x_t = float(alpha), float(sigma), np.asarray(x_t, np.float64)
    blurred = alpha**2 * covariance + sigma**2 * np.eye(len(mean))
    return mean + (x_t - alpha * mean) @ np.linalg.solve(blurred, alpha * covariance)

  return denoise


def relative_error(found, expected) -> float:
  return float(np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected))


def noisy(mean, covariance, alpha, sigma, n):
  """x_t [n, D] float32 of the diffused Gaussian."""
  factor = np.linalg.cholesky(alpha**2 * covariance + sigma**2 * np.eye(len(mean)))
  z = np.random.default_rng(0).standard_normal((n, len(mean)))
  return jnp.asarray(alpha * mean + z @ factor.T, jnp.float32)


@pytest.mark.slow
def test_a_trained_denoiser_is_within_5_percent_of_the_closed_form():
  config = running.config_of(
      'data=gaussian,family=diffusion,objective=score_matching,denoiser.width=64,denoiser.num_blocks=2',
      steps=6000, batch_size=512, steps_per_dispatch=100, ema=0.995, optim__lr=2e-3)
  run, params, _ = running.train(config)
  mean, covariance = gaussian_parameters()
  exact, path = exact_denoiser(mean, covariance), lambda t: run.model.diffusion.path(params, t)
  errors = []
  for logsnr in LOGSNR:
    t = paths.time_of_logsnr(path, jnp.full(1, logsnr))
    alpha, sigma = (np.float64(a[0]) for a in path(t))
    x_t = noisy(mean, covariance, alpha, sigma, 2000)
    found = run.model.diffusion.denoise(params, x_t, jnp.broadcast_to(t, 2000), None, None).x_0
    errors.append(relative_error(found, exact(x_t, alpha, sigma)))
  print(np.round(errors, 4))
  assert np.mean(errors) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize('schedule, prediction', [
    # every prediction on one schedule, every schedule with one prediction
    pytest.param(s, p, marks=[pytest.mark.slow] * (s != 'cosine' and p != 'velocity'))
    for s in schedules.SCHEDULES for p in predictions.PREDICTIONS])
def test_an_exact_output_is_read_back_as_the_exact_denoiser(schedule, prediction):
  mean, covariance = gaussian_parameters(4)
  exact = exact_denoiser(mean, covariance)
  path = schedules.schedule(schedule, -10.0, 10.0)
  point = paths.at(path, paths.time_of_logsnr(path, jnp.asarray(LOGSNR)))
  a, s, d_a, d_s = (np.asarray(field, np.float64) for field in point)
  np.testing.assert_allclose(2 * np.log(a / s), LOGSNR, atol=2e-5)
  x_t = np.stack([noisy(mean, covariance, *scales, 500) for scales in zip(a, s, strict=True)], 1)
  x_0 = np.stack([exact(x_t[:, i], a[i], s[i]) for i in range(len(a))], 1)  # [500, 25, 4]
  eps = (x_t - a[:, None] * x_0) / s[:, None]
  std = np.sqrt(s**2 + (0.5 * a) ** 2)  # of x_t, of data of deviation 0.5
  edm = (x_0 - (0.25 * a / std**2)[:, None] * x_t) / (0.5 * s / std)[:, None]
  output = {'noise': eps, 'data': x_0, 'v': a[:, None] * eps - s[:, None] * x_0,
            'score': -eps / s[:, None], 'velocity': d_a[:, None] * x_0 + d_s[:, None] * eps,
            'edm': edm}[prediction]
  wide = jax.tree.map(lambda field: jnp.tile(field, 500), point)
  found = predictions.to_data(prediction, jnp.asarray(output, jnp.float32).reshape(-1, 4),
                              jnp.asarray(x_t).reshape(-1, 4), wide).reshape(x_0.shape)
  for i in range(len(a)):
    assert relative_error(found[:, i], x_0[:, i]) < 1e-5


@pytest.mark.parametrize('num_steps', [None, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_bound_of_the_exact_denoiser_is_known(num_steps):
  mean, covariance = gaussian_parameters(3)
  path = schedules.schedule('cosine', -10.0, 10.0)
  n, cov = 200_000, jnp.asarray(covariance, jnp.float32)

  def denoise(x_t, t):
    alpha, sigma = (a[:, None, None] for a in path(t))
    blurred = alpha**2 * cov + sigma**2 * jnp.eye(3)
    centred = x_t - alpha[:, 0] * jnp.asarray(mean, jnp.float32)
    pulled = jnp.linalg.solve(blurred, centred[..., None])
    return jnp.asarray(mean, jnp.float32) + (alpha * (cov @ pulled))[..., 0]

  x = noisy(mean, covariance, 1.0, 0.0, n)
  terms = jax.jit(lambda x, rng: diffusion_bound.bound(denoise, path, x, rng, levels=None,
                                                 num_steps=num_steps))(x, jax.random.key(0))
  terms = {name: np.asarray(term, np.float64) for name, term in terms.items()}
  error = 4 * terms['diffusion'].std() / n**0.5
  ends = jnp.linspace(0, 1, 1 + (num_steps or 1))
  alpha, sigma = (np.asarray(a, np.float64) for a in path(ends))
  snr, eigenvalues = (alpha / sigma) ** 2, np.linalg.eigvalsh(covariance)
  if num_steps is None:  # half the integral of the least error over snr (identity 15)
    expected = 0.5 * np.diff(np.log1p(snr[:, None] * eigenvalues), axis=0).sum()
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    assert abs(sum(term.mean() for term in terms.values()) + entropy) < error + 0.002
  else:  # its rectangles from above
    least = (eigenvalues / (1 + snr[1:, None] * eigenvalues)).sum(-1)
    expected = 0.5 * (np.diff(snr) * least).sum()
  assert abs(terms['diffusion'].mean() - expected) < error


FAMILIES = {'gaussian': 'family=gaussian,estimator=exact',
            'mixture': 'family=mixture,model.num_components=5,estimator=exact',
            'mixture_em': 'family=mixture,model.num_components=5',
            'affine': 'family=flow,model.transform=affine,conditioner.features=(32,32)',
            'rational_quadratic': 'family=flow,conditioner.features=(32,32)'}


@pytest.mark.slow
@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in ('gaussian', 'affine')))
    for name in FAMILIES])
def test_an_exact_density_integrates_to_1(name):
  settings = {} if name == 'mixture_em' else {
      'steps': 100, 'batch_size': 128, 'steps_per_dispatch': 100,
      'optim__lr': 3e-3 if name == 'affine' else 1e-2}
  run, params, _ = running.train(running.config_of(
      f'data=ring8,data.num_train=5000,{FAMILIES[name]}', **settings))
  grid = stretched_grid(run.dataset.box, 300, 30, 6.0)
  log_q = jax.jit(lambda x: run.model.log_prob(params, {'x': x}, None))(grid.points)
  mass = np.exp(np.asarray(log_q, np.float64) + grid.log_area).sum()
  assert abs(mass - 1.0) < 0.01


DISCRETE = {'autoregressive': lambda spec: family(
    'autoregressive', spec, {'causal': {'width': 16, 'num_blocks': 2}}),
            'mixture': lambda spec: mixture.make(spec, num_components=5)}


@pytest.mark.parametrize('name', DISCRETE)
def test_an_exact_mass_sums_to_1_over_all_states(name):
  spec = DataSpec((12,), 2, None)
  model = DISCRETE[name](spec)
  states = np.array(list(itertools.product((0, 1), repeat=12)), np.int32)
  x = prob.from_levels(jnp.asarray(states), 2)
  random = np.random.default_rng(0)
  # far from uniform, without a training run: every parameter moved at random
  params = jax.tree.map(
      lambda p: p + 0.5 * random.standard_normal(p.shape).astype(np.float32),
      init.initialise(model.init, jax.random.key(0), {'x': x[:1]}))
  log_p = np.asarray(jax.jit(lambda x: model.log_prob(params, {'x': x}, None))(x), np.float64)
  assert log_p.std() > 0.5
  assert abs(np.exp(log_p).sum() - 1.0) < 1e-4
