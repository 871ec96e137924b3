"""Precision, recall, density and coverage: brute force, and identical distributions."""

import numpy as np
import pytest

from genjax import data
from genjax.evals import neighbours, prdc
from genjax.types import BadInput


def brute(x, y, k_ball, k_density):
  distance = lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=-1)
  radius = lambda a, k: np.sort(distance(a, a), 1)[:, k]  # column 0 is the point itself
  xy = distance(x, y)
  yx = xy.T
  return {
      'precision': np.mean(np.any(xy <= radius(y, k_ball), 1)),
      'recall': np.mean(np.any(yx <= radius(x, k_ball), 1)),
      'density': np.sum(xy < radius(y, k_density)) / (k_density * len(x)),
      'coverage': np.mean(xy.min(0) < radius(y, k_density))}


@pytest.mark.parametrize('d', [3, 200])  # differences, and the matrix product
def test_equals_brute_force(d):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((300, d)).astype(np.float32)
  y = (rng.standard_normal((280, d)) * 1.1 + 0.2).astype(np.float32)
  got, expected = prdc.prdc(x, y, 3, 5), brute(x, y, 3, 5)
  for name, value in expected.items():
    assert abs(got[name] - value) < 1e-9, name


def test_identical_gaussians():
  # E coverage = 1 - prod_{i<k} (N-1-i) / (N-1+M-i) -> 1 - 2^-k; density -> 1 in low dimension
  rng = np.random.default_rng(1)
  n, k = 400, 5
  runs = [prdc.prdc(rng.standard_normal((n, 2)), rng.standard_normal((n, 2))) for _ in range(20)]
  i = np.arange(k)
  expected = 1 - np.prod((n - 1 - i) / (n - 1 + n - i))
  coverage = [r['coverage'] for r in runs]
  assert abs(np.mean(coverage) - expected) < 4 * np.std(coverage) / np.sqrt(20)
  assert abs(expected - (1 - 2.0**-k)) < 0.002
  assert abs(np.mean([r['density'] for r in runs]) - 1) < 0.05


def test_ties():
  # all points equal: radii are 0, so <= counts and < does not
  same = np.ones((20, 4))
  assert prdc.prdc(same, same) == {'precision': 1.0, 'recall': 1.0, 'density': 0.0, 'coverage': 0.0}


def test_nearest_excludes_a_point_and_not_its_duplicate():
  x = np.array([[0.0], [0.0], [1.0], [3.0]], np.float32)
  d2, index = neighbours.nearest(x, x, k=2, same=True, block=3)
  np.testing.assert_array_equal(np.asarray(d2), [[0, 1], [0, 1], [1, 1], [4, 9]])
  np.testing.assert_array_equal(np.asarray(index), [[1, 2], [0, 2], [0, 1], [2, 0]])


def test_half_of_the_support_loses_recall_not_precision():
  rng = np.random.default_rng(2)
  dataset = data.load('ring8', num_train=500, num_validation=10, num_test=600)
  x = np.abs(rng.permutation(dataset.splits['train']['x']))
  values = prdc.make(None, estimator='raw', dataset=dataset, split='test')(
      {}, lambda n: (x[:n], {}))
  assert values['precision'].value > 0.9 > 0.6 > values['recall'].value
  assert values['coverage_ceiling'].value > 0.9
  card = values['coverage'].card
  assert card['n_generated'] == card['n_reference'] == 500 and values['coverage'].low is None
  assert card['interval']['reason'] and 'radius' in card['ties']


def test_as_many_neighbours_as_points_is_refused():
  dataset = data.load('ring8', num_train=50, num_validation=10, num_test=60)
  with pytest.raises(BadInput, match='k_density=50'):
    prdc.make(None, estimator='raw', dataset=dataset, split='test', k_density=50)
