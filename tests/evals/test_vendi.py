"""The Vendi score: known values, both Gram matrices, and what its interval covers."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import vendi
from genjax.types import BadInput
from tests.evals import asked

DIGITS = data.load('digits')


def definition(x):
  """exp of the entropy of the eigenvalues of K / N, formed whole."""
  phi = x / np.linalg.norm(x, axis=1, keepdims=True)
  l = np.linalg.eigvalsh(phi @ phi.T / len(x))
  l = l[l > 1e-14]
  return np.exp(-np.sum(l * np.log(l)))


def test_known_values():
  one = np.repeat(np.random.default_rng(0).standard_normal((1, 5)), 40, axis=0)
  assert vendi.vendi(one) == (pytest.approx(1.0, abs=1e-12), None)
  orthogonal = np.diag([1.0, -2.0, 30.0, 0.1])
  assert vendi.vendi(orthogonal)[0] == pytest.approx(4.0, abs=1e-12)
  # shares of orthogonal modes: exp of their entropy
  modes = np.eye(3)[[0] * 10 + [1] * 20 + [2] * 70]
  p = np.array([0.1, 0.2, 0.7])
  assert vendi.vendi(modes)[0] == pytest.approx(np.exp(-p @ np.log(p)), rel=1e-12)


def test_both_gram_matrices_and_the_definition_agree(monkeypatch):
  monkeypatch.setattr(vendi, 'BLOCK', 7)  # several blocks
  rng = np.random.default_rng(1)
  for n, d in ((30, 12), (30, 31), (12, 12)):
    x = rng.standard_normal((n, d)) * np.linspace(0.1, 2, d) + 0.3
    value, half = vendi.vendi(x)
    assert value == pytest.approx(definition(x), rel=1e-10)
    # coordinates that are always zero turn one into the other
    assert vendi.vendi(np.concatenate([x, np.zeros((n, 40))], 1)) == pytest.approx((value, half))
    # no row's length matters, nor float32
    scaled = (x * rng.uniform(0.1, 9, (n, 1))).astype(np.float32)
    assert vendi.vendi(scaled) == pytest.approx((value, half), rel=1e-5)


def test_influences_are_the_derivatives_of_the_score():
  x = np.random.default_rng(2).standard_normal((25, 4)) + 0.5
  l, shares = vendi.spectrum(x)
  influence = -shares @ np.log(l) + l @ np.log(l)
  phi = x / np.linalg.norm(x, axis=1, keepdims=True)

  def entropy(weights):
    l = np.linalg.eigvalsh((phi.T * weights) @ phi)
    return -np.sum(l * np.log(l))

  uniform, step = np.full(25, 1 / 25), 1e-5
  for i in (0, 7):
    towards = np.eye(25)[i] - uniform
    slope = (entropy(uniform + step * towards) - entropy(uniform - step * towards)) / (2 * step)
    assert slope == pytest.approx(influence[i], rel=1e-6)


def populations(rng):
  """Samplers of [n, d]: smooth, skewed, low rank, few modes (where influences vanish), n < d."""
  mix = np.random.default_rng(5).standard_normal((6, 40))
  modes = 3 * np.random.default_rng(6).standard_normal((10, 8))

  def shares(*p):
    return lambda n: np.eye(len(p))[rng.choice(len(p), n, p=p)]

  return {
      'anisotropic': (200, lambda n: rng.standard_normal((n, 8)) * np.linspace(0.1, 1, 8) ** 2),
      'isotropic': (200, lambda n: rng.standard_normal((n, 8))),
      'skewed': (200, lambda n: np.exp(2 * rng.standard_normal((n, 8)))),
      'modes': (200, lambda n: modes[rng.integers(10, size=n)] + rng.standard_normal((n, 8)) / 2),
      'two modes': (100, shares(0.5, 0.5)),
      'two unequal modes': (400, shares(0.6, 0.4)),
      'three modes': (100, shares(0.4, 0.3, 0.3)),
      'rare modes': (200, shares(*2.0 ** -np.arange(1, 8), 2.0**-7)),
      'fewer than features': (30, lambda n: np.maximum(rng.standard_normal((n, 6)) @ mix + 1, 0)),
  }


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.slow) if name == 'fewer than features' else name
    for name in populations(None)])
def test_intervals_cover_the_expected_score(name):
  trials = 1000
  n, sample = populations(np.random.default_rng(3))[name]
  value, half = np.array([vendi.vendi(sample(n)) for _ in range(trials)], np.float64).T
  share = np.mean(np.abs(value - value.mean()) <= half)
  # 0.95 lies in the 95 % interval of the simulated coverage, or below it
  assert share + 1.96 * np.sqrt(share * (1 - share) / trials) >= 0.95
  assert half.mean() < 0.25 * value.mean()  # and they say something


def test_one_direction_is_the_reason_and_not_that_samples_do_not_vary():
  out = evaluate(lambda n: (DIGITS.splits['test']['x'][:1] * np.ones((n, 1, 1, 1)) * np.linspace(
      0.1, 1.0, n)[:, None, None, None], {}))['vendi']
  assert out.value == pytest.approx(1.0) and out.low is None
  assert 'one direction' in out.card['interval']['reason']


def evaluate(draw, **kw):
  encoder = encoders.load('identity', DIGITS.spec)
  return asked.of_samples(vendi, DIGITS, encoder=encoder, **{'num_samples': 300, **kw})(draw)


def test_collapse_is_seen_beside_the_data():
  test = DIGITS.splits['test']['x']
  zeros = test[DIGITS.splits['test']['cond'] == 0]
  out = evaluate(lambda n: (np.resize(zeros, (n, 8, 8, 1)), {}))
  assert set(out) == {'vendi', 'vendi_data', 'vendi_single'}
  assert out['vendi_single'].value == pytest.approx(1.0, abs=1e-12)
  assert out['vendi_single'].low is None
  assert 1 < out['vendi'].value < out['vendi'].high < out['vendi_data'].low
  card = out['vendi_data'].card
  assert card['n_generated'] == 300 and card['n_reference'] is None
  assert card['interval']['estimand'].startswith('E[Vendi_N]')


def test_zero_features_are_no_score_and_too_few_are_refused():
  def draw(n):
    x = DIGITS.splits['test']['x'][:n].copy()
    x[[3, 8]] = 0
    return x, {}

  out = evaluate(draw)
  assert out['vendi'].value is None and '2 of 300' in out['vendi'].card['reason']
  assert out['vendi_data'].value > 1
  with pytest.raises(BadInput, match='1 examples; allowed: 2'):
    evaluate(draw, num_samples=1)
