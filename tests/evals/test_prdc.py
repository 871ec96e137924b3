"""Precision, recall, density and coverage: brute force, peers, identical sets, intervals."""

import numpy as np
import pytest

from genjax import data, encoders, wiring
from genjax.evals import card as cards
from genjax.evals import prdc
from genjax.types import BadInput
from tests.evals import asked


def brute(x, y, k_ball, k_density):
  distance = lambda a, b: np.sqrt(((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1))
  radius = lambda a, k: np.sort(distance(a, a), 1)[:, k]  # column 0 is the point itself
  xy = distance(x, y)
  yx = xy.T
  return {
      'precision': np.mean(np.any(xy <= radius(y, k_ball), 1)),
      'recall': np.mean(np.any(yx <= radius(x, k_ball), 1)),
      'density': np.sum(xy < radius(y, k_density)) / (k_density * len(x)),
      'coverage': np.mean(xy.min(0) < radius(y, k_density))}


def pairs():
  """Sets with and without ties: normal, copies of each other, integers of few values."""
  rng = np.random.default_rng(0)
  for d in (2, 80):
    x = rng.standard_normal((30, d)).astype(np.float32)
    y = (1.3 * rng.standard_normal((28, d)) + 0.2).astype(np.float32)
    yield x, y
    x = x.copy()
    x[3], x[5], x[7:15] = x[4], y[6], x[16]
    yield x, y
    x, y = (rng.integers(0, 3, (n, d)).astype(np.float32) for n in (30, 28))
    yield x, y


def test_equals_brute_force():
  for x, y in pairs():
    for k_ball, k_density in ((3, 5), (1, 1), (5, 2)):
      assert prdc.prdc(x, y, k_ball, k_density) == pytest.approx(brute(x, y, k_ball, k_density),
                                                                 rel=1e-12)


def test_several_blocks_and_dense_balls(monkeypatch):
  # noise far around: every reference point is in many balls, and the last block is not full
  monkeypatch.setattr(prdc.neighbours, 'MAX_ROWS', 32)
  rng = np.random.default_rng(1)
  x = (5 * rng.standard_normal((90, 20))).astype(np.float32)
  y = rng.standard_normal((75, 20)).astype(np.float32)
  for pair in ((x, y), (y, x)):
    assert prdc.prdc(*pair) == pytest.approx(brute(*pair, 3, 5), rel=1e-12)


def test_what_a_sample_covers_alone_is_what_its_leaving_uncovers():
  for x, y in pairs():
    found = prdc.counts(x, y)
    before = brute(x, y, 3, 5)['coverage']
    without = [before - brute(np.delete(x, i, 0), y, 3, 5)['coverage'] for i in range(len(x))]
    np.testing.assert_allclose(found.covers_alone / len(y), without, atol=1e-12)


def test_equals_the_authors_package():
  peer = pytest.importorskip('prdc')
  rng = np.random.default_rng(2)
  for d, shift in ((16, 0.1), (512, 0.02)):
    x = rng.standard_normal((400, d)).astype(np.float32)
    y = (rng.standard_normal((400, d)) + shift).astype(np.float32)
    assert prdc.prdc(x, y, 5, 5) == pytest.approx(peer.compute_prdc(y, x, 5), rel=1e-6)


def test_equals_torch_fidelity():
  torch = pytest.importorskip('torch')
  pytest.importorskip('torch_fidelity', exc_type=ImportError)
  from torch_fidelity import metric_prc
  rng = np.random.default_rng(3)
  for d, scale in ((16, 1.3), (512, 0.99)):
    x = (scale * rng.standard_normal((400, d))).astype(np.float32)
    y = rng.standard_normal((300, d)).astype(np.float32)
    precision, recall = metric_prc.calculate_precision_recall_full(torch.tensor(x), torch.tensor(y))
    found = prdc.prdc(x, y)
    assert (found['precision'], found['recall']) == pytest.approx((precision, recall), rel=1e-6)


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


def test_swapped_inputs_swap_precision_and_recall():
  rng = np.random.default_rng(4)
  x, y = 0.5 * rng.standard_normal((300, 3)), rng.standard_normal((300, 3))
  there, back = prdc.prdc(x, y), prdc.prdc(y, x)
  assert there['precision'] == back['recall'] > 0.95 > 0.7 > there['recall'] == back['precision']
  assert there['density'] > 1.2 * back['density'] and there['coverage'] != back['coverage']


def test_a_collapsed_set_lowers_recall_and_coverage_not_precision():
  rng = np.random.default_rng(5)
  centres = 10 * rng.standard_normal((8, 4))
  draw = lambda modes: centres[rng.integers(0, modes, 400)] + rng.standard_normal((400, 4))
  y, all_modes, one_mode = draw(8), draw(8), draw(1)
  whole, collapsed = prdc.prdc(all_modes, y), prdc.prdc(one_mode, y)
  assert collapsed['precision'] > 0.75 and abs(collapsed['precision'] - whole['precision']) < 0.1
  assert whole['recall'] > 0.75 and collapsed['recall'] < 0.2
  assert whole['coverage'] > 0.9 and collapsed['coverage'] < 0.2


@pytest.mark.slow
def test_the_figures_that_the_authors_print():
  """prdc2020_readme: 10,000 + 10,000 points of N(0, I) in 1,000 dimensions, k = 5.

  Of four seeds density was .92 to 1.06.
  """
  rng = np.random.default_rng(0)
  y, x = (rng.standard_normal((10000, 1000), np.float32) for _ in range(2))
  found = prdc.prdc(x, y, 5, 5)
  for name, printed, spread in (('precision', 0.4772, 0.03), ('recall', 0.4705, 0.03),
                                ('density', 1.0555, 0.15), ('coverage', 0.9735, 0.015)):
    print(f'{name}: {found[name]:.4f}, printed {printed}')
    assert found[name] == pytest.approx(printed, abs=spread)


# of 1,000 sets of samples given one reference set: the share whose interval holds the mean over the
# sets must not be below .95 by more than chance
CASES = {'equal': (2, 0.0, 1.0), 'unequal': (2, 0.7, 0.7), 'far': (2, 1.5, 1.0),
         'narrow': (5, 0.0, 0.5)}


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_intervals_cover_the_expectation_given_the_reference(case):
  d, shift, scale = CASES[case]
  rng = np.random.default_rng(6)
  n, trials = 200, 1000
  y = rng.standard_normal((n, d))
  values = {'precision': [], 'density': [], 'coverage': []}
  for _ in range(trials):
    found = prdc.counts(scale * rng.standard_normal((n, d)) + shift, y)
    values['precision'].append(cards.of_share(int(found.inside.sum()), n, {}, ''))
    values['density'].append(prdc.of_number(found, 5, {}))
    values['coverage'].append(prdc.of_covered(found, {}))
  for name, given in values.items():
    mean = np.mean([v.value for v in given])
    inside = np.array([v.low <= mean <= v.high for v in given if v.low is not None])
    share, chance = inside.mean(), 1.96 * np.sqrt(0.95 * 0.05 / len(inside))
    print(f'{case} {name}: mean {mean:.4f}, printed {len(inside)}, covers {share:.3f}')
    assert len(inside) > 0.9 * trials and share > 0.95 - chance, name


def evaluate(draw, **kw):
  dataset = data.load('ring8', num_train=500, num_validation=10, num_test=600)
  run = asked.of_samples(prdc, dataset, encoder=encoders.load('identity', dataset.spec), **kw)
  return run(lambda n: (draw(dataset, n), {'sampler': 'direct'}))


def test_half_of_the_support_loses_recall_not_precision():
  values = evaluate(lambda dataset, n: np.abs(dataset.splits['train']['x'][:n]))
  assert values['precision'].value > 0.9 > 0.6 > values['recall'].value
  assert values['coverage_data'].value > 0.9
  # one point of the split recalls itself, and covers those to which it is near
  single = {name: values[f'{name}_single'].value for name in prdc.METRICS}
  assert single['precision'] == 1 and single['recall'] == 1 / 500 <= single['coverage'] < 0.02
  card = values['coverage'].card
  assert card['n_generated'] == card['n_reference'] == 500
  assert card['k'] == 5 and '< radius' in card['ties'] and card['interval']['method']
  assert values['precision'].card['k'] == 3 and '<= radius' in values['precision'].card['ties']
  for name in ('precision', 'density', 'coverage'):
    assert values[name].low < values[name].value < values[name].high


def test_intervals_that_are_not_calibrated_are_not_printed():
  values = evaluate(lambda dataset, n: dataset.splits['train']['x'][:n])
  assert values['recall'].low is None and 'jackknife' in values['recall'].card['interval']['reason']
  # density of one point: all samples have as many balls; coverage: one point is covered
  assert values['density_single'].card['interval']['reason'] == prdc.EQUAL_NUMBERS
  assert 'fewer than 50' in values['coverage_single'].card['interval']['reason']
  far = evaluate(lambda dataset, n: dataset.splits['train']['x'][:n] + 100.0)
  assert far['density'].value == 0 and far['density'].low is None
  # many samples in each ball: none covers a point alone, although the samples vary
  crowd = prdc.counts(np.random.default_rng(7).standard_normal((4000, 2)),
                      np.random.default_rng(8).standard_normal((60, 2)))
  assert prdc.of_covered(crowd, {}).card['interval']['reason'] == prdc.NOT_ALONE
  assert far['precision'].low == 0 and 0.005 < far['precision'].high < 0.01


@pytest.mark.slow
def test_kept_figures_are_of_their_own_numbers_of_neighbours(tmp_path, monkeypatch):
  # those of 20 neighbours were, from the cache, those of 3
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  dataset = data.load('ring8', num_train=500, num_validation=10, num_test=500)
  given = {'model': None, 'family': 'samples', 'dataset': dataset, 'split': 'test',
           'num_samples': 500, 'seed': 0, 'encoder': encoders.load('identity', dataset.spec)}
  train, test = (dataset.splits[split]['x'] for split in ('train', 'test'))
  for ball, density in ((3, 3), (20, 3), (20, 20), (3, 3), (20, 3), (20, 20)):
    values = wiring.evaluator('prdc', {'k_ball': ball, 'k_density': density}, **given)(
        {}, lambda n: (train[:n], {}))
    single = np.repeat(test[:1], 500, axis=0)
    right, alone = (brute(x, test, ball, density) for x in (train, single))
    for name in prdc.METRICS:
      assert values[f'{name}_data'].value == pytest.approx(right[name], rel=1e-12)
      assert values[f'{name}_single'].value == pytest.approx(alone[name], rel=1e-12)
    assert values['recall_data'].card['k'] == ball
    assert (right['recall'] > 0.99) == (ball == 20) and (right['coverage'] == 1) == (density == 20)


def test_what_is_refused():
  for kw, said in (({'num_samples': 5}, '5 examples; allowed: 6'), ({'k_density': 500}, '500 exam'),
                   ({'k_ball': 0}, 'k_ball=0'), ({'k_density': 2.5}, 'k_density=2.5')):
    with pytest.raises(BadInput, match=said):
      evaluate(lambda dataset, n: dataset.splits['train']['x'][:n], **kw)
