"""Frechet distance between feature distributions, and its extrapolation to infinitely many samples.

Everything is float64 on the host; no square root of a product of two covariances is taken.
"""

from typing import NamedTuple

import numpy as np

from genjax.evals import card as cards
from genjax.evals import influence, two_sample
from genjax.evals.kinds import OfSamples
from genjax.types import BadInput, Estimator

METRICS = ('fd', 'fd_inf')
BLOCK = 4096  # rows processed at once
EPS = np.finfo(np.float64).eps
TOLERANCE = 1e-6  # a covariance may have eigenvalues down to minus this times its largest
NUM_SIZES = 15  # 1911.07023, section 4: from a tenth of the samples to all of them
RECIPE = (f'intercept of a line through FD_n against 1 / n; {NUM_SIZES} n, evenly spaced from '
          'N / 10 to N: the first n rows in one order fixed by subset_seed, against the split')
METHOD = 'delta method, influences of the rows times 1 + leverage'
CALIBRATED = f'; features of a kurtosis up to {influence.KURTOSIS:g} alone'
BIAS_ROWS = 16_384  # largest number of rows for the fourth moments in the first-order bias
SINGULAR = 'a covariance is singular: no influence function'


def make(*, extrapolate: bool = True, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of fd and fd_inf, each with `_data` and `_single`; squared feature units.

  fd: squared 2-Wasserstein distance of the Gaussians fitted to the samples and to the whole split
  (1706.08500, Eq. 6), eps 0. The card's detail has its expectation under equal distributions, to
  first order in 1 / N, from the fourth moments of the split. fd_inf: FD_n extrapolated in the
  number of samples (1911.07023); absent for up to 10 d samples, not computed if extrapolate=False.
  Features with heavy tails have no interval (`influence.refusal`).
  """
  def measure(x, y, card):
    shared = {'unit': 'squared feature units', 'dim': x.shape[1], 'ddof': 1, 'eps': 0}
    a, b = moments(x), moments(y)
    own = {**card('fd', **shared), 'detail': {
        'bias_first_order': first_order_bias(b, len(x), len(y), y)}}
    value, ends = frechet_distance(x, y, a, b)
    refused = influence.refusal(x, y)
    if ends is None or refused:
      out = {'fd': cards.plain(value, own, SINGULAR if ends is None else refused)}
    else:
      out = {'fd': cards.with_interval(value, *ends, own,
                                       'E[FD_N] over both samples, at the N of this card',
                                       f"{METHOD}; Hall's for skewness, the upper end raised"
                                       f'{CALIBRATED}')}
    return {**out, 'fd_inf': _extrapolated(x, a, b, card('fd_inf', recipe=RECIPE, **shared))
            } if extrapolate else out

  def _extrapolated(x, a, b, own):
    if len(x) <= 10 * x.shape[1]:
      return cards.absent(own, f'{len(x)} samples of dimension {x.shape[1]}: FD_n is far from a '
                          'line in 1 / n up to n = d, and the smallest n is a tenth of them')
    if not (a.regular and b.regular):
      return cards.absent(own, SINGULAR)
    value, half = extrapolated(x, b, subset_seed)
    refused = influence.refusal(x)
    if refused:
      return cards.plain(value, own, refused)
    return cards.with_interval(
        value, value - half, value + half, own,
        'expectation of this intercept over samples at the N of this card, given the split',
        f'{METHOD}{CALIBRATED}')

  return two_sample.of_features(METRICS if extrapolate else METRICS[:1], measure,
                                subset_seed=subset_seed)


ESTIMATORS = {'features': Estimator(two_sample.NEEDS, make, 'samples')}


class Moments(NamedTuple):
  """A mean [d], and a root [r, d] of the covariance (ddof=1): root' root = S."""

  mean: np.ndarray
  root: np.ndarray
  regular: bool  # S is positive definite, and the root is triangular
  covariance: np.ndarray | None = None  # S, where it was formed and is regular


def moments(x) -> Moments:
  """The moments of features [N, d], N > 1; `covariance` is None if N <= d or if S is singular."""
  n, d = x.shape
  mean = _mean(x)
  if n <= d:
    return Moments(mean, (x.astype(np.float64) - mean) / np.sqrt(n - 1), False)
  covariance = sum(c.T @ c for c in _centred(x, mean)) / (n - 1)
  triangle = _cholesky(covariance)
  if triangle is not None:
    return Moments(mean, triangle.T, True, covariance)
  root = np.zeros((0, d))
  for c in _centred(x, mean):
    root = np.linalg.qr(np.concatenate([root, c]), mode='r')
  return Moments(mean, root / np.sqrt(n - 1), False)


def known_moments(mean, covariance) -> Moments:
  """The moments of a given mean [d] and covariance [d, d].

  Raises BadInput for a negative eigenvalue beyond TOLERANCE times the largest.
  """
  mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
  triangle = _cholesky(covariance)
  if triangle is not None:
    return Moments(mean, triangle.T, True, covariance)
  l, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
  if l[0] < -TOLERANCE * max(l[-1], 0.0):
    raise BadInput(f'a covariance has the eigenvalue {l[0]:.3g}, its largest is {l[-1]:.3g}; '
                   f'allowed: from {-TOLERANCE:g} times the largest')
  return Moments(mean, (vectors * np.sqrt(np.maximum(l, 0.0))).T, False)


def _mean(x):
  first = x[0].astype(np.float64)  # features that are constant become exactly so
  return first + sum((x[i:i + BLOCK] - first).sum(0) for i in range(0, len(x), BLOCK)) / len(x)


def _centred(x, mean):
  return (x[i:i + BLOCK] - mean for i in range(0, len(x), BLOCK))


def _cholesky(s):
  """L with L L' = S, or None where a feature is a linear function of others (or constant)."""
  try:
    triangle = np.linalg.cholesky(s)
  except np.linalg.LinAlgError:
    return None
  # the share of a feature's variance that those before it leave unexplained
  unexplained = np.diag(triangle) ** 2 / np.diag(s)
  return triangle if unexplained.min() > 64 * len(s) * np.finfo(np.float64).eps else None


def distance(a: Moments, b: Moments) -> float:
  """|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1^(1/2) S_2 S_1^(1/2))^(1/2)), never below 0.

  With S_i = R_i' R_i the trace of the square root is the nuclear norm of R_1 R_2', whose singular
  values are the square roots of the eigenvalues of S_1 S_2: no eps, exact for any number of rows.
  """
  if a.regular and b.regular:
    from scipy.linalg import lapack  # not before it is needed: it takes a while to import
    product, _ = lapack.dsygst(a.covariance, b.root.T, itype=2, lower=1)  # R_2 S_1 R_2', half of it
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0.0))
  else:  # a Gram matrix loses half of the digits of small singular values
    singular = np.linalg.svd(a.root @ b.root.T, compute_uv=False)
  return _assemble(a, b, singular)


