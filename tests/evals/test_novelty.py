"""Novelty: copies are found, fresh draws are not, and the interval covers."""

import numpy as np
import pytest

from genjax import data
from genjax.evals import novelty
from genjax.types import BadInput, DataSpec


def draws(rng, *sizes):
  return [rng.standard_normal((n, 4)).astype(np.float32) for n in sizes]


def test_copies_are_found():
  rng = np.random.default_rng(0)
  train, held_out, fresh = draws(rng, 200, 200, 300)
  share, _, p = novelty.knn_test(train, train, held_out)
  assert share == 1.0 and p <= 1e-3
  half = np.concatenate([train[:150], fresh[:150]])
  share, _, p = novelty.knn_test(half, train, held_out)
  assert 0.65 < share < 0.85 and p < 0.01


def test_fresh_draws_give_p_roughly_uniform_and_an_interval_that_covers():
  rng = np.random.default_rng(1)
  trials, p, inside = 200, [], []
  for i in range(trials):
    x, train, held_out = draws(rng, 1000, 100, 100)
    share, half, value = novelty.knn_test(x, train, held_out, num_permutations=199, seed=i)
    p.append(value)
    inside.append(abs(share - 0.5) <= half)
  p = np.array(p)
  # 4 standard errors; a binomial test would be far out: many samples share the references
  for level in (0.1, 0.5, 0.9):
    assert abs(np.mean(p <= level) - level) < 4 * np.sqrt(level * (1 - level) / trials)
  assert np.mean(inside) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)


def test_ties_favour_no_side():
  # every training point is also held out
  points = draws(np.random.default_rng(2), 200)[0]
  share, _, p = novelty.knn_test(points, points, points)
  assert 0.35 < share < 0.65 and p > 0.01


def test_evaluator_on_digits():
  dataset = data.load('digits')
  make = lambda: novelty.make(None, estimator='nearest_neighbour', spec=dataset.spec,
                              dataset=dataset, split='test', num_permutations=999)
  train, fresh = dataset.splits['train']['x'], dataset.splits['validation']['x']
  copied = make()({}, lambda n: (train[:n].astype(np.int32), {}))
  assert copied['copies'].value == 1.0 and copied['novelty_knn_p'].value <= 0.001
  held_out = make()({}, lambda n: (fresh[:n].astype(np.int32), {}))
  assert held_out['copies'].value == 0.0 and held_out['novelty_knn_p'].value > 0.001
  assert held_out['novelty_knn'].card['n_reference'] == 800


def test_the_training_split_is_no_held_out_split():
  dataset = data.Dataset('a', DataSpec((4,), None, None), {'train': {}, 'test': {}}, {})
  with pytest.raises(BadInput, match="split='train'.*allowed: test"):
    novelty.make(None, estimator='nearest_neighbour', spec=dataset.spec, dataset=dataset,
                 split='train')
