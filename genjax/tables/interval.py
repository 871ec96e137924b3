"""The intervals of a mean over seeds: its error from other trainings and from other test data.

The value of seed s is mu + a_s + b + e_s. The seed determines a_s, the effect of the training, and
e_s, the effect of the measured samples. All seeds share b, the error of the test data, which no
spread over seeds shows.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95


class Interval(NamedTuple):
  """The error of a mean; None where it is unknown."""

  half_width: float | None  # over seeds alone, for mu + b: other seeds on the same test data
  low: float | None  # over seeds and test data, for mu; for one seed, its evaluation noise alone
  high: float | None


def of_mean(values: Sequence[float], lows: Sequence[float | None],
            highs: Sequence[float | None]) -> Interval:
  """The intervals of the mean of one value for each seed.

  lows, highs: the ends of each seed's own evaluation interval, or None. The ends for mu need all of
  them. They add in quadrature the half width over seeds and the mean evaluation half width, taken
  as the error that all seeds share. Simulated coverages: .946 to 1
  (benchmarks/2026-11-29-coverage.md).
  """
  values = np.asarray(values, np.float64)
  half, mean = t_half_width(values), float(values.mean())
  if None in (*lows, *highs):
    return Interval(half, None, None)
  below = float(np.mean(values - np.asarray(lows, np.float64)))
  above = float(np.mean(np.asarray(highs, np.float64) - values))
  seeds = half or 0.0
  return Interval(half, mean - math.hypot(seeds, below), mean + math.hypot(seeds, above))


def t_half_width(values: np.ndarray) -> float | None:
  """Half width of the LEVEL t interval for the mean of independent values [n]; None for n = 1."""
  n = len(values)
  if n < 2:
    return None
  from scipy import special  # not before it is needed: it takes a while to import
  quantile = special.stdtrit(n - 1, (1 + LEVEL) / 2)
  return float(quantile * np.std(values, ddof=1) / math.sqrt(n))
