"""Frechet distance: closed forms, its bias, its interval, its extrapolation, and other code."""


import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import frechet
from genjax.types import BadInput
from tests.evals import asked, coverage


def with_moments(rng, n, mean, covariance):
  """A sample whose mean and covariance (ddof=1) are exactly these."""
  x = rng.standard_normal((n, len(mean)))
  x -= x.mean(0)
  x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
  return x @ np.linalg.cholesky(covariance).T + mean


def random_covariance(rng, d):
  a = rng.standard_normal((d, d))
  return a @ a.T / d + 0.1 * np.eye(d)


def definition(m1, s1, m2, s2):
  """The formula with roots by eigenvectors, S_1^(1/2) S_2 S_1^(1/2) formed."""
  def root(s):
    l, v = np.linalg.eigh(s)
    return (v * np.sqrt(np.maximum(l, 0))) @ v.T

  cross = root(root(s1) @ s2 @ root(s1))
  return (m1 - m2) @ (m1 - m2) + np.trace(s1 + s2 - 2 * cross)


def test_gaussians_in_closed_form():
  rng = np.random.default_rng(0)
  d = 6
  s1, s2, mean = random_covariance(rng, d), random_covariance(rng, d), rng.standard_normal(d)
  x, y = with_moments(rng, 50, np.zeros(d), s1), with_moments(rng, 80, mean, s2)
  got, ends = frechet.frechet_distance(x, y)
  assert abs(got - definition(np.zeros(d), s1, mean, s2)) < 1e-9
  swapped = frechet.frechet_distance(y, x)
  assert swapped[0] == pytest.approx(got) and swapped[1] == pytest.approx(ends)
  known = frechet.known_moments(mean, s2)
  assert known.regular and abs(frechet.distance(frechet.moments(x), known) - got) < 1e-9


def test_commuting_and_singular_covariances():
  rng = np.random.default_rng(1)
  l1, l2 = np.array([1.0, 4.0, 0.25]), np.array([2.0, 1.0, 9.0])
  got, ends = frechet.frechet_distance(with_moments(rng, 30, np.zeros(3), np.diag(l1)),
                                       with_moments(rng, 30, np.zeros(3), np.diag(l2)))
  assert abs(got - np.sum((np.sqrt(l1) - np.sqrt(l2)) ** 2)) < 1e-9 and ends[0] < got < ends[1]
  # a single repeated point: mean and trace are left, and no interval
  x = with_moments(rng, 30, np.zeros(3), np.diag(l1))
  got, ends = frechet.frechet_distance(np.ones((20, 3)), x)
  assert abs(got - (3 + l1.sum())) < 1e-9 and ends is None


@pytest.mark.parametrize('d', [16, 64])
def test_small_eigenvalues_are_not_raised(d):
  # variances from 1 to 1e-8, 1.7 times as large on the other side, in turned coordinates: a floor
  # under the eigenvalues of the product, for influences, took 2e-7 (d = 16) and 2e-6 (64) away
  rng = np.random.default_rng(3)
  variances = np.logspace(0, -8, d)
  turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
  sides = [(with_moments(rng, n, np.zeros(d), np.eye(d)) * np.sqrt(a * variances)) @ turn
           for n, a in ((6 * d, 1.0), (7 * d, 1.7))]
  exact = np.sum(variances) * (np.sqrt(1.7) - 1.0) ** 2
  got, ends = frechet.frechet_distance(*sides)
  assert got == pytest.approx(exact, abs=1e-11) and ends[0] < got < ends[1]
  assert got == pytest.approx(frechet.distance(*map(frechet.moments, sides)), abs=1e-11)


def test_few_points_constant_and_dependent_features(monkeypatch):
  monkeypatch.setattr(frechet, 'BLOCK', 16)  # several blocks
  rng = np.random.default_rng(2)
  wide, other = rng.standard_normal((5, 12)), rng.standard_normal((200, 12))
  assert abs(frechet.frechet_distance(wide, wide + 1.0)[0] - 12) < 1e-9
  flat, copy = other.copy(), other.copy()
  flat[:, 3], copy[:, 7] = 0.1, copy[:, 2] - copy[:, 5]
  sets = [wide, other, flat.astype(np.float32), copy]
  for x in sets:
    for y in sets:
      moments = [f(a.astype(np.float64)) for a in (x, y)
                 for f in (lambda a: a.mean(0), lambda a: np.cov(a, rowvar=False))]
      got, ends = frechet.frechet_distance(x, y)
      assert got == pytest.approx(definition(*moments), abs=1e-6)
      assert (ends is None) == (x is not other or y is not other)
  assert not frechet.moments(copy).regular and not frechet.moments(sets[2]).regular


def test_a_covariance_that_is_none_is_refused():
  s = np.diag([1.0, 2.0, -0.1])
  with pytest.raises(BadInput, match='eigenvalue -0.1'):
    frechet.known_moments(np.zeros(3), s)
  s[2, 2] = -1e-9  # rounding is clipped
  assert frechet.distance(frechet.known_moments(np.zeros(3), s),
                          frechet.known_moments(np.ones(3), s)) == pytest.approx(3, abs=1e-9)


