"""Vendi score: the effective number of distinct samples, without a reference."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.evals.kinds import OfSamples
from genjax.types import Estimator

METRICS = ('vendi',)
BLOCK = 4096  # rows in float64 at once
KERNEL = 'cosine'
ESTIMAND = 'E[Vendi_N] over samples, at the N of this card'
ONE_DIRECTION = 'no interval: all feature vectors have one direction, so that the score is 1'
METHOD = ('infinitesimal jackknife, influences of the rows times 1 + leverage, and 2.5 Vendi / N '
          'for terms of second order; conservative')
# If influences vanish, as for two equal modes, the noise comes from terms of second order. This
# factor covers two modes of any shares, in the limit (2 covers .948 for the worst shares).
SECOND_ORDER = 2.5


def make(*, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of vendi, vendi_data, vendi_single: 1 (all alike) to N (all orthogonal).

  It sees only the samples, and grows with N; `_data` is the score of the same number of examples.
  N is at most num_samples and the sizes of the splits. The score is absent if a feature vector is
  zero, which has no direction.
  """
  def measure(x, y, card):
    del y  # nothing is compared
    own = card('vendi', unit='effective samples', kernel=KERNEL, dim=x.shape[1], n_reference=None)
    zero = int(np.sum(~x.any(axis=1)))
    if zero:
      return {'vendi': cards.absent(own, f'the feature vectors of {zero} of {len(x)} examples are '
                                    'zero')}
    value, half = vendi(x)
    if half is None:
      return {'vendi': cards.plain(value, own, ONE_DIRECTION)}
    return {'vendi': cards.with_interval(value, max(value - half, 1.0),
                                         min(value + half, float(len(x))), own, ESTIMAND, METHOD)}

  return two_sample.of_features(METRICS, measure, equal=True, subset_seed=subset_seed)


ESTIMATORS = {'features': Estimator(two_sample.NEEDS, make, 'samples')}


def vendi(x) -> tuple[float, float | None]:
  """exp(-sum_i l_i log l_i), l the eigenvalues of K / N; and its interval's half width.

  K_ij = x_i.x_j / (|x_i| |x_j|) for features x [N, d] without zero rows (2210.02410, Eq. 3, order
  1), float64. The half width is None if all rows have one direction.
  """
  l, shares = spectrum(x)
  entropy = -float(l @ np.log(l))
  value = float(np.exp(entropy))
  if len(l) == 1:
    return value, None
  n = len(x)
  # d entropy of a row phi: -phi' log(G) phi - entropy, G the mean of phi phi'
  influence = -shares @ np.log(l) - entropy
  # with 1 + leverage the variance is, to the next order in 1 / N, that of the jackknife, which is
  # not too small (Efron and Stein 1981)
  leverage = shares @ (1.0 / l) / (n - 1)
  variance = np.var((1.0 + leverage) * influence, ddof=1) / n + (SECOND_ORDER / n) ** 2
  return value, float(cards.Z * value * np.sqrt(variance))


def spectrum(x) -> tuple[np.ndarray, np.ndarray]:
  """The positive eigenvalues l [r] of K / N, summing to 1, and the shares (u_a.phi_i)^2 [N, r].

  phi_i are the rows over their norms, u the eigenvectors of G = sum_i phi_i phi_i' / N, d x d,
  which has the same positive eigenvalues. If N < d, K / N itself is decomposed.
  """
  n, d = x.shape
  if n < d:
    phi = _directions(x)
    l, v = np.linalg.eigh(phi @ phi.T / n)
    shares = v**2 * (n * np.maximum(l, 0.0))
  else:
    l, u = np.linalg.eigh(sum(phi.T @ phi for phi in _blocks(x)) / n)
    shares = np.concatenate([(phi @ u) ** 2 for phi in _blocks(x)])
  positive = l > max(n, d) * np.finfo(np.float64).eps * l[-1]  # smaller: rounding of zeros
  return l[positive], shares[:, positive]


def _blocks(x):
  return (_directions(x[i:i + BLOCK]) for i in range(0, len(x), BLOCK))


def _directions(x):
  x = x.astype(np.float64)
  return x / np.linalg.norm(x, axis=1, keepdims=True)
