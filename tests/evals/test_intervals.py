"""What intervals that several evaluators print cover of what they name, in 1,000 simulations each.

Intervals of one evaluator alone are simulated in the tests of that evaluator.
"""

import functools

import numpy as np
import pytest
from scipy import stats

from genjax.data import Dataset
from genjax.evals import card as cards
from genjax.evals import divergence_estimates as estimates
from genjax.types import DataSpec, Model
from tests.evals import coverage

TRIALS = 1000


def at_least_nominal(hits) -> bool:
  """0.95 lies in the 95 % interval of the simulated coverage, or below it."""
  share = np.mean(hits)
  return share + 1.96 * np.sqrt(share * (1 - share) / len(hits)) >= cards.LEVEL


def test_the_rule_tells_calibrated_from_short_intervals():
  assert at_least_nominal(np.arange(TRIALS) < 940) and at_least_nominal(np.ones(TRIALS))
  assert not at_least_nominal(np.arange(TRIALS) < 930)


@pytest.mark.parametrize('n', (50, 200, 1024))
def test_shares_are_covered_exactly(n):
  # no simulation: the sum over all counts, at rare, even and frequent events
  found = [cards.of_share(k, n, {}, '') for k in range(n + 1)]
  low, high = (np.array([getattr(v, end) for v in found]) for end in ('low', 'high'))
  shares = np.concatenate([[0.002, 0.02, 0.5, 0.97, 0.998], np.linspace(0.01, 0.99, 197)])
  covered = [stats.binom.pmf(np.arange(n + 1), n, p)[(low <= p) & (p <= high)].sum()
             for p in shares]
  assert min(covered) >= cards.LEVEL
  assert np.mean(covered) < 0.985  # not by being wide
  assert 'conservative' in found[0].card['interval']['method']


@pytest.mark.parametrize('share', (0.02, 0.5, 0.97))
def test_shares_are_covered_in_simulation(share):
  rng = np.random.default_rng(0)
  found = [cards.of_share(int(k), 200, {}, '') for k in rng.binomial(200, share, TRIALS)]
  assert at_least_nominal([v.low <= share <= v.high for v in found])


# how many values, their distribution and its mean
MEANS = {
    'normal': (200, lambda rng, size: rng.standard_normal(size), 0.0),
    'few normal': (10, lambda rng, size: rng.standard_normal(size), 0.0),
    'Gumbel': (200, lambda rng, size: rng.gumbel(size=size), np.euler_gamma),
    'exponential': (50, lambda rng, size: rng.exponential(size=size), 1.0),
    'log-normal 1/2': (200, lambda rng, size: np.exp(rng.standard_normal(size) / 2), np.exp(1 / 8)),
    'log-normal 1': (200, lambda rng, size: np.exp(rng.standard_normal(size)), np.exp(1 / 2)),
    'log-normal 3/2': (200, lambda rng, size: np.exp(1.5 * rng.standard_normal(size)),
                       np.exp(9 / 8)),
    'left': (200, lambda rng, size: -np.exp(rng.standard_normal(size)), -np.exp(1 / 2)),
}


@pytest.mark.parametrize('name', MEANS)
def test_means_are_covered(name):
  n, draw, mean = MEANS[name]
  rng = np.random.default_rng(1)
  found = [cards.of_mean(draw(rng, n), {}, '') for _ in range(TRIALS)]
  assert at_least_nominal([v.low <= mean <= v.high for v in found])
  if name == 'normal':  # nothing is lost where values are not skewed
    assert np.mean([v.low <= mean <= v.high for v in found]) < 0.97


@pytest.mark.parametrize('name', ('fd', 'sliced_w2'))
def test_heavy_tails_rarely_print_an_interval_that_misleads(name):
  rng, found = np.random.default_rng(5), {}
  for kind in ('Gaussian', 't, 3 degrees', 'log-normal 1'):
    draw = functools.partial(coverage.FEATURES[kind], rng, 300, 8)
    found[kind] = coverage.simulate(coverage.DISTANCES[name], draw, draw, 100)
  assert found['Gaussian']['printed'] == 1.0 and found['Gaussian']['covered'] > 0.9
  for kind in ('t, 3 degrees', 'log-normal 1'):
    assert found[kind]['printed'] < 0.2 and found[kind]['misleading'] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize('kind', ('exponential', 't, 5 degrees', 'elliptical t, 5',
                                  'log-normal 1/2'))
@pytest.mark.parametrize('name', ('fd', 'sliced_w2'))
def test_distances_of_skewed_features_are_covered(name, kind):
  rng = np.random.default_rng(6)
  draw = functools.partial(coverage.FEATURES[kind], rng)
  hits = coverage.simulate(coverage.DISTANCES[name], lambda: 0.3 + 1.3 * draw(300, 2),
                           lambda: draw(300, 2), TRIALS)
  assert hits['misleading'] < 0.05 + 1.96 * np.sqrt(0.05 * 0.95 / TRIALS)
  assert hits['covered'] > 0.93


def truth(log_p, log_q):
  """KL both ways, JS and TV of two densities on the line, by quadrature."""
  x, step = np.linspace(-12, 12, 200_001, retstep=True)
  p, q = np.exp(log_p(x)) * step, np.exp(log_q(x)) * step
  log_m = np.logaddexp(log_p(x), log_q(x)) - np.log(2.0)
  return {'kl_data_model': p @ (log_p(x) - log_q(x)), 'kl_model_data': q @ (log_q(x) - log_p(x)),
          'js': 0.5 * (p @ (log_p(x) - log_m) + q @ (log_q(x) - log_m)),
          'tv': 0.5 * np.abs(p - q).sum()}


@pytest.mark.slow
@pytest.mark.parametrize('mean, std', ((0.5, 1.0), (0.0, 1.5), (0.3, 0.6)))
def test_monte_carlo_divergences_are_covered(mean, std, monkeypatch):
  monkeypatch.setattr(estimates.sharding, 'jit', lambda f: f)  # 2,000 compilations less
  log_p = lambda x: -0.5 * np.asarray(x, np.float64)[..., 0] ** 2
  log_q = lambda x: log_p((x - mean) / std) - np.log(std)
  known = truth(*(lambda x, f=f: f(x[:, None]) - 0.5 * np.log(2 * np.pi) for f in (log_p, log_q)))
  rng, n = np.random.default_rng(2), 1024
  dataset = Dataset('normal', DataSpec((1,), None, None), {}, {}, log_density=log_p,
                    sample=lambda key, size: rng.standard_normal((size, 1)))
  model = Model(init=None, log_prob=lambda params, batch, key: log_q(np.asarray(batch['x'])))
  hits = {name: [] for name in known}
  for _ in range(TRIALS):
    x = mean + std * rng.standard_normal((n, 1))
    for name, found in estimates.monte_carlo(model, {}, x, dataset, None).items():
      hits[name].append(abs(found.value - known[name]) <= found.half)
  assert {name: at_least_nominal(h) for name, h in hits.items()} == dict.fromkeys(known, True)