def _assemble(a, b, singular) -> float:
  trace = np.sum(a.root**2) + np.sum(b.root**2) - 2.0 * singular.sum()
  return float(np.sum((a.mean - b.mean) ** 2) + max(trace, 0.0))


def frechet_distance(x, y, a: Moments | None = None,
                     b: Moments | None = None) -> tuple[float, tuple[float, float] | None]:
  """FD of features x [N, d] and y [M, d], and the ends of its interval for E[FD_N].

  a, b: the moments of x and y, if known. The interval is None if a covariance is singular.
  d FD / d m_1 = 2 (m_1 - m_2) and d FD / d S_1 = I - T, where T is the optimal map, T S_1 T = S_2;
  the map back is its inverse. Cost: two eigenproblems and O((N + M) d^2).
  """
  a, b = a or moments(x), b or moments(y)
  if not (a.regular and b.regular):
    return distance(a, b), None
  cross = a.root @ b.root.T
  l, u = np.linalg.eigh(cross @ cross.T)
  l = np.maximum(l, len(l) * EPS * l[-1])  # the map divides by them; smaller ones are rounding
  delta = a.mean - b.mean
  of_x = _influences(x, a.mean, np.linalg.solve(a.root, u), delta, np.sqrt(l), np.ones(len(l)))
  of_y = _influences(y, b.mean, a.root.T @ u, -delta, 1.0 / np.sqrt(l), 1.0 / l)
  value = distance(a, b)  # not from these l, which are floored and less exact
  return value, influence.ends(value, of_x, of_y)


