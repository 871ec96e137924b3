"""Feature likelihood divergence: its mixture, what copies do to it, and its interval and test."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize, special, stats

from genjax import data, encoders
from genjax.evals import card as cards
from genjax.evals import fld, planted, sample_mixture, two_sample
from genjax.types import BadInput
from tests.evals import asked

DIGITS = data.load('digits')
PIXELS = encoders.load('identity', DIGITS.spec)
TRAIN = DIGITS.splits['train']['x']


def draws(seed, *sizes, dim=3):
  rng = np.random.default_rng(seed)
  return [rng.standard_normal((n, dim)).astype(np.float32) for n in sizes]


def pairs(a, b):
  return ((np.asarray(a, np.float64)[:, None] - np.asarray(b, np.float64)[None]) ** 2).sum(-1)


def log_normal(d2, log_variance, dim, xp=np):
  return -0.5 * (d2 * xp.exp(-log_variance) + dim * (log_variance + np.log(2 * np.pi)))


def loss(params, rows, centres, mean, xp=np, logsumexp=special.logsumexp, pairs=pairs):
  """params [N + 1]: log variances of the components, and that of the one at the mean."""
  dim = rows.shape[1]
  each = log_normal(pairs(rows, centres), params[:-1], dim, xp) - np.log(len(centres))
  origin = log_normal(0.81 * pairs(rows, mean[None]), params[-1:], dim, xp)
  return -logsumexp(xp.concatenate([each, origin], 1), 1).mean() / dim


def test_log_likelihood_is_that_of_the_mixture(monkeypatch):
  centres, rows = draws(0, 20, 50)
  s = np.linspace(-3, 2, 20).astype(np.float32)
  expected = np.mean([stats.multivariate_normal.pdf(rows, c, np.exp(v))
                      for c, v in zip(centres, s, strict=True)], 0)
  found = sample_mixture.log_likelihood(sample_mixture.Mixture(centres, s), rows)
  assert found == pytest.approx(np.log(expected) / 3, rel=1e-4)
  monkeypatch.setattr(sample_mixture, 'BLOCK', 60)
  again = sample_mixture.log_likelihood(sample_mixture.Mixture(centres, s), rows)
  assert again == pytest.approx(found, rel=1e-6)


def test_the_fit_is_nearly_the_best_there_is():
  centres, rows = draws(1, 6, 60)
  mean, start = rows.mean(0), np.zeros(7)
  best = optimize.minimize(loss, start, (rows, centres, mean), bounds=[(-40, 20)] * 7)
  mixture = sample_mixture.fit(centres, rows)
  fitted = optimize.minimize_scalar(lambda o: loss(
      np.append(mixture.log_variance, o), rows, centres, mean)).fun
  assert best.fun - 1e-3 < fitted < best.fun + 0.02 < loss(start, rows, centres, mean)


def test_batches_and_blocks_are_those_of_a_plain_loop(monkeypatch):
  centres, rows = draws(2, 7, 70)
  monkeypatch.setattr(sample_mixture, 'BATCH', 30)
  monkeypatch.setattr(sample_mixture, 'BLOCK', 7 * 8)
  found = sample_mixture.fit(centres, rows).log_variance
  optimiser = optax.adam(0.5)
  params = jnp.append(jnp.log((pairs(rows, centres).min(0) + 1e-3) / 3), 0.0)
  state, mean = optimiser.init(params), rows.mean(0)
  gradient = jax.jit(jax.grad(lambda p, x: loss(
      p, x, centres, mean, jnp, jax.scipy.special.logsumexp,
      lambda a, b: ((a[:, None] - b[None]) ** 2).sum(-1))))
  for _ in range(50):
    for batch in (rows[:30], rows[30:60], rows[60:]):
      change, state = optimiser.update(gradient(params, batch), state)
      params = optax.apply_updates(params, change)
      params = params.at[:-1].set(params[:-1].clip(-40, 20))
  assert found == pytest.approx(np.asarray(params[:-1]), abs=0.02)


def test_distances_of_equal_points_are_zero():
  [rows] = draws(3, 600, dim=70)
  centres = np.concatenate([rows[:5], rows[:5] + 1e-3]) + np.float32(5)
  d2 = sample_mixture.distances(rows + np.float32(5), centres)
  assert (d2[np.arange(5), np.arange(5)] == 0).all()
  assert d2 == pytest.approx(pairs(rows + np.float32(5), centres), rel=0.01)


def test_features_that_do_not_vary_are_left_out():
  a = np.array([[1, 2, 3], [1, 4, 9]], np.float32)
  x, y = fld.standardise(a, a, a[:1] + 7)
  assert x == pytest.approx(np.array([[-1, -1], [1, 1]]) / np.sqrt(2)) and y.shape == (1, 2)
  with pytest.raises(BadInput, match='all 3 features are constant over 2 examples; allowed'):
    fld.standardise(a[[0, 0]], a)


def value(x, train, held_out):
  found = fld.divergence(x, train, held_out)
  return (100 * np.mean(found.held_out - found.baseline),
          100 * (found.train - found.held_out.mean()))


def test_fresh_draws_copies_and_poor_samples():
  train, held_out, x = draws(4, 200, 200, 100)
  fresh, gap = value(x, train, held_out)
  assert abs(fresh) < 5 and abs(gap) < 15
  copies, copied_gap = value(train[:100], train, held_out)
  assert copies > 1000 and copied_gap < -1000
  some = np.concatenate([train[:20], x[:80]])
  assert value(some, train, held_out)[1] < gap - 50  # the gap shows a few copies
  assert value(np.repeat(x[:2], 50, 0), train, held_out)[0] > fresh + 10
  assert value(x + 1, train, held_out)[0] > fresh + 10


def test_swapped_sets_are_noticed():
  train, held_out = draws(5, 200, 200)
  x = train[:100]
  assert value(x, train, held_out)[0] > 1000
  assert value(x, held_out, train)[0] < 5  # training set <-> held-out
  assert value(train, x, held_out)[0] < 1000  # samples <-> training set


def test_labels_are_no_input_of_the_test_and_copies_are_found():
  train, held_out, x = draws(6, 200, 200, 100)
  p = fld.lean(x, train, held_out)
  assert p() > 0.05
  rows, copies = np.arange(15), np.arange(20, 35)
  assert p(rows, copies) == 1 / 200
  refitted = fld.lean(planted.replace(x, rows, train[copies]), train, held_out)
  assert refitted() == 1 / 200
  assert fld.lean(planted.replace(x, rows, train[copies]), held_out, train)() > 0.5


@pytest.mark.slow
def test_the_test_alarms_in_five_per_cent():
  # measured: 0.0475 of 400
  p = np.array([fld.lean(*draws((7, i), 60, 80, 60), i)() for i in range(400)])
  for level in (0.05, 0.5):
    low, high = stats.binomtest(int(np.sum(p <= level)), 400).proportion_ci(0.99)
    assert low <= level <= high


@pytest.mark.slow
@pytest.mark.parametrize('copied', [0, 12])
def test_the_interval_covers(copied):
  train, x, new = draws(8, 100, 60, 4000)
  x[:copied] = train[:copied]
  hits = []
  for i in range(1000):
    [held_out] = draws((9, i), 60)
    a, b, c, fresh = fld.standardise(held_out, x, train, held_out, new)
    b = two_sample.shuffled(b)
    one, other = sample_mixture.fit(a, b), sample_mixture.fit(b[:50], b[50:])
    likelihood = sample_mixture.log_likelihood
    gain = lambda rows: 100 * (likelihood(other, rows) - likelihood(one, rows))
    if i == 0:
      assert np.mean(gain(c)) == pytest.approx(value(x, train, held_out)[0], rel=1e-4)
    found = cards.of_mean(gain(c), {}, '')
    hits.append(found.low <= gain(fresh).mean() <= found.high)
  assert stats.binomtest(sum(hits), 1000).proportion_ci().high >= 0.95


def evaluator(**kw):
  return asked.of_samples(fld, DIGITS, pixels=PIXELS, **{
      'num_samples': 150, 'num_plantings': 3, **kw})


@pytest.mark.slow
def test_evaluator_on_digits():
  held_out = DIGITS.splits['validation']['x']
  out = evaluator()(lambda n: (held_out[:n], {'sampler': 'direct'}))
  assert set(out) == {'fld', 'fld_copies'} and out['fld_copies'].value > 1000
  assert 'spikes' in out['fld_copies'].card['interval']['reason']
  found, detail = out['fld'], out['fld'].card['detail']
  assert abs(found.value) < 30 and found.low < found.value < found.high
  assert found.value == pytest.approx(100 * (detail['held_out'] - detail['baseline']))
  assert detail['p'] > 0.05 and detail['power']['0.2'] == 1.0
  assert (found.card['n_train'], found.card['n_reference']) == (len(TRAIN), 400)


def test_few_training_examples_not_finite_and_the_training_split():
  nan = evaluator(num_train=100)(lambda n: (np.full((n, 8, 8, 1), np.nan), {}))
  assert nan['fld'].value is None and nan['fld_copies'].card['n_train'] == 100
  with pytest.raises(BadInput, match="evaluator fld: split='train'.*allowed"):
    evaluator(split='train')
