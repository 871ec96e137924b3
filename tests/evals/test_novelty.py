"""Novelty: copies are found, however few, fresh draws are not, and the interval covers."""

import numpy as np
import pytest
from scipy import stats

from genjax import data, encoders
from genjax.evals import novelty, two_sample
from genjax.types import BadInput, DataSpec
from tests.evals import asked

DIGITS = data.load('digits')
PIXELS = encoders.load('identity', DIGITS.spec)
TRAIN = DIGITS.splits['train']['x']


def draws(rng, *sizes):
  return [rng.standard_normal((n, 4)).astype(np.float32) for n in sizes]


def figures(x, train, held_out, seed=0, num_permutations=999):
  """share, half width, Test."""
  points, label = novelty.pool(train, held_out, seed)
  near = novelty.nearest(x, points)
  return *novelty.share_near(near, label), novelty.knn_test(near, label, num_permutations, seed)


def evaluator(split='test', num_permutations=999, num_plantings=0, **kw):
  return asked.of_samples(novelty, DIGITS, pixels=PIXELS, split=split, num_plantings=num_plantings,
                          num_permutations=num_permutations, **kw)


def contains_or_above(hits, level=0.95):
  """Is the 95 % binomial interval of this coverage around the level, or above it?"""
  return stats.binomtest(int(np.sum(hits)), len(hits)).proportion_ci(method='wilson').high >= level


def test_copies_are_found():
  rng = np.random.default_rng(0)
  train, held_out, fresh = draws(rng, 200, 200, 300)
  share, _, test = figures(train, train, held_out)
  assert share == 1.0 and test.p <= 1e-3
  few = np.concatenate([train[:15], fresh[:285]])
  share, _, test = figures(few, train, held_out)
  assert share < 0.6 and test.p < 0.01 and test.scores[1] == test.scores.max()


def test_swapped_sets_are_noticed():
  rng = np.random.default_rng(0)
  train, held_out, fresh = draws(rng, 200, 200, 300)
  copied = np.concatenate([train[:30], fresh[:270]])
  share, half, test = figures(copied, train, held_out)
  swapped = figures(copied, held_out, train)  # training set <-> held-out
  assert swapped[:2] == pytest.approx((1 - share, half)) and swapped[2].p > 0.1
  assert test.p < 0.01
  assert swapped[2].scores == pytest.approx(-test.scores)
  # samples <-> training set: all that are copies are found, of another number
  assert figures(train, copied[:200], held_out)[0] > share + 0.02


def test_the_share_is_that_of_brute_force():
  train, held_out, x = draws(np.random.default_rng(3), 30, 30, 50)
  distance = lambda y: np.linalg.norm(x[:, None] - y[None], axis=-1).min(1)
  share = figures(x, train, held_out)[0]
  assert share == np.mean(distance(train) < distance(held_out))


@pytest.mark.slow
@pytest.mark.parametrize('copied', [0.0, 0.3])
def test_the_interval_covers(copied):
  # 1,000 simulations of 1,000 and 300 samples, 100 and 400 references a side: 0.97 and more
  n, m, shares, halves = 200, 50, [], []
  for i in range(1000):
    rng = np.random.default_rng(i)
    x, train, held_out = draws(rng, n, m, m)
    k = int(copied * n)
    x[:k] = train[rng.integers(m, size=k)]
    points, label = novelty.pool(train, held_out, i)
    share, half = novelty.share_near(novelty.nearest(x, points), label)
    shares.append(share)
    halves.append(half)
  assert contains_or_above(np.abs(shares - np.mean(shares)) <= halves)
  assert np.mean(halves) < 3 * np.std(shares) * 1.96


@pytest.mark.slow
def test_p_is_uniform_for_fresh_draws():
  trials = 300
  p = np.array([figures(*draws(np.random.default_rng(i), 500, 100, 100), seed=i,
                        num_permutations=199)[2].p for i in range(trials)])
  # 4 standard errors; a binomial test would be far out: many samples share the references
  for level in (0.05, 0.1, 0.5, 0.9):
    assert abs(np.mean(p <= level) - level) < 4 * np.sqrt(level * (1 - level) / trials)


def test_ties_favour_no_side():
  points = draws(np.random.default_rng(2), 200)[0]  # every training point is also held out
  share, _, test = figures(points, points, points)
  assert 0.35 < share < 0.65 and test.p > 0.01


def test_one_repeated_sample_is_no_evidence():
  # one label decides: the p-value is the share of the labels, 1/2 or 1
  x, train, held_out = draws(np.random.default_rng(0), 1, 50, 50)
  assert figures(np.repeat(x, 100, 0), train, held_out)[2].p > 0.4


@pytest.mark.parametrize('n', [1000, pytest.param(5000, marks=pytest.mark.slow)])
def test_five_per_cent_of_copies_are_found_on_digits(n):
  planted_on_digits(n, generators=6, splits=10)


