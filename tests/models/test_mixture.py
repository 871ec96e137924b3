"""Mixtures: EM climbs, densities and masses sum to one, implicit gradients are right."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import prob
from genjax.models import categorical_mixture, mixture
from genjax.numerics import em
from genjax.types import BadInput, DataSpec

PLANE = DataSpec((2,), None, None)
BITS = DataSpec((12,), 2, None)
IMAGE = DataSpec((3, 3, 1), 17, 10)
RNG = jax.random.key(0)


def three_modes(num, seed=0):
  rng = np.random.default_rng(seed)
  means = np.array([[2, 2], [-2, -2], [2, -2]])
  return (means[rng.integers(0, 3, num)] + 0.5 * rng.normal(size=(num, 2))).astype(np.float32)


def some_params(covariance='full', num=3, dim=2):
  params = mixture.init_params(jax.random.normal(RNG, (num, dim)), -0.3, covariance)
  keys = jax.random.split(jax.random.key(1), len(params))
  return {name: p + 0.5 * jax.random.normal(key, p.shape)
          for key, (name, p) in zip(keys, sorted(params.items()), strict=True)}


def moments(params):
  """Weights, means and covariances of the components, in float64."""
  factors = np.linalg.inv(np.asarray(mixture.whitening(params), np.float64))
  return (np.asarray(jax.nn.softmax(params['logits'])), np.asarray(params['mean']),
          factors @ factors.transpose(0, 2, 1))


def test_log_density_is_scipy():
  params = some_params()
  x = np.random.default_rng(0).normal(size=(40, 2)) * 2
  wanted = sum(w * stats.multivariate_normal(m, c).pdf(x)
               for w, m, c in zip(*moments(params), strict=True))
  got = mixture.make(PLANE).log_prob(params, {'x': jnp.asarray(x)}, None)
  np.testing.assert_allclose(got, np.log(wanted), rtol=1e-4)


@pytest.mark.parametrize('covariance', mixture.COVARIANCES)
def test_density_integrates_to_one_and_draws_follow_it(covariance):
  params = some_params(covariance)
  axis = (np.arange(600) + 0.5) / 600 * 30 - 15
  x = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2), jnp.float32)
  model = mixture.make(PLANE, covariance=covariance)
  density = jnp.exp(model.log_prob(params, {'x': x}, None)) * (30 / 600) ** 2
  assert float(density.sum()) == pytest.approx(1.0, abs=1e-3)
  drawn, nfe = jax.jit(lambda p: model.sample(p, RNG, 100_000, None))(params)
  assert int(nfe) == 0
  mean = density @ x
  np.testing.assert_allclose(drawn.mean(0), mean, atol=0.02)
  np.testing.assert_allclose(
      np.cov(drawn.T), (density[:, None] * (x - mean)).T @ (x - mean), atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize('covariance', mixture.COVARIANCES)
@pytest.mark.parametrize(('extra', 'prior'), [(1e-6, 0.0), (0.05, 4.0)])
def test_em_never_decreases_its_objective(covariance, extra, prior):
  x = jnp.asarray(three_modes(300))
  total = jnp.asarray(np.cov(x.T, bias=True), jnp.float32)
  seeds = x[em.seed_rows(RNG, x, 6)]
  params = mixture.m_step(em.nearest_seed(x, seeds), x, extra, prior, total, covariance)
  step = jax.jit(lambda params: mixture.em_step(params, x, extra, prior, total))
  climb = []
  for _ in range(30):
    params, objective = step(params)
    climb.append(float(objective))
  assert np.diff(climb).min() > -1e-5 and climb[-1] - climb[0] > 1e-3


def test_em_objective_without_noise_is_the_mean_log_likelihood():
  x, params = jnp.asarray(three_modes(200)), some_params()
  objective = mixture.em_step(params, x, 0.0, 0.0, jnp.eye(2))[1]
  assert float(objective) == pytest.approx(float(mixture.log_density(params, x).mean()), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('covariance', mixture.COVARIANCES)
def test_em_objective_integrates_the_noise_out(covariance):
  """With one component the bound is tight: it is E_u log p(x + u)."""
  x, params = jnp.asarray(three_modes(50)), some_params(covariance, num=1)
  u = jax.random.normal(RNG, (4000, *x.shape)) * np.sqrt(0.3)
  wanted = mixture.log_density(params, (x + u).reshape(-1, 2)).mean()
  objective = mixture.em_step(params, x, 0.3, 0.0, jnp.eye(2))[1]
  assert float(objective) == pytest.approx(float(wanted), rel=5e-3)


def test_fit_recovers_three_modes():
  x = three_modes(20_000)
  model = mixture.make(PLANE, num_components=3)
  params = model.fit(RNG, x)
  weights, means, covs = moments(params)
  order = np.lexsort(means.round().T)
  np.testing.assert_allclose(means[order], [[-2, -2], [2, -2], [2, 2]], atol=0.03)
  np.testing.assert_allclose(weights, 1 / 3, atol=0.02)
  np.testing.assert_allclose(covs, np.broadcast_to(0.25 * np.eye(2), (3, 2, 2)), atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize('covariance', [
    'diagonal', 'full'])
def test_implicit_gradient_is_the_gradient_of_the_expectation(covariance):
  """d/dparams E f(x), f(x) = x' Q x (closed form) and a soft indicator (quadrature)."""
  params = some_params(covariance)
  model = mixture.make(PLANE, covariance=covariance)
  axis = (np.arange(400) + 0.5) / 400 * 30 - 15
  points = jnp.asarray(
      np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2), jnp.float32)
  functions = {
      'quadratic': lambda x: x[:, 0] ** 2 + 0.7 * x[:, 0] * x[:, 1] - 0.5 * x[:, 1],
      'indicator': lambda x: jax.nn.sigmoid(4.0 * (x[:, 0] - 0.5 * x[:, 1] - 0.3))}
  num, batches = 10_000, 10

  for name, f in functions.items():
    expectation = lambda p, f=f: (
        jnp.exp(model.log_prob(p, {'x': points}, None)) * f(points)).sum() * (30 / 400) ** 2
    wanted = jax.jit(jax.grad(expectation))(params)
    estimate = jax.jit(jax.grad(lambda p, key, f=f: f(model.rsample(p, key, num, None)).mean()))
    draws = [estimate(params, key) for key in jax.random.split(jax.random.key(5), batches)]
    for key in params:
      values = np.stack([d[key] for d in draws])
      error = np.abs(values.mean(0) - wanted[key])
      bound = 5 * values.std(0, ddof=1) / np.sqrt(batches) + 2e-3
      assert (error < bound).all(), (name, key, error, bound)


