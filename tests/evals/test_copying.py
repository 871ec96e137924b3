"""C_T and authenticity: their statistics, what fresh draws give, and that copies are found."""

import numpy as np
import pytest
from scipy import stats

from genjax import data, encoders
from genjax.evals import card as cards
from genjax.evals import copying, planted
from genjax.types import BadInput
from tests.evals import asked

DIGITS = data.load('digits')
PIXELS = encoders.load('identity', DIGITS.spec)
TRAIN = DIGITS.splits['train']['x']


def draws(seed, *sizes, dim=3):
  rng = np.random.default_rng(seed)
  return [rng.standard_normal((n, dim)).astype(np.float32) for n in sizes]


def c_t(x, held_out, cells):
  return copying.c_t(copying.place(x, cells), copying.place(held_out, cells))


def fresh(trials, n=200, m=150):
  """[4, trials]: c_t, plain average, authentic share, z of it; one training set [200, 3]."""
  train, x, held_out = draws(0, 200, trials * n, trials * m)
  cells, out = copying.partition(train), []
  samples, others = copying.place(x, cells), copying.place(held_out, cells)
  true, true_others = copying.authentic(x, train), copying.authentic(held_out, train)
  for i in range(trials):
    a, b = slice(i * n, (i + 1) * n), slice(i * m, (i + 1) * m)
    found = copying.c_t(*(copying.Placed(p.cell[part], p.distance[part])
                          for p, part in ((samples, a), (others, b))))
    out.append((found.value, found.average, true[a].mean(),
                copying.z_of_shares(true[a], true_others[b])))
  return np.array(out).T


def test_mann_whitney_is_that_of_scipy():
  rng = np.random.default_rng(0)
  for high in (4, 10**6):  # with many ties, and with none
    a, b = rng.integers(high, size=40), rng.integers(high, size=70) + high // 9
    expected = stats.mannwhitneyu(a, b, alternative='less', method='asymptotic',
                                  use_continuity=False).pvalue
    assert stats.norm.cdf(copying.mann_whitney(a, b)) == pytest.approx(expected, rel=1e-9)
    assert copying.mann_whitney(a, b) == pytest.approx(-copying.mann_whitney(b, a))
  assert copying.mann_whitney(np.zeros(9), np.zeros(5)) == 0.0


def test_distances_are_those_within_the_cell():
  train, x = draws(1, 90, 200)
  x[:100] *= 50.0  # far outside of the training set
  cells = copying.partition(train)
  placed = copying.place(x, cells)
  all_pairs = lambda a, b: ((a[:, None].astype(float) - b[None]) ** 2).sum(-1)
  nearest = all_pairs(x - cells.mean.astype(np.float32), cells.centres).argmin(1)
  assert (placed.cell == nearest).all()
  d2 = all_pairs(x, train)
  inside = np.where(placed.cell[:, None] == cells.cell[None], d2, np.inf).min(1)
  assert placed.distance == pytest.approx(inside, rel=1e-4)
  assert (inside > d2.min(1) + 1e-3).any()
  assert len(np.unique(cells.cell)) == 3


@pytest.mark.slow
def test_many_dimensions_are_projected():
  train, x = draws(2, 300, 100, dim=80)
  weight = np.where(np.arange(80) < 64, 10.0, 1e-3).astype(np.float32)
  cells = copying.partition(train * weight)
  assert cells.train.shape == (300, 64)
  placed = copying.place(x * weight, cells)
  again = copying.place(x * np.where(weight > 1, weight, 0), cells)  # what is projected away
  assert placed.distance == pytest.approx(again.distance, rel=1e-3)
  flat = copying.place(x[:, :64] * 10, copying.partition(train[:, :64] * 10))
  assert np.median(placed.distance / flat.distance) == pytest.approx(1.0, abs=0.05)


def test_the_cells_of_a_training_set_are_made_once(monkeypatch, tmp_path):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  train = np.random.default_rng(0).normal(size=(80, 10)).astype(np.float32)
  first = copying.partition(train)

  def _centres(*_):
    raise AssertionError('made again')

  monkeypatch.setattr(copying, '_centres', _centres)
  np.testing.assert_array_equal(copying.partition(train).centres, first.centres)
  for other in ({'num_cells': 4}, {'seed': 1}):
    with pytest.raises(AssertionError, match='made again'):
      copying.partition(train, **other)
  with pytest.raises(AssertionError, match='made again'):
    copying.partition(train + 1.0)


@pytest.mark.slow
def test_fresh_draws_give_a_standard_normal():
  # 1,000 draws of two other sizes: standard deviation 0.98 and 1.02, of the average 0.57 and 0.60
  value, average, _, z = fresh(200)
  assert stats.kstest(value, 'norm').pvalue > 0.01
  assert stats.kstest(z, 'norm').pvalue > 0.01
  assert stats.kstest(average, 'norm').pvalue < 1e-3  # why the average is not the value


@pytest.mark.slow
def test_the_interval_covers_and_the_rules_alarm_in_five_per_cent():
  # measured: coverage 0.952 and 0.959, alarms 0.046, 0.053 (c_t) and 0.047, 0.058 (authpct)
  value, _, share, z = fresh(1000)
  for hits in (value < copying.Z_LEVEL, z < copying.Z_LEVEL):
    low, high = stats.binomtest(int(hits.sum()), 1000).proportion_ci(0.99)
    assert low <= planted.LEVEL <= high
  values = [cards.of_share(round(200 * s), 200, {}, '') for s in share]
  covered = sum(v.low <= share.mean() <= v.high for v in values)
  assert stats.binomtest(covered, 1000).proportion_ci().high >= 0.95