@pytest.mark.slow
@pytest.mark.parametrize('n', [1000, 5000])
def test_the_false_alarm_rate_on_digits_is_five_per_cent(n):
  planted_on_digits(n, generators=40, splits=10, calibrated=True)


def planted_on_digits(n, generators, splits, calibrated=False):
  """{case: rate of p < 0.05}, asserted.

  A third of digits gives an honest generator (a point of it, plus noise), the rest is dealt into
  train and held-out. 5 % of n samples become copies of train, or those with each pixel one level
  up, down, or as it is. Measured, 100 generators x 10 splits: the false alarm rate (95 % interval)
  is 0.039 (0.029 to 0.053) at n = 1,000 and 0.049 (0.037 to 0.064) at 5,000, of which 199
  permutations let 0.045 be expected; power 1.000 (0.996 to 1) for both kinds of copies at both n.
  The share of all samples alone found 0.20 and 0.19 (100 splits, n = 1,000).
  """
  every = np.concatenate([s['x'] for s in DIGITS.splits.values()]).reshape(-1, 64).astype(float)
  found = {'honest': [], 'copies': [], 'noisy': []}
  for seed in range(generators):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(every))
    third, points = every[order[:599]], every[order[599:]]
    x = third[rng.integers(599, size=n)] + 1.5 * rng.standard_normal((n, 64))
    noisy = np.clip(points + rng.integers(-1, 2, points.shape), 0, 16)
    near = novelty.nearest(np.clip(np.round(x), 0, 16), points)
    copies = {'copies': novelty.nearest(points, points), 'noisy': novelty.nearest(noisy, points)}
    for split in range(splits):
      label = np.zeros(len(points), int)
      label[rng.permutation(len(points))[:599]] = 1
      rows = rng.permutation(n)[:n // 20]
      which = rng.choice(np.flatnonzero(label), len(rows))
      for case in found:
        mixed = [np.array(a) for a in near]
        if case != 'honest':
          for a, b in zip(mixed, copies[case], strict=True):
            a[rows] = b[which]
        test = novelty.knn_test(novelty.Near(*mixed), label, 199, split)
        found[case].append(test.p < 0.05)
  rates = {case: np.mean(hits) for case, hits in found.items()}
  assert rates['copies'] >= 0.9 and rates['noisy'] >= 0.9
  assert abs(rates['honest'] - 0.05) <= (0.02 if calibrated else 0.1)
  return rates


def test_evaluator_on_digits():
  held_out = DIGITS.splits['validation']['x'].astype(np.int32)
  copied = evaluator()(lambda n: (TRAIN[:n].astype(np.int32), {}))
  assert copied['copies'].value == 1.0 and copied['novelty_knn_p'].value <= 0.001
  honest = evaluator(num_samples=200, num_plantings=5)(
      lambda n: (held_out[:n], {'sampler': 'direct'}))
  assert honest['copies'].value == 0.0 and honest['novelty_knn_p'].value > 0.001
  card = honest['novelty_knn'].card
  assert (card['n_reference'], card['n_generated'], card['encoder']) == (800, 200, 'identity')
  assert card['sampler'] == 'direct'
  power = honest['novelty_knn_p'].card['detail']['power']
  assert set(power) == {'0.01', '0.05', '0.2'} and power['0.2'] == 1.0
  # copies of 200 of the 1,197 examples, of which 400 are in the pool
  assert honest['novelty_knn_copies'].value == pytest.approx(0.5 + 400 / 2 / 1197, abs=0.1)
  assert honest['novelty_knn_p_copies'].value <= 0.001


def test_copies_of_a_training_set_that_is_compared_whole_have_share_one():
  less = DIGITS._replace(splits={**DIGITS.splits, 'train': {'x': TRAIN[:300]}})
  out = asked.of_samples(novelty, less, pixels=PIXELS, num_plantings=0)(
      lambda n: (TRAIN[300:400], {}))
  assert out['novelty_knn_copies'].value == 1.0 and out['copies'].value == 0.0


def test_samples_that_are_not_finite_are_no_figures():
  out = evaluator(num_samples=100)(lambda n: (np.full((n, 8, 8, 1), np.nan), {}))
  for name in ('novelty_knn', 'novelty_knn_p', 'copies'):
    assert out[name].value is None and 'not finite' in out[name].card['reason']
  assert out['novelty_knn_copies'].value > 0.6


def test_the_training_split_is_no_held_out_split():
  dataset = data.Dataset('a', DataSpec((4,), None, None), {'train': {}, 'test': {}}, {})
  with pytest.raises(BadInput, match="split='train'.*allowed: test"):
    two_sample.held_out('novelty', dataset, 'train')
  with pytest.raises(BadInput, match="split='train'.*allowed: validation, test"):
    evaluator(split='train')
