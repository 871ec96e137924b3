"""True divergences against closed forms of Gaussians, and what is refused a number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, prob
from genjax.evals import true_divergence
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, Model
from tests.evals import asked

SMALL = {'num_train': 10, 'num_validation': 10, 'num_test': 10}


def gaussian_model(mean, std):
  mean = jnp.asarray(mean, jnp.float32)

  def log_prob(params, batch, rng):
    return sum_event(prob.normal_log_prob(batch['x'], mean, std))

  def sample(params, rng, n, cond):
    return mean + std * jax.random.normal(rng, (n, len(mean))), 1

  return Model(init=None, log_prob=log_prob, sample=sample,
               energy=lambda p, x, c: 7.0 + 0.5 * jnp.sum(((x - mean) / std) ** 2, -1))


def drawn(model):
  return lambda n: (np.asarray(model.sample({}, jax.random.key(3), n, None)[0]), {})


def evaluate(model, dataset, estimator, num_samples=4096, **kw):
  run = asked.of_model(true_divergence, estimator, model, asked.task(dataset, num_samples), **kw)
  return run({}, drawn(model))


def unit_gaussian(dim=2):
  """Data N(0, I) with everything that a toy has."""
  dataset = data.load('gaussian', dim=dim, **SMALL)
  return dataset._replace(
      log_density=lambda x: sum_event(prob.normal_log_prob(x)),
      sample=lambda rng, n: jax.random.normal(rng, (n, dim)), box=(-6.5, 6.5),
      modes=np.zeros((1, dim)), mode_std=1.0)


MEAN, STD = (1.0, -0.5), 1.5


def closed_forms():
  m2, d, v = 1.25, 2, STD**2
  return {'kl_data_model': 0.5 * ((d + m2) / v - d + d * np.log(v)),
          'kl_model_data': 0.5 * (d * v + m2 - d - d * np.log(v))}


@pytest.mark.parametrize('estimator, tolerance', [
    ('quadrature', 1e-4), ('quadrature_energy', 1e-4), ('monte_carlo', 0.05), ('histogram', 0.08)])
def test_gaussians(estimator, tolerance):
  values = evaluate(gaussian_model(MEAN, STD), unit_gaussian(), estimator, num_samples=8192)
  for name, expected in closed_forms().items():
    assert abs(values[name].value - expected) < tolerance, name
  exact = evaluate(gaussian_model(MEAN, STD), unit_gaussian(), 'quadrature')
  for name in ('js', 'tv'):
    assert abs(values[name].value - exact[name].value) < tolerance, name
  kind = values['js'].card['kind']
  assert kind == ('quadrature' if estimator.startswith('quadrature') else 'estimate')


def test_total_variation_of_shifted_gaussians():
  # equal covariance: TV = 2 Phi(|dm| / 2) - 1, and JS <= log 2
  values = evaluate(gaussian_model((2.0, 0.0), 1.0), unit_gaussian(), 'quadrature')
  assert abs(values['tv'].value - 0.682689) < 1e-4
  assert abs(values['kl_data_model'].value - 2.0) < 1e-4
  far = evaluate(gaussian_model((20.0, 0.0), 1.0), unit_gaussian(), 'quadrature')
  # the outer cells are coarse: the model's mass there is right to 1e-3
  assert abs(far['js'].value - np.log(2)) < 1e-3 and abs(far['tv'].value - 1) < 1e-3
  assert abs(far['kl_data_model'].value - 200.0) < 0.05


def test_monte_carlo_covers_in_five_dimensions():
  model = gaussian_model((0.5,) * 5, 1.0)
  values = evaluate(model, unit_gaussian(5), 'monte_carlo')
  for name in ('kl_data_model', 'kl_model_data'):
    assert values[name].low < 5 * 0.25 / 2 < values[name].high
  with pytest.raises(BadInput, match='allowed: monte_carlo'):
    evaluate(model, unit_gaussian(5), 'quadrature')


def test_the_data_themselves_have_no_divergence():
  dataset = data.load('ring8', **SMALL)
  model = Model(init=None, log_prob=lambda p, b, r: dataset.log_density(b['x']),
                sample=lambda p, rng, n, cond: (dataset.sample(rng, n), 1))
  values = evaluate(model, dataset, 'quadrature')
  for name in true_divergence.NAMES:
    assert abs(values[name].value) < 1e-6
  assert abs(values['js'].card['detail']['mass_data'] - 1) < 1e-3
  assert values['modes_covered'].value == 8
  # exact samples lie within 3 standard deviations with probability 1 - e^(-9/2)
  assert values['high_quality'].low < 1 - np.exp(-4.5) < values['high_quality'].high
  histogram = evaluate(model, dataset, 'histogram')
  for name in true_divergence.NAMES:
    exact = histogram[name].card['detail']['exact_samples']
    assert 0 < histogram[name].value < 2 * exact < 0.2


def test_a_density_that_is_not_one_gets_no_number():
  model = gaussian_model((0.0, 0.0), 1.0)
  half = model._replace(log_prob=lambda p, b, r: model.log_prob(p, b, r) - np.log(2))
  values = evaluate(half, unit_gaussian(), 'quadrature')
  assert values['tv'].value is None and '0.5000' in values['tv'].card['reason']
  # sharper than the grid can see
  spike = evaluate(gaussian_model((0.01, 0.01), 1e-3), unit_gaussian(), 'quadrature', grid=64)
  assert spike['js'].value is None
  flat = model._replace(energy=lambda p, x, c: jnp.zeros(len(x)))
  values = evaluate(flat, unit_gaussian(), 'quadrature_energy')
  assert values['js'].value is None and 'rim' in values['js'].card['reason']


def test_infinite_divergence_says_where():
  values = evaluate(gaussian_model((0.0, 0.0), 1.0), data.load('checkerboard', **SMALL),
                    'quadrature')
  assert values['kl_model_data'].value is None and 'infinite' in values['kl_model_data'].card[
      'reason']
  assert values['kl_data_model'].value > 0 and 0 < values['js'].value < np.log(2)
  assert values['modes_covered'].value is None


def test_dropped_modes_are_counted():
  dataset = data.load('grid25', **SMALL)

  def sample(params, rng, n, cond):
    x = dataset.sample(rng, 2 * n)
    return x[jnp.argsort(-x[:, 0])[:n]], 1

  values = evaluate(Model(init=None, sample=sample), dataset, 'histogram')
  assert values['modes_covered'].value in (13, 14, 15)
  assert values['tv'].value > 0.4 and values['kl_data_model'].value > 1
  assert abs(values['modes_covered'].card['detail']['perfect_sampler'] - 25) < 1e-6
