"""Kernel distance of features (KID): the unbiased squared MMD of a cubic kernel, over all pairs."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import influence, two_sample
from genjax.evals.kinds import OfSamples
from genjax.types import Estimator

METRICS = ('kid',)
BLOCK = 1024  # side of the block of the N x M kernel values held at once
SPECTRUM = 1024  # largest number of rows a side for the largest eigenvalue of the kernel
ESTIMAND = 'squared MMD of the two distributions'
METHOD = ('normal, variance by the delete-one jackknife over both samples; the upper end raised '
          'for the square of one dominant direction; features of a kurtosis up to '
          f'{influence.KURTOSIS:g} alone')
KERNEL = '(x.y / d + 1)^3'


def make(*, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of kid, kid_data, kid_single: squared MMD (papers often print 1e3 KID).

  Its expectation is the population's value at every N, as for the usual mean over subsets
  (1801.01401, section 4). Equal distributions have 0, and half of the values negative. Features
  with heavy tails have no interval (`influence.refusal`).
  """
  def measure(x, y, card):
    own = card('kid', unit='squared MMD', dim=x.shape[1], kernel=KERNEL, form='U-statistic')
    value, low, high = kid(x, y)
    refused = influence.refusal(x, y)
    return {'kid': cards.plain(value, own, refused) if refused else
            cards.with_interval(value, low, high, own, ESTIMAND, METHOD)}

  return two_sample.of_features(METRICS, measure, at_least=3, subset_seed=subset_seed)


ESTIMATORS = {'features': Estimator(two_sample.NEEDS, make, 'samples')}


def kid(x, y) -> tuple[float, float, float]:
  """Unbiased squared MMD of features [N, d] and [M, d] (N, M > 2), and the ends of its interval.

  1801.01401, Eq. 4, for any N and M: sum_{i != j} k(x_i, x_j) / (N (N - 1)), plus the same of y,
  less 2 sum_ij k(x_i, y_j) / (N M). Delete-one values follow from the deleted point's row sums.
  """
  within = sums_of_pairs(x), sums_of_pairs(y)
  across = sums_across(x, y)
  n, m = len(x), len(y)
  both = across[0].sum()
  value = within[0].sum() / (n * (n - 1)) + within[1].sum() / (m * (m - 1)) - 2 * both / (n * m)
  variance = 0.0
  for own, other, a, b in (within[0], across[0], n, m), (within[1], across[1], m, n):
    without = (own.sum() - 2 * own) / ((a - 1) * (a - 2)) - 2 * (both - other) / ((a - 1) * b)
    variance += (a - 1) * np.var(without)
  # The value is |w|^2 less its bias, w the difference of the mean embeddings. Along a direction in
  # which w has variance s^2, |w| +- Z s becomes w^2 +- 2 Z |w| s + Z^2 s^2 (and s^2 of bias). If
  # few directions matter and |w| is of the order of s, a symmetric interval is too short.
  largest = leading_variance(x) / n + leading_variance(y) / m
  half = cards.Z * np.sqrt(variance)
  return float(value), float(value - half), float(value + half + (cards.Z**2 + 1) * largest)


def leading_variance(x) -> float:
  """The largest variance along one direction of the kernel's embedding of rows x [N, d]."""
  x = x[::-(-len(x) // SPECTRUM)]
  k = _kernel(x, x)
  mean = k.mean(0)
  return float(np.linalg.eigvalsh(k - mean - mean[:, None] + mean.mean())[-1] / len(x))


def sums_of_pairs(x) -> np.ndarray:
  """float64 [N]: sum_{j != i} k(x_i, x_j) for each row i of x [N, d], from half of the blocks."""
  sums = np.zeros(len(x))
  for i in range(0, len(x), BLOCK):
    for j in range(i, len(x), BLOCK):
      k = _kernel(x[i:i + BLOCK], x[j:j + BLOCK])
      if i == j:
        np.fill_diagonal(k, 0.0)
      else:
        sums[j:j + BLOCK] += k.sum(0)
      sums[i:i + BLOCK] += k.sum(1)
  return sums


def sums_across(x, y) -> tuple[np.ndarray, np.ndarray]:
  """sum_j k(x_i, y_j) and sum_i k(x_i, y_j) for x [N, d] and y [M, d]: float64 [N] and [M]."""
  of_x, of_y = np.zeros(len(x)), np.zeros(len(y))
  for i in range(0, len(x), BLOCK):
    for j in range(0, len(y), BLOCK):
      k = _kernel(x[i:i + BLOCK], y[j:j + BLOCK])
      of_x[i:i + BLOCK] += k.sum(1)
      of_y[j:j + BLOCK] += k.sum(0)
  return of_x, of_y


def _kernel(x, y):
  # float64: KID is a small difference of large sums, whose sixth digit is noise in float32
  k = x.astype(np.float64) @ y.astype(np.float64).T / x.shape[1] + 1.0
  return k * k * k