@pytest.mark.slow
def test_rsample_is_the_draw_and_log_prob_joins_it():
  params = some_params()
  model = mixture.make(PLANE)
  x, log_p = jax.jit(lambda p: model.sample_and_log_prob(p, RNG, 50, None))(params)
  np.testing.assert_allclose(x, jax.jit(mixture.draw, static_argnums=2)(params, RNG, 50), atol=1e-6)
  np.testing.assert_allclose(log_p, model.log_prob(params, {'x': x}, None), atol=1e-5)


def test_rsample_gradient_is_finite_in_the_tails():
  params = {**some_params(), 'mean': jnp.array([[0.0, 0.0], [40.0, 40.0], [-40.0, 3.0]])}
  loss = lambda p: (mixture.implicit_sample(p, RNG, 2000) ** 2).sum(-1).mean()
  slope = jax.jit(jax.grad(loss))(params)
  assert all(np.isfinite(s).all() for s in jax.tree.leaves(slope))
  # well separated components: the means move their own draws alone
  weights = jax.nn.softmax(params['logits'])[:, None]
  np.testing.assert_allclose(slope['mean'], 2 * weights * params['mean'], rtol=0.1, atol=0.3)


@pytest.mark.slow
def test_gaussian_mixture_on_levels_is_a_bound():
  model = mixture.make(IMAGE, discretised=False, num_components=2)
  assert model.log_prob is None and model.elbo is not None and model.rsample is not None
  x = np.asarray(prob.from_levels(
      np.random.default_rng(0).integers(0, 17, (200, 3, 3, 1)) // 8 * 8, 17))
  params = model.fit(RNG, x)
  assert np.isfinite(sum(jax.jit(model.elbo)(params, {'x': jnp.asarray(x)}, RNG).values())).all()
  assert jax.jit(lambda p: model.sample(p, RNG, 3, None)[0])(params).shape == (3, 3, 3, 1)


def bits_data(num):
  rng = np.random.default_rng(0)
  rate = np.array([0.1, 0.9])[rng.integers(0, 2, num)]
  return np.asarray(prob.from_levels(rng.random((num, 12)) < rate[:, None], 2))


@pytest.mark.slow
def test_discretised_masses_sum_to_one():
  model = mixture.make(BITS, num_components=5)
  log_prob = jax.jit(model.log_prob)
  states = np.array(list(itertools.product([-1.0, 1.0], repeat=12)), np.float32)
  for params in (model.init(RNG, {'x': states[:2]}), model.fit(RNG, bits_data(300))):
    log_p = log_prob(params, {'x': jnp.asarray(states)}, None)
    assert float(jnp.exp(log_p).sum()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
def test_discretised_fit_reaches_the_entropy():
  """Two equal products of Bernoullis: the fit's mean log-mass is that of the truth."""
  x = bits_data(5000)
  model = mixture.make(BITS, num_components=2)
  params = model.fit(RNG, x)
  ones = (x > 0).sum(1)
  truth = np.log(0.5 * 0.9**ones * 0.1 ** (12 - ones) + 0.5 * 0.1**ones * 0.9 ** (12 - ones))
  got = jax.jit(model.log_prob)(params, {'x': jnp.asarray(x)}, None).mean()
  assert float(got) == pytest.approx(truth.mean(), abs=5e-3)
  drawn, _ = model.sample(params, RNG, 20_000, None)
  assert set(np.unique(drawn)) == {-1.0, 1.0}
  shares = np.bincount((np.asarray(drawn) > 0).sum(1).astype(int), minlength=13) / 20_000
  wanted = 0.5 * (stats.binom(12, 0.1).pmf(range(13)) + stats.binom(12, 0.9).pmf(range(13)))
  np.testing.assert_allclose(shares, wanted, atol=0.015)


def test_discretised_em_never_decreases_its_objective():
  level = prob.to_levels(bits_data(300), 2)
  prior = 0.1 + 3.0 * categorical_mixture.histogram(level, 2)
  params = mixture.make(BITS, num_components=6).init(RNG, None)
  step = jax.jit(lambda params: categorical_mixture.em_step(params, level, prior))
  climb = []
  for _ in range(30):
    params, objective = step(params)
    climb.append(float(objective))
  assert np.diff(climb).min() > -1e-5 and climb[-1] - climb[0] > 1.0


def test_uniform_masses_are_uniform():
  model = mixture.make(IMAGE, num_components=3)
  params = jax.tree.map(jnp.zeros_like, model.init(RNG, None))
  log_p = model.log_prob(params, {'x': prob.from_levels(jnp.zeros((2, 3, 3, 1)), 17)}, None)
  np.testing.assert_allclose(prob.bits_per_dim(-log_p, IMAGE), np.log2(17), rtol=1e-6)
  assert model.rsample is None and model.elbo is None and model.energy is None


def test_bad_input():
  with pytest.raises(BadInput, match='discretised=True needs data with levels'):
    mixture.make(PLANE, discretised=True)
  with pytest.raises(BadInput, match="'tied'.*full, diagonal"):
    mixture.make(PLANE, covariance='tied')
  with pytest.raises(BadInput, match="covariance='full'.*discretised=False"):
    mixture.make(IMAGE, covariance='full')
  with pytest.raises(BadInput, match='num_components 0'):
    mixture.make(PLANE, num_components=0)