def _influences(x, mean, basis, delta, optimal_map, precision) -> np.ndarray:
  """The influences of rows x, c = x - mean: 2 c' delta + c'c - c'Tc; T, S^-1 diagonal in c'basis.

  They are multiplied by 1 + leverage. To the next order in 1 / N the variance is then that of the
  jackknife, which is not too small (Efron and Stein 1981).
  """
  parts = []
  for c in _centred(x, mean):
    p = (c @ basis) ** 2
    leverage = p @ precision / (len(x) - 1)
    parts.append((1.0 + leverage) * (2.0 * c @ delta + np.sum(c**2, 1) - p @ optimal_map))
  return np.concatenate(parts)


def sizes(n: int) -> np.ndarray:
  """int [NUM_SIZES]: evenly spaced from n / 10 to n."""
  return np.linspace(n / 10, n, NUM_SIZES).round().astype(int)


def extrapolated(x, b: Moments, seed: int = 0) -> tuple[float, float]:
  """FD_inf, the intercept of FD_n against 1 / n, and its interval's half width.

  FD_n is the distance from the first n rows of x [N, d], in one order fixed by the seed, to regular
  moments b. The intercept is a fixed linear combination of the FD_n. So a row's influence on it
  is that combination of its influences on the FD_n that include the row. Its expectation is
  below the noise-free FD by terms of order (d / n)^2. Cost for each n: an eigenproblem, O(n d^2).
  """
  number = sizes(len(x))
  weights = np.linalg.pinv(np.stack([np.ones(NUM_SIZES), 1.0 / number], 1))[0]
  x = x[np.random.default_rng(seed).permutation(len(x))] - b.mean
  z = x @ b.root.T  # their covariance R S_n R' has the eigenvalues of S_n S
  total, square, gram = 0.0, 0.0, 0.0
  intercept, of_rows = 0.0, np.zeros(len(x))
  for start, n, w in zip([0, *number[:-1]], number, weights, strict=True):
    rows = slice(start, n)
    total, square = total + x[rows].sum(0), square + np.sum(x[rows] ** 2)
    gram = gram + z[rows].T @ z[rows]
    delta = total / n
    mean = b.root @ delta
    l, u = np.linalg.eigh((gram - n * np.outer(mean, mean)) / (n - 1))
    singular = np.sqrt(np.maximum(l, 0.0))
    l = np.maximum(l, len(l) * EPS * l[-1])
    trace = (square - n * delta @ delta) / (n - 1) + np.sum(b.root**2) - 2.0 * singular.sum()
    intercept += w * (delta @ delta + max(trace, 0.0))
    own = _influences(x[:n], delta, b.root.T @ u, delta, 1.0 / np.sqrt(l), 1.0 / l)
    of_rows[:n] += w / n * (own - own.mean())
  return float(intercept), float(cards.Z * np.sqrt(np.sum(of_rows**2)))


def first_order_bias(moments: Moments, n: int, m: int, rows=None) -> float:
  """E FD of samples of sizes n and m from one distribution with these moments, to first order.

  It is (1/n + 1/m) (tr S + sum_ij (E p_i^2 p_j^2 - [i = j] l_i^2) / (2 (l_i + l_j))), with l and p
  the eigenvalues and principal components of S. rows: features [N, d] that estimate the fourth
  moments; None: Gaussian, E p_i^2 p_j^2 = l_i l_j (1 + 2 [i = j]), for which identity covariance
  and n = m give d (d + 5) / (2 n).
  """
  l, u = np.linalg.eigh(moments.root @ moments.root.T)
  positive = l > len(l) * EPS * l[-1]
  l, basis = l[positive], moments.root.T @ u[:, positive] / np.sqrt(l[positive])
  if rows is None:
    fourth = np.outer(l, l) + 2.0 * np.diag(l**2)
  else:
    rows = rows[::-(-len(rows) // BIAS_ROWS)]
    squares = ((c @ basis) ** 2 for c in _centred(rows, moments.mean))
    fourth = sum(s.T @ s for s in squares) / len(rows)
  pairs = (fourth - np.diag(l**2)) / (l[:, None] + l[None, :])
  return float((1 / n + 1 / m) * (l.sum() + 0.5 * pairs.sum()))