def test_copies_are_found_by_both():
  train, x, held_out = draws(3, 300, 300, 300)
  cells = copying.partition(train)
  assert c_t(train, held_out, cells).value < -10 and not copying.authentic(train, train).any()
  x[:60] = train[:60]
  assert c_t(x, held_out, cells).value < -2 and not copying.authentic(x, train)[:60].any()


def test_swapped_sets_are_noticed():
  train, held_out = draws(4, 300, 200)
  x = train[:250] + 0.01
  cells = copying.partition(train)
  assert c_t(x, held_out, cells).value < -10
  assert c_t(held_out, x, cells).value > 10  # samples <-> held-out
  other = copying.partition(held_out)
  assert abs(c_t(x, train, other).value) < 4  # training set <-> held-out
  few = x[:40]
  assert copying.authentic(few, train).mean() < 0.1
  assert copying.authentic(train, few).mean() > 0.3  # samples <-> training set
  assert len(c_t(train, held_out, copying.partition(few)).z) == 3
  assert c_t(train, held_out, copying.partition(few)).value > -4


def test_authentic_is_that_of_brute_force_with_duplicates():
  train, x = draws(5, 40, 60)
  train[7], x[0] = train[3], train[7]
  x[1] = train[11]
  own = np.linalg.norm(train[:, None] - train[None], axis=-1)
  np.fill_diagonal(own, np.inf)
  d = np.linalg.norm(x[:, None] - train[None], axis=-1)
  expected = d.min(1) > own.min(1)[d.argmin(1)]
  assert (copying.authentic(x, train) == expected).all()
  assert not expected[:2].any() and 0.2 < expected.mean() < 0.9


def test_cells_of_few_samples_do_not_count():
  held_out = copying.Placed(np.repeat([0, 1], 50), np.arange(100.0))
  samples = copying.Placed(np.repeat([0, 1], [21, 20]), np.arange(41.0))
  found = copying.c_t(samples, held_out)
  assert found.cell.tolist() == [0] and found.value == found.z[0]
  assert copying.c_t(copying.Placed(samples.cell[1:], samples.distance[1:]), held_out) is None


def evaluator(**kw):
  return asked.of_samples(copying, DIGITS, pixels=PIXELS, **{
      'num_samples': 200, 'num_plantings': 5, **kw})


def test_evaluator_on_digits():
  held_out = DIGITS.splits['validation']['x'].astype(np.int32)
  out = evaluator()(lambda n: (held_out[:n], {'sampler': 'direct'}))
  assert set(out) == {'c_t', 'authpct', 'c_t_copies', 'authpct_copies', 'authpct_data'}
  assert abs(out['c_t'].value) < 3 and out['c_t_copies'].value < -10
  detail = out['c_t'].card['detail']
  w, z = np.array(detail['weights']), np.array(detail['z'])
  assert out['c_t'].value == pytest.approx(w @ z / np.sqrt(w @ w), abs=1e-3)
  assert detail['weighted_average'] == pytest.approx(w @ z / w.sum(), abs=1e-3)
  assert out['authpct_copies'].value == 0.0 and 30 < out['authpct'].value < 70
  assert out['authpct_data'].value == out['authpct'].card['detail']['held_out']
  assert out['authpct'].low < out['authpct'].value < out['authpct'].high
  for name in ('c_t', 'authpct'):
    power = out[name].card['detail']['power']
    assert power['0.2'] >= power['0.01'] and power['0.2'] > 0.5
    assert out[name].card['n_reference'] == len(TRAIN) and out[name].card['sampler'] == 'direct'


def test_planting_reuses_what_a_search_would_find():
  [x] = draws(6, 100)
  train, held_out = draws(7, 150, 80)
  cells = copying.partition(train)
  rows, which = np.arange(10), np.arange(20, 30)
  placed = copying.place(x, cells)
  planted_here = copying.Placed(planted.replace(placed.cell, rows, cells.cell[which]),
                                planted.replace(placed.distance, rows, 0.0))
  searched = copying.place(planted.replace(x, rows, train[which]), cells)
  assert all(np.array_equal(a, b) for a, b in zip(planted_here, searched, strict=True))


def test_power_counts_what_the_rule_signals():
  seen = []

  def signals(rows, which):
    seen.append((len(rows), len(set(rows)), which.max() < 50))
    return len(rows) >= 10 and which[0] % 2 == 0

  power = planted.power(signals, 200, 50, repeats=40)
  assert set(seen) == {(2, 2, True), (10, 10, True), (40, 40, True)}
  assert power['0.01'] == 0.0 and 0.2 < power['0.05'] < 0.8
  assert planted.detail('', signals, 200, 50, 0) == {}


def test_no_cell_not_finite_and_the_training_split():
  few = evaluator(num_samples=15)(lambda n: (TRAIN[:n], {}))
  assert few['c_t'].value is None and 'more than 20' in few['c_t'].card['reason']
  assert few['authpct'].value == 0.0
  nan = evaluator()(lambda n: (np.full((n, 8, 8, 1), np.nan), {}))
  assert nan['c_t'].value is None and nan['authpct_copies'].value == 0.0
  with pytest.raises(BadInput, match="evaluator copying: split='train'.*allowed"):
    evaluator(split='train')
