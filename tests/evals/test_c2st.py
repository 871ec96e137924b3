"""The classifier two-sample test: its null distribution, its power, and its interval."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import c2st, card
from genjax.types import BadInput
from tests.evals import asked

DIGITS = data.load('digits')
PIXELS = encoders.load('identity', DIGITS.spec)


def at_least_nominal(hits) -> bool:
  """0.95 lies in the 95 % interval of the simulated coverage, or below it."""
  share = np.mean(hits)
  return share + 1.96 * np.sqrt(share * (1 - share) / len(hits)) >= 0.95


def covers(test: c2st.Test, accuracy: float) -> bool:
  value = card.of_share(test.right, test.n, {}, '')
  return value.low <= accuracy <= value.high


@pytest.mark.slow
def test_p_is_uniform_and_the_interval_covers_one_half_at_equal_distributions():
  rng = np.random.default_rng(0)
  trials, n, found = 1000, 40, []
  for i in range(trials):
    x, y = np.exp(rng.standard_normal((2, n, 3)))
    found.append(c2st.c2st(x, y, seed=i, num_permutations=99))
  p = np.sort([test.p for test in found])
  # Kolmogorov-Smirnov at 1 %; p lies on multiples of 1 / 100
  assert np.max(np.abs(p - np.arange(1, trials + 1) / trials)) < 1.63 / np.sqrt(trials) + 0.01
  # whatever a classifier learned: P(f(x) > 0) + P(f(y) <= 0) = 1
  assert at_least_nominal([covers(test, 0.5) for test in found])


@pytest.mark.slow
def test_the_interval_covers_the_accuracy_on_fresh_pairs():
  rng = np.random.default_rng(1)
  fresh = rng.standard_normal((2, 20_000, 2)) + np.array([0.8, 0.0])[:, None, None]
  hits = []
  for i in range(1000):
    x, y = rng.standard_normal((2, 60, 2)) + np.array([0.8, 0.0])[:, None, None]
    order = np.random.default_rng(i).permutation(60)[:30]
    logit = c2st.fit(x[order], y[order])
    accuracy = 0.5 * (np.mean(logit(fresh[0]) > 0) + np.mean(logit(fresh[1]) <= 0))
    hits.append(covers(c2st.c2st(x, y, seed=i, num_permutations=1), accuracy))
  assert at_least_nominal(hits)


def differences(rng, n):
  """Pairs of distributions that a linear classifier, variances, and only correlations tell."""
  x, y = rng.standard_normal((2, n, 6))
  mixed = np.linalg.cholesky(0.6 * np.eye(6) + 0.4)
  return {'mean': (x, y + 0.3), 'spread': (x, 1.3 * y), 'correlation': (x, y @ mixed.T)}


@pytest.mark.parametrize('kind', ('mean', 'spread', 'correlation'))
def test_it_has_power_and_the_logits_have_more(kind):
  rng = np.random.default_rng(2)
  tests = [c2st.c2st(*differences(rng, 150)[kind], seed=i, num_permutations=199)
           for i in range(60)]
  by_logit = np.mean([test.p < 0.05 for test in tests])
  by_accuracy = np.mean([card.of_share(t.right, t.n, {}, '').low > 0.5 for t in tests])
  assert by_logit > 0.6 and by_logit > by_accuracy
  strong = c2st.c2st(*differences(rng, 2000)[kind], num_permutations=199)
  assert strong.right / strong.n > 0.55 and strong.p == 1 / 200


def test_logits_of_gaussians_of_one_covariance_approach_the_known_ones():
  # log p / q = w.(x - middle), w = S^-1 (m_1 - m_0)
  rng = np.random.default_rng(3)
  factor = np.array([[1.0, 0.0], [0.6, 0.8]])
  shift = np.array([0.5, -0.4])
  x, y = (rng.standard_normal((40_000, 2)) @ factor.T for _ in range(2))
  x += shift
  w = np.linalg.solve(factor @ factor.T, shift)
  points = rng.standard_normal((200, 2))
  expected = (points - shift / 2) @ w
  got = c2st.fit(x, y)(points)
  assert np.sqrt(np.mean((got - expected) ** 2)) < 0.05 * expected.std()


def test_exchanging_the_sides_changes_nothing():
  x, y = np.random.default_rng(4).standard_normal((2, 200, 5)) * np.array([1.0, 1.1])[:, None, None]
  a, b = c2st.c2st(x, y), c2st.c2st(y, x)
  assert a.right == b.right
  assert a.statistic == pytest.approx(b.statistic, rel=1e-4)
  assert abs(a.p - b.p) < 0.02
  assert a == c2st.c2st(x, y)


def test_constant_features_and_equal_sets_are_not_told():
  rng = np.random.default_rng(5)
  x = np.full((30, 4), 0.1, np.float32)
  same = c2st.c2st(x, x)
  assert same.right / same.n == 0.5 and same.statistic == 0.0 and same.p == 1.0
  x[:, 2] = rng.standard_normal(30)
  assert np.isfinite(c2st.c2st(x, x[::-1] + np.float32(1e-9)).statistic)


@pytest.mark.parametrize('order', ('same', 'shuffled', 'half of it'))
def test_a_set_against_itself_is_at_one_half(order):
  rng = np.random.default_rng(8)
  x = rng.standard_normal((200, 5)).astype(np.float32)
  y = {'same': x, 'shuffled': x[rng.permutation(200)], 'half of it': np.concatenate(
      [x[rng.permutation(200)[:100]], rng.standard_normal((100, 5))]).astype(np.float32)}[order]
  test = c2st.c2st(x, y, num_permutations=199)
  assert test.shared == (100 if order == 'half of it' else 200)
  if order == 'half of it':
    assert covers(test, 0.5)
  else:
    assert test.right / test.n == 0.5 and test.p > 0.4
  fresh = rng.standard_normal((200, 5)).astype(np.float32)
  assert c2st.beside_equals(x, fresh)[1] == 0 and (c2st.beside_equals(x, fresh)[0] == fresh).all()


def evaluate(draw, **kw):
  return asked.of_samples(c2st, DIGITS, encoder=PIXELS, num_samples=400, num_permutations=199,
                          **kw)(draw)


def test_noise_is_told_from_digits_and_training_images_are_not():
  noise = np.random.default_rng(6).integers(0, 17, (400, 8, 8, 1))
  out = evaluate(lambda n: (noise[:n], {'sampler': 'direct'}))
  assert set(out) == {m + s for m in c2st.METRICS for s in ('', '_data', '_single')}
  assert out['c2st'].low > 0.95 and out['c2st_p'].value == 1 / 200
  assert out['c2st_single'].low > 0.95
  assert out['c2st_data'].low < 0.5 < out['c2st_data'].high and out['c2st_p_data'].value > 0.01
  card = out['c2st_p'].card
  assert (card['n_generated'], card['n_reference'], card['num_permutations']) == (400, 400, 199)
  assert card['detail']['shared_rows'] == 0
  assert card['interval']['reason'] == 'a p-value' and card['detail']['statistic'] > 1


def test_bad_counts_are_refused():
  with pytest.raises(BadInput, match='num_permutations=0'):
    asked.of_samples(c2st, DIGITS, encoder=PIXELS, num_permutations=0)
  with pytest.raises(BadInput, match='3 examples; allowed: 4'):
    asked.of_samples(c2st, DIGITS, encoder=PIXELS, num_samples=3)
