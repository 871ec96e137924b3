"""Classifier two-sample test: can a classifier tell samples from the data on held-out pairs?"""

import collections
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.evals.kinds import OfSamples
from genjax.types import BadInput, Estimator

METRICS = ('c2st', 'c2st_p')
CLASSIFIER = ('logistic regression on standardised features and the squares of their principal '
              'components, standardised; ridge penalty: their number / 2')
HALVES = 'trained on a random half of each side, tested on the other; equal rows in one half'
STATISTIC = 'mean logit of samples less that of data, labels of the held-out half permuted'
MAX_STEPS = 30  # of Newton's method, each solved by conjugate gradients; about 6 are taken
CONSTANT = 1e-6  # a feature whose spread is this share of its size, or less, is constant


class Test(NamedTuple):
  """The result of the test on the held-out half."""

  right: int  # number of examples classified correctly
  n: int  # number of examples, both sides together
  statistic: float  # difference of the mean logits, nats
  p: float
  shared: int  # number of rows that both sides have, bit for bit


def make(*, num_permutations: int = 9999, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of c2st and c2st_p, each with `_data` and `_single`.

  c2st: held-out accuracy (1610.06545, Sec. 3); 1/2 if the classifier cannot tell samples from the
  split, as for a set against itself. c2st_p: p-value of the difference of mean logits (1909.11298),
  which is valid for any classifier and has more power than the accuracy. N is the same on both
  sides: at most num_samples and the sizes of the splits. The card's detail has the number of rows
  that both sides share. Raises BadInput for num_permutations < 1 and fewer than 4 examples a side.
  """
  if num_permutations < 1:
    raise BadInput(f'evaluator c2st: num_permutations={num_permutations!r}; allowed: integers '
                   'from 1')

  def measure(x, y, card):
    test = c2st(x, y, subset_seed, num_permutations)
    both = {'classifier': CLASSIFIER, 'halves': HALVES}
    shared = {'shared_rows': test.shared}
    accuracy = card('c2st', unit='accuracy', detail=shared, **both)
    p = card('c2st_p', unit='p-value', statistic=STATISTIC, num_permutations=num_permutations,
             detail={'statistic': test.statistic, **shared}, **both)
    return {
        'c2st': cards.of_share(test.right, test.n, accuracy,
                               'accuracy of this classifier on fresh pairs'),
        'c2st_p': cards.plain(test.p, p, 'a p-value')}

  return two_sample.of_features(METRICS, measure, equal=True, at_least=4, subset_seed=subset_seed)


ESTIMATORS = {'features': Estimator(two_sample.NEEDS, make, 'samples')}


def c2st(x, y, seed: int = 0, num_permutations: int = 9999) -> Test:
  """The test on features x and y, both [N, d]; the seed fixes halves and permutations.

  Under equal distributions p is uniform on the multiples of 1 / (num_permutations + 1), since the
  labels of the held-out half are exchangeable given the classifier. Equal rows of both sides go to
  the same half: trained on as one side and tested as the other, they would be classified wrongly.
  """
  rng = np.random.default_rng(seed)
  y, shared = beside_equals(x, y)
  order = rng.permutation(len(x))
  training, rest = order[:len(x) // 2], order[len(x) // 2:]
  logit = fit(x[training], y[training])
  of_x, of_y = logit(x[rest]), logit(y[rest])
  n = len(rest)
  right = int(np.sum(of_x > 0) + np.sum(of_y <= 0))
  pooled = np.concatenate([of_x, of_y])
  pooled -= pooled.mean()  # the difference is twice a sum over one side
  observed = pooled[:n].sum()
  # sums of the same numbers in another order: equal but for rounding
  least = observed - 1e-9 * np.abs(pooled).sum()
  as_large = sum(pooled[rng.permutation(2 * n)[:n]].sum() >= least
                 for _ in range(num_permutations))
  return Test(right, 2 * n, float(of_x.mean() - of_y.mean()),
              float((1 + as_large) / (1 + num_permutations)), shared)


def beside_equals(x, y) -> tuple[np.ndarray, int]:
  """y [N, d], reordered so that rows equal to a row of x [N, d] have its index; and their number.

  Rows are compared bit for bit; the others keep their order.
  """
  places = collections.defaultdict(list)
  for i, row in enumerate(np.ascontiguousarray(x)):
    places[row.tobytes()].append(i)
  order, others = np.full(len(y), -1), []
  for j, row in enumerate(np.ascontiguousarray(y)):
    equal = places.get(row.tobytes())
    if equal:
      order[equal.pop(0)] = j
    else:
      others.append(j)
  order[order < 0] = others
  return y[order], len(y) - len(others)


def fit(x, y) -> Callable:
  """logit(features [B, d]) -> float64 [B]: log odds of x [n, d] against y [n, d], > 0 for x.

  It is the posterior mode of logistic regression under independent normal weights of variance
  1 / (number of inputs), under which a logit has variance 1 in any dimension. The problem is convex
  and starts at 0, so there is no seed, and exchanging x and y negates the logit.
  """
  from scipy import optimize, special  # not before it is needed: it takes a while to import

  pooled = np.concatenate([x, y]).astype(np.float64)
  label = np.repeat([1.0, -1.0], [len(x), len(y)])
  inputs = _inputs(pooled)
  design = inputs(pooled)
  ridge = design.shape[1]
  weights = np.append(np.full(ridge, ridge), 0.0)  # the bias is free

  def logits(parameters):
    return design @ parameters[:-1] + parameters[-1]

  def back(slopes):
    return np.append(design.T @ slopes, slopes.sum())

  def loss(parameters):
    return (np.logaddexp(0.0, -label * logits(parameters)).sum()
            + 0.5 * weights @ parameters**2)

  def gradient(parameters):
    return back(-label * special.expit(-label * logits(parameters))) + weights * parameters

  def curvature(parameters, direction):
    p = special.expit(logits(parameters))
    return back(p * (1.0 - p) * logits(direction)) + weights * direction

  # not L-BFGS-B: the threads of its small linear algebra wait for each other on a busy machine
  mode = optimize.minimize(loss, np.zeros(ridge + 1), jac=gradient, hessp=curvature,
                           method='Newton-CG', options={'maxiter': MAX_STEPS}).x
  return lambda a: inputs(a.astype(np.float64)) @ mode[:-1] + mode[-1]


def _inputs(pooled) -> Callable:
  """features [B, d] -> classifier inputs [B, d + r], mean 0 and variance 1 on the pooled [n, d].

  The r squares are of principal components: squares of the features would not see correlations.
  """
  standard = _standardise(pooled)
  z = standard(pooled)
  l, u = np.linalg.eigh(z.T @ z / len(z))
  u = u[:, l > CONSTANT * l[-1]]
  squares = _standardise((z @ u) ** 2)

  def inputs(a):
    a = standard(a)
    return np.concatenate([a, squares((a @ u) ** 2)], axis=1)

  return inputs


def _standardise(pooled) -> Callable:
  mean, std = pooled.mean(0), pooled.std(0)
  varies = std > CONSTANT * np.abs(pooled).max(0)
  scale = np.where(varies, 1.0 / np.where(varies, std, 1.0), 0.0)
  return lambda a: (a - mean) * scale
