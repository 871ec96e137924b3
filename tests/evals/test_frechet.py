"""Frechet distance: closed forms, its bias, its interval."""

import numpy as np
import pytest
from scipy import linalg

from genjax import data, encoders
from genjax.evals import frechet
from genjax.types import BadInput


def with_moments(rng, n, mean, covariance):
  """A sample whose mean and covariance (ddof=1) are exactly these."""
  x = rng.standard_normal((n, len(mean)))
  x -= x.mean(0)
  x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
  return x @ np.linalg.cholesky(covariance).T + mean


def random_covariance(rng, d):
  a = rng.standard_normal((d, d))
  return a @ a.T / d + 0.1 * np.eye(d)


def test_gaussians_in_closed_form():
  rng = np.random.default_rng(0)
  d = 6
  s1, s2, mean = random_covariance(rng, d), random_covariance(rng, d), rng.standard_normal(d)
  got, _ = frechet.frechet_distance(with_moments(rng, 50, np.zeros(d), s1),
                                    with_moments(rng, 80, mean, s2))
  root = linalg.sqrtm(s1)
  cross = linalg.sqrtm(root @ s2 @ root).real
  assert abs(got - (mean @ mean + np.trace(s1 + s2 - 2 * cross))) < 1e-9


def test_commuting_and_singular_covariances():
  rng = np.random.default_rng(1)
  l1, l2 = np.array([1.0, 4.0, 0.25]), np.array([2.0, 1.0, 9.0])
  got, half = frechet.frechet_distance(with_moments(rng, 30, np.zeros(3), np.diag(l1)),
                                       with_moments(rng, 30, np.zeros(3), np.diag(l2)))
  assert abs(got - np.sum((np.sqrt(l1) - np.sqrt(l2)) ** 2)) < 1e-9 and half > 0
  # a single repeated point: mean and trace are left, and no interval
  x = with_moments(rng, 30, np.zeros(3), np.diag(l1))
  got, half = frechet.frechet_distance(np.ones((20, 3)), x)
  assert abs(got - (3 + l1.sum())) < 1e-9 and half is None
  # fewer points than dimensions
  wide = rng.standard_normal((5, 12))
  assert abs(frechet.frechet_distance(wide, wide + 1.0)[0] - 12) < 1e-9


@pytest.mark.parametrize('n, m', [(400, 400), (800, 300)])
def test_first_order_bias(n, m):
  rng = np.random.default_rng(2)
  d, trials = 5, 150
  identity = frechet.first_order_bias(with_moments(rng, 50, np.zeros(d), np.eye(d)), n, n)
  assert abs(identity - d * (d + 5) / (2 * n)) < 1e-9
  scale = np.linspace(0.5, 2, d)
  values = [frechet.frechet_distance(rng.standard_normal((n, d)) * scale,
                                     rng.standard_normal((m, d)) * scale)[0] for _ in range(trials)]
  expected = frechet.first_order_bias(with_moments(rng, 50, np.zeros(d), np.diag(scale**2)), n, m)
  error = np.std(values) / np.sqrt(trials)
  assert abs(np.mean(values) - expected) < 4 * error + 0.02 * expected


def coverage(draw_x, draw_y, trials):
  out = np.array([frechet.frechet_distance(draw_x(), draw_y()) for _ in range(trials)])
  return np.mean(np.abs(out[:, 0] - out[:, 0].mean()) <= out[:, 1])


def test_interval_covers_the_expectation_at_this_n():
  # clusters, as features of classes are; 300 trials: 4 standard errors of .95 are .05
  rng = np.random.default_rng(3)
  d = 8
  centres = 2 * rng.standard_normal((10, d))

  def draw(n, shift):
    return centres[rng.integers(0, 10, n)] + (1 + shift) * rng.standard_normal((n, d)) + shift

  share = coverage(lambda: draw(500, 0.2), lambda: draw(300, 0.0), 300)
  assert share > 0.9
  # equal distributions: conservative, not short
  share = coverage(lambda: draw(500, 0.0), lambda: draw(300, 0.0), 200)
  assert share > 0.94


def test_evaluator_on_digits_reports_the_floor():
  dataset, encoder = data.load('digits'), encoders.load('digits')
  train = dataset.splits['train']['x']
  draw = lambda n: (np.random.default_rng(0).permutation(train)[:n], {'seconds': 1.0, 'nfe': 1})
  values = frechet.make(None, estimator='encoder', dataset=dataset, split='test', encoder=encoder)(
      {}, draw)
  fd, floor = values['fd'], values['fd_floor']
  assert abs(fd.value - floor.value) < 0.1 and floor.low <= floor.value <= floor.high
  assert fd.card['sha256'] == encoder.card['sha256']
  assert (fd.card['n_generated'], fd.card['n_reference']) == (1024, 400)
  # noise is far away, a repeated image has no interval
  noise = lambda n: (np.random.default_rng(0).integers(0, 17, (n, 8, 8, 1)), {})
  one = lambda n: (np.repeat(train[:1], n, 0), {})
  make = lambda: frechet.make(None, estimator='encoder', dataset=dataset, split='test',
                              encoder=encoder)
  assert make()({}, noise)['fd'].value > 20 * floor.value
  repeated = make()({}, one)['fd']
  assert repeated.value > 20 * floor.value and repeated.low is None
  assert 'singular' in repeated.card['interval']['reason']


def test_no_encoder_is_refused_with_the_command():
  with pytest.raises(BadInput, match='experiments.encoder --data=digits'):
    frechet.make(None, estimator='encoder', dataset=data.load('digits'), split='test')
