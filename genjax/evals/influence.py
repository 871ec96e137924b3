"""Intervals of squared distances between samples, from the influence of each row on them."""

import numpy as np

from genjax.evals import card as cards

BLOCK = 4096  # rows in float64 at once
# Gaussian features have kurtosis 3, exponential ones 9. Above this limit influences may have no
# variance: intervals of 95 % had coverage .82 to .96 (t with 3 degrees of freedom,
# benchmarks/2026-11-29-coverage.md).
KURTOSIS = 12.0


def kurtosis(x) -> float:
  """sum_j m_4j / sum_j m_2j^2 of features x [N, d]: the kurtosis of those that vary most.

  m_kj: the k-th central moment of feature j. It is nan if no feature varies.
  """
  mean = x.mean(0, dtype=np.float64)
  second, fourth = np.zeros(x.shape[1]), np.zeros(x.shape[1])
  for start in range(0, len(x), BLOCK):
    square = (x[start:start + BLOCK] - mean) ** 2
    second += square.sum(0)
    fourth += (square**2).sum(0)
  total = np.sum((second / len(x)) ** 2)
  return float(np.sum(fourth / len(x)) / total) if total > 0 else float('nan')


def refusal(*sets) -> str:
  """Why distances between these sets of features [N, d] have no interval; '' if they have one."""
  largest = max((k for k in map(kurtosis, sets) if k > KURTOSIS), default=None)
  if largest is None:
    return ''
  return (f'no calibrated interval: the features have heavy tails (kurtosis {largest:.3g}, above '
          f'{KURTOSIS:g}; 3 where they are Gaussian)')


def ends(value: float, *influences) -> tuple[float, float]:
  """The ends of the interval of a squared distance for its expectation at these numbers of rows.

  influences: for each independent sample, those of its rows [N] on the distance. Their means have
  the variance and the skewness of the value to first order. Each end uses the wider of the normal
  quantile and Hall's, as in `card.of_mean`.
  """
  variance = sum(f.var(ddof=1) / len(f) for f in influences)
  third = sum(np.mean((f - f.mean()) ** 3) / len(f)**2 for f in influences)
  error = np.sqrt(variance)
  skew = cards.SKEW * third / error**3 if error > 0 else 0.0
  return raised(value, error * max(cards.hall(cards.Z, skew), cards.Z),
                error * max(-cards.hall(-cards.Z, skew), cards.Z))


def raised(value: float, below: float, above: float) -> tuple[float, float]:
  """The interval ends D - below and D + above + a rise, for a squared distance D = value.

  If few directions matter, D is a sum of few squares and `above` is too short when D is small. On
  the scale of the root, the upper end rises by above^2 / (4 D). The rise here is twice that, at
  most `above`: with less, simulated coverages do not reach .95 everywhere.
  """
  more = min(above**2 / (2.0 * value), above) if value > 0 else above
  return max(value - below, 0.0), value + above + more
