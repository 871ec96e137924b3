"""How often intervals over seeds hold what they are for: the tables of a note in benchmarks.

python -m tests.tables.coverage

Each trial draws test data, trainings and samples anew, measures every seed by the evaluators' own
code and reduces the seeds by that of the tables. Printed is the share of trials whose interval
holds the population's value: of the t interval over seeds, and of the one that holds the evaluation
noise too. The standard error of a share of .95 is .22 / sqrt(trials).
"""

import itertools
import time

import numpy as np

from genjax.evals import card as cards
from genjax.evals import frechet
from genjax.tables import collect, interval

Z = 1.959963984540054


def gaussian(rng, trials: int, num_seeds: int, training: float, shared: float, own: float):
  """Shares that cover 0: normal errors of the training, of the test data, of the own samples."""
  held = np.zeros(2)
  half = Z * np.hypot(shared, own)
  for b in rng.normal(0.0, shared, trials):
    values = b + rng.normal(0.0, np.hypot(training, own), num_seeds)
    held += _held(interval.of_mean(values, values - half, values + half), values.mean(), 0.0)
  return held / trials


def likelihood(rng, trials: int, num_seeds: int, num_test: int, training: float, spread):
  """Shares that cover the population's negative log-likelihood of a model family.

  An example's value is a + d_s, a = spread(rng, N) of the example, alike for all seeds, d_s of the
  training: what `evals.likelihood` gives to `card.of_mean`.
  """
  target = spread(np.random.default_rng(1), 4_000_000).mean()
  held = np.zeros(2)
  for _ in range(trials):
    examples = spread(rng, num_test)
    ends = [cards.of_mean(examples + shift, {}, 'population mean')
            for shift in rng.normal(0.0, training, num_seeds)]
    values = [end.value for end in ends]
    held += _held(interval.of_mean(values, [end.low for end in ends], [end.high for end in ends]),
                  np.mean(values), target)
  return held / trials


def excess(rng, trials: int, num_seeds: int, n: int, dim: int, training: float, away: float = 0.3):
  """Shares that cover the expected FD less the expected floor, at n samples and n test examples.

  Seeds and floor are compared with one test set, and all seeds subtract one floor, as in a column
  of a table; a training moves the model's mean by `training` times a unit normal in each dimension,
  from a point `away` from the data's. The target is the mean over all trials.
  """
  column = {'label': 'excess', 'metric': ('fd',), 'source': 'metric', 'split': 'test', 'axes': (),
            'floor': 'fd_data', 'detail': '', 'excess': True}
  found = []
  for _ in range(trials):
    test = rng.normal(size=(n, dim))
    floor = _distance(rng.normal(size=(n, dim)), test)
    entries = []
    for _ in range(num_seeds):
      mean = away / np.sqrt(dim) + training * rng.normal(size=dim)
      metrics = {'fd': _distance(mean + rng.normal(size=(n, dim)), test), 'fd_data': floor}
      entries.append(collect.value(column, {'metrics': metrics}))
    values = [entry['value'] for entry in entries]
    found.append((np.mean(values), interval.of_mean(
        values, [entry['low'] for entry in entries], [entry['high'] for entry in entries])))
  target = np.mean([mean for mean, _ in found])
  return sum(_held(ends, mean, target) for mean, ends in found) / trials


def _distance(x, y) -> dict:
  value, half = frechet.frechet_distance(x.astype(np.float32), y.astype(np.float32))
  low, high = cards.raised(value, half)
  return {'value': value, 'low': low, 'high': high,
          'card': {'n_generated': len(x), 'interval': {'method': '', 'estimand': ''}}}


def _held(ends: interval.Interval, mean: float, target: float) -> np.ndarray:
  """[over seeds, over both]: 1 where the target lies inside."""
  return np.array([abs(mean - target) <= ends.half_width, ends.low <= target <= ends.high], float)


def main() -> None:
  rng, start = np.random.default_rng(0), time.process_time()
  print('| normal errors: sd of training, test data, own samples | seeds | t over seeds | both |')
  print('| --- | --- | --- | --- |')
  for sds, num_seeds in itertools.product(
      [(1, 0, 0), (1, 0.3, 0), (1, 1, 0), (0.3, 1, 0), (0.1, 1, 0), (0, 1, 0), (0.3, 0.3, 1),
       (0, 0, 1)], (2, 3, 5, 10)):
    seeds, both = gaussian(rng, 4000, num_seeds, *sds)
    print(f'| {", ".join(map(str, sds))} | {num_seeds} | {seeds:.3f} | {both:.3f} |', flush=True)
  print('\n| negative log-likelihood of 400 test images, sd over seeds .01 | seeds | t over seeds '
        '| both |')
  print('| --- | --- | --- | --- |')
  for name, spread in SPREADS.items():
    for num_seeds in (3, 5):
      seeds, both = likelihood(rng, 1000, num_seeds, 400, 0.01, spread)
      print(f'| {name} | {num_seeds} | {seeds:.3f} | {both:.3f} |', flush=True)
  print('\n| excess FD, n = 400, 8 dimensions; training moves each mean by | seeds | t over seeds '
        '| both |')
  print('| --- | --- | --- | --- |')
  for training, num_seeds in itertools.product((0.0, 0.02, 0.1), (3, 5)):
    seeds, both = excess(rng, 400, num_seeds, 400, 8, training)
    print(f'| {training} | {num_seeds} | {seeds:.3f} | {both:.3f} |', flush=True)
  print(f'\n{time.process_time() - start:.0f} CPU seconds')


SPREADS = {
    'normal, sd .2': lambda rng, n: rng.normal(2.0, 0.2, n),
    'normal, sd 1': lambda rng, n: rng.normal(2.0, 1.0, n),
    'log-normal, sigma 1, sd .2': lambda rng, n: 2.0 + 0.2 * (
        rng.lognormal(0.0, 1.0, n) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)}


if __name__ == '__main__':
  main()