@pytest.mark.parametrize('n, m', [(400, 400), (800, 300)])
def test_first_order_bias(n, m):
  rng = np.random.default_rng(2)
  d, trials = 5, 150
  bias = lambda s: frechet.first_order_bias(frechet.known_moments(np.zeros(d), s), n, m)
  assert abs(bias(np.eye(d)) - d * (d + 5) / 4 * (1 / n + 1 / m)) < 1e-9
  scale = np.linspace(0.5, 2, d)
  values = [frechet.frechet_distance(rng.standard_normal((n, d)) * scale,
                                     rng.standard_normal((m, d)) * scale)[0] for _ in range(trials)]
  expected = bias(np.diag(scale**2))
  error = np.std(values) / np.sqrt(trials)
  assert abs(np.mean(values) - expected) < 4 * error + 0.02 * expected


@pytest.mark.parametrize('name', ['exponential', 'log-normal 1/2'])
def test_first_order_bias_is_by_the_fourth_moments_of_the_features(name):
  # by those of a Gaussian it is a third or more too small
  mean, own, gaussian = coverage.bias(np.random.default_rng(5), coverage.FEATURES[name], 4, 500,
                                      500, 100)
  assert own == pytest.approx(mean, rel=0.15) and gaussian < 0.85 * mean


def test_features_with_heavy_tails_have_no_interval():
  dataset = data.load('gaussian', dim=3, num_train=400, num_validation=30, num_test=400)
  run = asked.of_samples(frechet, dataset, encoder=encoders.load('identity', dataset.spec),
                         num_samples=400)
  rng = np.random.default_rng(9)
  heavy = run(lambda n: (np.exp(1.5 * rng.standard_normal((n, 3))).astype(np.float32), {}))
  for name in ('fd', 'fd_inf'):
    assert heavy[name].value > 0 and heavy[name].low is None
    assert 'heavy tails (kurtosis' in heavy[name].card['interval']['reason']
    assert heavy[f'{name}_data'].low is not None


def draws(seed, d, clusters=True):
  """draw(n, shift): clusters, as features of classes are, or a Gaussian."""
  rng = np.random.default_rng(seed)
  centres = 2.0 * clusters * rng.standard_normal((10, d))

  def draw(n, shift):
    at = centres[rng.integers(0, 10, n)]
    return (at + (1 + shift) * rng.standard_normal((n, d)) + shift).astype(np.float32)

  return draw


def not_short(covered):
  """The binomial interval of a simulated coverage contains .95 or lies above it."""
  share = np.mean(covered)
  return share + 1.96 * np.sqrt(share * (1 - share) / len(covered)) >= 0.95


def covered(x_of, y_of, n, m, trials=1000):
  """Of simulated intervals those that contain the mean of the simulated distances."""
  out = [frechet.frechet_distance(x_of(n), y_of(m)) for _ in range(trials)]
  mean = np.mean([value for value, _ in out])
  return [low <= mean <= high for _, (low, high) in out]


@pytest.mark.slow
@pytest.mark.parametrize('d, clusters, shift, n, m', [
    (8, False, 1.0, 300, 500), (8, True, 0.0, 500, 300), (8, False, 0.0, 24, 200),
    (1, False, 0.3, 200, 200), (2, True, 0.5, 200, 200)])
def test_interval_covers_the_expectation_at_this_n(d, clusters, shift, n, m):
  draw = draws(3, d, clusters)
  assert not_short(covered(lambda n: draw(n, shift), lambda m: draw(m, 0.0), n, m))


@pytest.mark.slow
@pytest.mark.parametrize('noise', [0, 1, 2, 4])
def test_interval_on_features_of_digits(noise):
  # a few directions hold most of their variance
  dataset, rng = data.load('digits'), np.random.default_rng(4)
  encoder, x = encoders.load('digits', dataset.spec), dataset.splits['train']['x'].astype(int)
  noisy = np.clip(x + rng.integers(-noise, noise + 1, x.shape), 0, 16)
  p, q = encoder.features(noisy), encoder.features(x)
  drawn = lambda a: lambda n: a[rng.integers(0, len(a), n)]
  assert not_short(covered(drawn(p), drawn(q), 400, 400))


@pytest.mark.slow
@pytest.mark.parametrize('clusters', [False, True])
@pytest.mark.parametrize('shift', [0.0, 0.3, 1.0])
def test_interval_of_the_extrapolation(clusters, shift):
  draw = draws(4, 6, clusters)
  reference = frechet.moments(draw(300, 0.0))
  out = np.array([frechet.extrapolated(draw(240, shift), reference) for _ in range(1000)])
  assert not_short(np.abs(out[:, 0] - out[:, 0].mean()) <= out[:, 1])


def test_extrapolation_removes_the_bias_of_the_samples():
  d, n, shift = 6, 200, 0.1
  draw, reference = draws(5, d, False), frechet.known_moments(np.zeros(d), np.eye(d))
  sets = [draw(n, shift) for _ in range(200)]
  found = np.array([frechet.extrapolated(x, reference)[0] for x in sets])
  plain = np.array([frechet.distance(frechet.moments(x), reference) for x in sets])
  truth, error = 2 * d * shift**2, np.std(found) / np.sqrt(len(sets))
  assert abs(found.mean() - truth) < 4 * error
  assert plain.mean() - truth > 10 * error


