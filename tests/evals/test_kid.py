"""KID: all pairs by hand, no bias, an interval that is not short, other code's figure."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import kid
from genjax.types import BadInput
from tests.evals import asked


def by_hand(x, y):
  """The U-statistic with all kernel values at once."""
  k = lambda a, b: (a @ b.T / a.shape[1] + 1.0) ** 3
  within = lambda a: (k(a, a).sum() - np.trace(k(a, a))) / (len(a) * (len(a) - 1))
  return within(x) + within(y) - 2 * k(x, y).mean()


def sample(seed, n, d, shift=0.0):
  return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32) + np.float32(shift)


def test_equals_all_pairs_by_hand_in_several_blocks(monkeypatch):
  monkeypatch.setattr(kid, 'BLOCK', 16)
  x, y = (sample(i, n, 5, shift=0.3 * i).astype(np.float64) for i, n in ((0, 41), (1, 32)))
  value, low, high = kid.kid(x, y)
  assert value == pytest.approx(by_hand(x, y), rel=1e-10)
  # the jackknife with every point left out in turn
  variance = 0.0
  for left_out, n in ((lambda i: by_hand(np.delete(x, i, 0), y), 41),
                      (lambda i: by_hand(x, np.delete(y, i, 0)), 32)):
    variance += (n - 1) * np.var([left_out(i) for i in range(n)])
  assert value - low == pytest.approx(1.96 * np.sqrt(variance), rel=1e-4)
  assert high - value > value - low
  assert kid.kid(y, x) == pytest.approx((value, low, high), rel=1e-10)


def test_no_bias_at_any_number_of_points_and_half_are_negative():
  rng = np.random.default_rng(2)
  for n, m in ((4, 4), (20, 7)):
    values = np.array([kid.kid(rng.standard_normal((n, 4)), rng.standard_normal((m, 4)))[0]
                       for _ in range(2000)])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(2000)
    assert 0.3 < np.mean(values < 0) < 0.8


def test_population_value_of_a_shift():
  # x ~ N(0, 1), y ~ N(a, 1), d = 1: moments 1, 0, 1, 0 and 1, a, a^2 + 1, a^3 + 3 a, and the kernel
  # weights the squared differences of the moments by 1, 3, 3, 1
  rng, a = np.random.default_rng(3), 0.5
  truth = 3 * a**2 + 3 * a**4 + (a**3 + 3 * a) ** 2
  values = np.array([kid.kid(rng.standard_normal((30, 1)), rng.standard_normal((30, 1)) + a)[0]
                     for _ in range(4000)])
  assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(4000)


def test_constant_features():
  same = np.full((10, 3), 0.5, np.float32)
  assert kid.kid(same, same) == pytest.approx((0, 0, 0), abs=1e-12)


def population(kind, shift, rng):
  """Finite populations, whose squared MMD is a sum over all of their pairs: [2000, d] twice."""
  d = 8
  x, y = rng.standard_normal((2, 2000, d))
  if kind == 'clusters':
    x, y = (a + 2 * np.repeat(rng.standard_normal((1, 10, d)), 200, 1)[0] * (np.arange(d) < 4)
            for a in (x, y))
  if kind == 'one direction':  # as in features of which one component dominates
    x[:, 0], y[:, 0] = 3 + 3 * x[:, 0], 3 + 3 * y[:, 0]
  return x, y + shift


def covered(kind, shift, n, trials=1000):
  """Of simulated intervals those that contain the populations' squared MMD."""
  rng = np.random.default_rng(4)
  p, q = population(kind, shift, rng)
  q = p if kind != 'clusters' and not shift else q
  k = lambda a, b: ((a @ b.T / a.shape[1] + 1.0) ** 3).mean()
  truth = k(p, p) + k(q, q) - 2 * k(p, q)
  ends = np.array([kid.kid(p[rng.integers(0, 2000, n)], q[rng.integers(0, 2000, n)])
                   for _ in range(trials)])
  return (ends[:, 1] <= truth) & (truth <= ends[:, 2])


def not_short(covered):
  """The binomial interval of a simulated coverage contains .95 or lies above it."""
  share = np.mean(covered)
  return share + 1.96 * np.sqrt(share * (1 - share) / len(covered)) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['gaussian', 'clusters', 'one direction'])
@pytest.mark.parametrize('shift', [0.0, 0.1, 0.3, 1.0])
def test_interval_covers_the_population_value(kind, shift):
  assert not_short(covered(kind, shift, 150))


def test_parity_with_other_code():
  fidelity = pytest.importorskip('torch_fidelity.metric_kid', exc_type=ImportError)
  torch = pytest.importorskip('torch')
  x, y = (np.maximum(sample(i, 500, 256), 0) * (1 + 0.01 * i) for i in range(2))
  theirs = fidelity.kid_features_to_metric(
      torch.tensor(x.astype(np.float64)), torch.tensor(y.astype(np.float64)), kid_subsets=3,
      kid_subset_size=200, rng_seed=5, verbose=False)
  rng = np.random.RandomState(5)
  ours = []
  for _ in range(3):
    rows = [rng.choice(500, 200, replace=False) for _ in range(2)]
    ours.append(kid.kid(x[rows[0]], y[rows[1]])[0])
  assert np.mean(ours) == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-6)


def test_evaluator_on_digits_reports_the_floor():
  dataset = data.load('digits')
  run = asked.of_samples(kid, dataset, encoder=encoders.load('digits', dataset.spec),
                         num_samples=300)
  rng, train = np.random.default_rng(0), dataset.splits['train']['x']
  values = run(lambda n: (np.clip(train[:n] + rng.integers(-6, 7, (n, 8, 8, 1)), 0, 16), {}))
  found, floor = values['kid'], values['kid_data']
  assert found.value > 10 * abs(floor.value) and values['kid_single'].value > found.value
  assert floor.low < 0 < floor.high and found.low > 0
  assert found.card['kernel'] and found.card['interval']['estimand'] == kid.ESTIMAND


def test_two_samples_are_too_few():
  dataset = data.load('digits')
  with pytest.raises(BadInput, match='allowed: 3'):
    asked.of_samples(kid, dataset, encoder=encoders.load('digits', dataset.spec), num_samples=2)
