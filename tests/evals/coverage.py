"""What intervals of distances cover where features have heavier tails than a Gaussian.

python -m tests.evals.coverage --metric=fd|sliced_w2|kid|bias [--trials=1000]

Prints a Markdown table with a row for each kind of features. The estimand is the mean over the
trials. An interval counts as misleading where it is printed and does not hold the estimand.
"""

import argparse
from collections.abc import Callable

import numpy as np

from genjax import data, encoders
from genjax.evals import frechet, influence, kid, sliced_w2

# dimension, rows of the samples and of the reference, scale and shift of the samples
SHAPES = ((2, 100, 200, 1.0, 0.0), (2, 300, 300, 1.3, 0.3), (8, 300, 300, 1.0, 0.0),
          (8, 1000, 1000, 1.2, 0.1))
FEATURES = {
    'Gaussian': lambda rng, n, d: rng.standard_normal((n, d)),
    'exponential': lambda rng, n, d: rng.exponential(size=(n, d)),
    'log-normal 1/2': lambda rng, n, d: np.exp(rng.standard_normal((n, d)) / 2),
    't, 5 degrees': lambda rng, n, d: rng.standard_t(5, (n, d)),
    'elliptical t, 5': lambda rng, n, d: _elliptical(rng, n, d, 5),
    't, 3 degrees': lambda rng, n, d: rng.standard_t(3, (n, d)),
    'elliptical t, 3': lambda rng, n, d: _elliptical(rng, n, d, 3),
    'log-normal 1': lambda rng, n, d: np.exp(rng.standard_normal((n, d))),
}
DISTANCES = {
    'fd': frechet.frechet_distance,
    'sliced_w2': lambda x, y: _sliced(x, y),
    'kid': lambda x, y: (lambda value, *ends: (value, ends))(*kid.kid(x, y)),
}


def _elliptical(rng, n, d, degrees):
  return rng.standard_normal((n, d)) / np.sqrt(rng.chisquare(degrees, (n, 1)) / degrees)


def _sliced(x, y):
  squared, *influences = sliced_w2.squared_and_influences(x, y, 8)
  return squared, influence.ends(squared, *influences)


def simulate(distance: Callable, draw_x: Callable, draw_y: Callable, trials: int) -> dict:
  """{'covered', 'printed', 'misleading', 'width'} of the intervals of `trials` pairs of samples.

  covered: share of all intervals that hold the mean of the values; printed: share that features
  with light tails let through; misleading: share that is printed and does not hold it; width: the
  median over the mean value.
  """
  values, ends, printed = [], [], []
  for _ in range(trials):
    x, y = draw_x(), draw_y()
    value, interval = distance(x, y)
    values.append(value)
    ends.append(interval)
    printed.append(not influence.refusal(x, y))
  mean, (low, high), printed = np.mean(values), np.array(ends).T, np.array(printed)
  inside = (low <= mean) & (mean <= high)
  return {'covered': inside.mean(), 'printed': printed.mean(),
          'misleading': (printed & ~inside).mean(), 'width': np.median(high - low) / mean}


def cases(rng, shapes=SHAPES):
  """(name, dimension, N, M, draw of samples, draw of the reference)."""
  dataset = data.load('digits')
  encoder, x = encoders.load('digits', dataset.spec), dataset.splits['train']['x'].astype(int)
  of_data = encoder.features(x)
  for noise in (0, 2):
    noisy = encoder.features(np.clip(x + rng.integers(-noise, noise + 1, x.shape), 0, 16))
    drawn = lambda a, n: lambda: a[rng.integers(0, len(a), n)]
    for n in (100, 400):
      yield f'digits, noise {noise}', 16, n, 400, drawn(noisy, n), drawn(of_data, 400)
  for name, draw in FEATURES.items():
    for d, n, m, scale, shift in shapes:
      yield (name, d, n, m, lambda draw=draw, n=n, d=d, a=scale, b=shift: b + a * draw(rng, n, d),
             lambda draw=draw, m=m, d=d: draw(rng, m, d))


def table(metric: str, trials: int) -> str:
  """The Markdown table of one distance."""
  lines = ['| features | d | N, M | covered | printed | misleading | width over value |',
           '|---|---|---|---|---|---|---|']
  # of KID the kernel's spectrum at 1,000 rows takes a second
  shapes = SHAPES[:3] if metric == 'kid' else SHAPES
  for name, d, n, m, draw_x, draw_y in cases(np.random.default_rng(0), shapes):
    found = simulate(DISTANCES[metric], draw_x, draw_y, trials)
    width = '' if metric == 'kid' else f'{found["width"]:.2f}'  # its values are about 0
    lines.append(f'| {name} | {d} | {n}, {m} | {found["covered"]:.3f} | {found["printed"]:.2f} | '
                 f'{found["misleading"]:.3f} | {width} |')
  return '\n'.join(lines)


def bias(rng, draw: Callable, d: int, n: int, m: int, trials: int) -> tuple[float, float, float]:
  """Mean FD of equal distributions, and its first-order value by the fourth moments of the split
  and by those of a Gaussian, both the medians over the trials."""
  found = []
  for _ in range(trials):
    x, y = draw(rng, n, d), draw(rng, m, d)
    b = frechet.moments(y)
    found.append((frechet.distance(frechet.moments(x), b), frechet.first_order_bias(b, n, m, y),
                  frechet.first_order_bias(b, n, m)))
  values, own, gaussian = np.array(found).T
  return float(values.mean()), float(np.median(own)), float(np.median(gaussian))


def bias_table(trials: int) -> str:
  """The Markdown table of FD's first-order bias."""
  lines = ['| features | d | N, M | mean FD | own fourth moments | Gaussian |',
           '|---|---|---|---|---|---|']
  rng = np.random.default_rng(0)
  for name, draw in FEATURES.items():
    for d, n, m in ((4, 500, 500), (16, 1024, 1024)):
      mean, own, gaussian = bias(rng, draw, d, n, m, trials)
      lines.append(f'| {name} | {d} | {n}, {m} | {mean:.4f} | {own:.4f} | {gaussian:.4f} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  parser = argparse.ArgumentParser()
  parser.add_argument('--metric', choices=(*DISTANCES, 'bias'), required=True)
  parser.add_argument('--trials', type=int, default=1000)
  given = parser.parse_args()
  print(bias_table(given.trials) if given.metric == 'bias' else table(given.metric, given.trials))