def test_extrapolation_is_the_regression_of_the_distances():
  x, y = draws(6, 4)(200, 0.2), draws(7, 4)(90, 0.0)
  number, b = frechet.sizes(200), frechet.moments(y)
  assert (number[0], number[-1], len(number)) == (20, 200, 15)
  order = np.random.default_rng(3).permutation(200)
  values = [frechet.frechet_distance(x[order[:n]], y)[0] for n in number]
  intercept = np.polyfit(1 / number, values, 1)[1]
  assert frechet.extrapolated(x, b, 3)[0] == pytest.approx(intercept, rel=1e-8)
  assert frechet.extrapolated(x, b, 4)[0] != pytest.approx(intercept, rel=1e-3)


def test_parity_with_other_code():
  fidelity = pytest.importorskip('torch_fidelity.metric_fid', exc_type=ImportError)
  pytorch_fid = pytest.importorskip('pytorch_fid.fid_score', exc_type=ImportError)
  rng = np.random.default_rng(8)
  x = rng.standard_normal((400, 96)) @ rng.standard_normal((96, 96))
  y = rng.standard_normal((500, 96)) @ rng.standard_normal((96, 96)) + 0.5
  got = frechet.frechet_distance(x, y)[0]
  moments = [(a.mean(0), np.cov(a, rowvar=False)) for a in (x, y)]
  stats = [{'mu': m, 'sigma': s} for m, s in moments]
  theirs = fidelity.fid_statistics_to_metric(*stats, False)['frechet_inception_distance']
  assert got == pytest.approx(theirs, rel=1e-6)
  assert got == pytest.approx(pytorch_fid.calculate_frechet_distance(*moments[0], *moments[1]),
                              rel=1e-6)


@pytest.mark.slow
def test_two_thousand_dimensions_against_sqrtm():
  linalg = pytest.importorskip('scipy.linalg')
  rng = np.random.default_rng(9)
  d = 2048
  scale = np.linspace(0.2, 2, d)
  x, y = rng.standard_normal((3000, d)) * scale, rng.standard_normal((3000, d)) * 1.1
  a, b = frechet.moments(x), frechet.moments(y)
  got = frechet.distance(a, b)
  s = [np.cov(v, rowvar=False) for v in (x, y)]
  cross = linalg.sqrtm(s[0] @ s[1]).real
  expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s[0] + s[1] - 2 * cross)
  assert got == pytest.approx(expected, rel=1e-6)


def digits(**kw):
  dataset = data.load('digits')
  encoder = encoders.load('digits', dataset.spec)
  return dataset, asked.of_samples(frechet, dataset, encoder=encoder, **kw)


def test_evaluator_on_digits_reports_the_floor():
  dataset, run = digits()
  train = dataset.splits['train']['x']
  rng = np.random.default_rng(0)
  values = run(lambda n: (rng.permutation(train)[:n], {'seconds': 1.0, 'nfe': 1}))
  fd, floor = values['fd'], values['fd_data']
  assert abs(fd.value - floor.value) < 0.1 and floor.low <= floor.value <= floor.high
  y = encoders.load('digits', dataset.spec).features(dataset.splits['test']['x'])
  bias = frechet.first_order_bias(frechet.moments(y), 1024, 400, y)
  assert fd.card['sha256'] and fd.card['detail']['bias_first_order'] == pytest.approx(bias)
  assert bias != pytest.approx(frechet.first_order_bias(frechet.moments(y), 1024, 400), rel=0.02)
  assert (fd.card['n_generated'], fd.card['n_reference']) == (1024, 400)
  # fewer samples lie higher, and the line through them ends below
  assert values['fd_inf'].low < values['fd_inf'].value < fd.value
  assert '1 / n' in values['fd_inf'].card['recipe']
  single = values['fd_single']
  assert single.value > 20 * floor.value and single.low is None
  assert 'singular' in single.card['interval']['reason']
  assert values['fd_inf_single'].value is None
  noise = run(lambda n: (rng.integers(0, 17, (n, 8, 8, 1)), {}))
  assert noise['fd'].value > 20 * floor.value


def test_too_few_samples_to_extrapolate():
  dataset, run = digits(num_samples=160)
  draw = lambda n: (dataset.splits['train']['x'][:n], {})
  found = run(draw)['fd_inf']
  assert found.value is None and '160 samples of dimension 16' in found.card['reason']
  assert 'fd_inf' not in digits(extrapolate=False)[1](draw)


def test_features_that_are_not_finite_have_no_distance():
  dataset = data.load('gaussian', dim=3, num_train=40, num_validation=30, num_test=30)
  run = asked.of_samples(frechet, dataset, encoder=encoders.load('identity', dataset.spec),
                         num_samples=35)
  values = run(lambda n: (np.full((n, 3), np.nan, np.float32), {}))
  assert values['fd'].value is None and 'not finite' in values['fd'].card['reason']
  assert values['fd_data'].value > 0
