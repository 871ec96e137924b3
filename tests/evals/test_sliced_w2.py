"""Sliced W2: closed forms, any two numbers of points, and an interval that is not short."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import influence, sliced_w2
from genjax.types import BadInput
from tests.evals import asked


def normal(seed, n, d):
  return np.random.default_rng(seed).standard_normal((n, d))


def test_a_shift():
  x = normal(0, 300, 2)
  # the mean over directions of the squared projection of a vector is its square over d
  assert sliced_w2.sliced_w2(x, x + [3.0, 4.0]) == pytest.approx(5 / np.sqrt(2), rel=1e-9)
  x = normal(1, 50, 5)
  got = sliced_w2.sliced_w2_squared(x, x + 2.0, num_projections=4000)
  assert got == pytest.approx(4.0, rel=0.1)
  assert sliced_w2.sliced_w2(x, x[::-1]) == 0
  assert got != sliced_w2.sliced_w2_squared(x, x + 2.0, num_projections=4000, seed=1)


def test_gaussians_in_closed_form():
  # one dimension: (m_1 - m_2)^2 + (s_1 - s_2)^2
  n = 20000
  quantile = np.sort(normal(2, n, 1), 0)
  got = sliced_w2.sliced_w2_squared(quantile, 1.5 + 2 * quantile, num_projections=1)
  spread = np.var(quantile)
  assert got == pytest.approx((1.5 + quantile.mean())**2 + spread, rel=1e-9)
  got = sliced_w2.sliced_w2_squared(normal(3, n, 1), 1.5 + 2 * normal(4, n, 1), num_projections=1)
  assert got == pytest.approx(1.5**2 + 1, rel=0.05)


@pytest.mark.parametrize('n, m', [(12, 8), (7, 30), (5, 5), (1, 4)])
def test_any_two_numbers_of_points_are_coupled_exactly(n, m):
  x, y = normal(5, n, 3), normal(6, m, 3) + 0.3
  repeated = np.repeat(x, m, 0), np.repeat(y, n, 0)  # as many points of either, of equal mass
  thetas = sliced_w2.directions(3, 10)
  gaps = np.sort(repeated[0] @ thetas, 0) - np.sort(repeated[1] @ thetas, 0)
  assert sliced_w2.sliced_w2_squared(x, y, 10) == pytest.approx(np.mean(gaps**2), rel=1e-12)
  plan = sliced_w2.coupling(n, m)
  assert np.bincount(plan.of_x, plan.mass) == pytest.approx(np.full(n, 1 / n))
  assert np.bincount(plan.of_y, plan.mass) == pytest.approx(np.full(m, 1 / m))


@pytest.mark.slow  # ott takes long to import
def test_one_dimensional_w2_of_other_code():
  ott = pytest.importorskip('ott.tools.sliced')
  x, y = normal(7, 200, 4).astype(np.float32), 0.5 + normal(8, 200, 4).astype(np.float32)
  thetas = sliced_w2.directions(4, 64).T.astype(np.float32)
  theirs = ott.sliced_wasserstein(x, y, proj_fn=lambda z, **_: z @ thetas.T)[0]
  assert sliced_w2.sliced_w2_squared(x, y, 64) == pytest.approx(float(theirs), rel=1e-4)


def test_influences_are_what_leaving_a_point_out_changes():
  x, y = normal(9, 80, 3), 1.5 * normal(10, 60, 3) + 0.5
  value, of_x, of_y = sliced_w2.squared_and_influences(x, y, 20)
  for points, found, without in (
      (x, of_x, lambda i: sliced_w2.sliced_w2_squared(np.delete(x, i, 0), y, 20)),
      (y, of_y, lambda i: sliced_w2.sliced_w2_squared(x, np.delete(y, i, 0), 20))):
    n = len(points)
    left_out = np.array([without(i) for i in range(n)])
    expected = -(n - 1) * (left_out - left_out.mean())
    assert np.corrcoef(expected, found)[0, 1] > 0.99
    assert np.std(found) == pytest.approx(np.std(expected), rel=0.1)
  assert value == pytest.approx(sliced_w2.sliced_w2_squared(x, y, 20), rel=1e-12)


def covered(x_of, y_of, n, m, trials=1000):
  """Of simulated intervals those that contain the mean of the simulated squared distances."""
  ends, values = [], []
  for _ in range(trials):
    squared, a, b = sliced_w2.squared_and_influences(x_of(n), y_of(m), 8)
    values.append(squared)
    ends.append(influence.ends(squared, a, b))
  return [low <= np.mean(values) <= high for low, high in ends]


def not_short(covered):
  """The binomial interval of a simulated coverage contains .95 or lies above it."""
  share = np.mean(covered)
  return share + 1.96 * np.sqrt(share * (1 - share) / len(covered)) >= 0.95


@pytest.mark.parametrize('scale, shift', [(1.0, 0.0), (1.2, 0.3)])
def test_interval_covers_the_expectation(scale, shift):
  rng = np.random.default_rng(11)
  assert not_short(covered(lambda n: shift + scale * rng.standard_normal((n, 2)),
                           lambda m: rng.standard_normal((m, 2)), 60, 90))


@pytest.mark.slow
@pytest.mark.parametrize('noise', [0, 1, 2, 4])
def test_interval_on_features_of_digits(noise):
  dataset, rng = data.load('digits'), np.random.default_rng(12)
  encoder, x = encoders.load('digits', dataset.spec), dataset.splits['train']['x'].astype(int)
  noisy = np.clip(x + rng.integers(-noise, noise + 1, x.shape), 0, 16)
  p, q = encoder.features(noisy), encoder.features(x)
  drawn = lambda a: lambda n: a[rng.integers(0, len(a), n)]
  assert not_short(covered(drawn(p), drawn(q), 300, 400))


def test_features_with_heavy_tails_have_no_interval():
  dataset = data.load('gaussian', dim=3, num_train=40, num_validation=30, num_test=400)
  run = asked.of_samples(sliced_w2, dataset, encoder=encoders.load('identity', dataset.spec),
                         num_samples=400)
  found = run(lambda n: (np.exp(1.5 * normal(13, n, 3)).astype(np.float32), {}))
  assert found['sliced_w2'].value > 0 and found['sliced_w2'].low is None
  assert 'heavy tails' in found['sliced_w2'].card['interval']['reason']
  assert found['sliced_w2_data'].low < found['sliced_w2_data'].high
  assert 'conservative' not in found['sliced_w2_data'].card['interval']['method']


def test_evaluator_on_digits_reports_the_floor():
  dataset = data.load('digits')
  make = lambda **kw: asked.of_samples(
      sliced_w2, dataset, encoder=encoders.load('digits', dataset.spec), **kw)
  train = dataset.splits['train']['x']
  draw = lambda n: (np.random.default_rng(0).integers(0, 17, (n, 8, 8, 1)), {})
  values = make(num_samples=300)(draw)
  found, floor = values['sliced_w2'], values['sliced_w2_data']
  assert found.low > 3 * floor.high and floor.low < floor.value < floor.high
  assert values['sliced_w2_single'].value > 3 * floor.value
  assert found.card['detail']['mind'] == pytest.approx(3 * 16 * found.value**2)
  assert found.card['num_projections'] == 128 and found.card['directions'] == 'random, seed 0'
  copies = make(num_samples=len(train))(lambda n: (train[:n], {}))['sliced_w2']
  assert copies.value == pytest.approx(floor.value, rel=0.5)
  with pytest.raises(BadInput, match='num_projections=0'):
    make(num_projections=0)
