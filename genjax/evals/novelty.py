"""Are samples closer to the training set than to an equal number of held-out examples?"""

from typing import NamedTuple

import numpy as np

from genjax.evals import card as cards
from genjax.evals import neighbours, planted, two_sample
from genjax.evals.kinds import COPIES, OfSamples
from genjax.types import Estimator

METRICS = ('novelty_knn', 'novelty_knn_p')
CLOSEST = (0.01, 0.05, 0.2, 1.0)  # the test looks at these parts of the samples, the closest ones


class Near(NamedTuple):
  """The nearest and second nearest reference point of each sample."""

  first: np.ndarray  # int [N]
  second: np.ndarray  # int [N]
  distance: np.ndarray  # [N], squared, to the nearest


class Test(NamedTuple):
  """A p-value, and the standardised number of training labels in each part of CLOSEST."""

  p: float
  scores: np.ndarray


def make(*, num_reference: int = 10_000, num_permutations: int = 9999, num_plantings: int = 20,
         subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of novelty_knn and novelty_knn_p, both also with `_copies`, and copies.

  novelty_knn: share of samples whose nearest point among m training and m held-out examples is a
  training example (m = the smaller split, at most num_reference); about 1/2 without memorisation.
  novelty_knn_p: p-value of `knn_test`. `_copies`: training examples instead of the samples; with M
  training examples their share is 1/2 + m / (2 M). copies: share of samples equal to any training
  example, for integers only. Distances are Euclidean in `two_sample.space`.
  """
  def measure(x, reference, train, encoder, card):
    m = min(len(train), len(reference), num_reference)
    points, label = pool(*(encoder.features(two_sample.subset(a, m, subset_seed))
                           for a in (train, reference)), subset_seed)

    def of_metric(metric, **extra):
      rule = ({'unit': 'share', 'ties': 'fixed random order'} if metric == 'novelty_knn' else
              {'unit': 'p-value', 'closest': list(CLOSEST), 'num_permutations': num_permutations})
      return card(metric, n_reference=2 * m, **rule, **extra)

    def power(near, plant):
      num_copies = min(len(x), len(train))
      # another seed than the pool's: any training example may be copied
      copies = nearest(encoder.features(two_sample.subset(train, num_copies, subset_seed + 1)),
                       points)

      def signals(rows, which):
        mixed = Near(*(planted.replace(a, rows, b[which])
                       for a, b in zip(near, copies, strict=True)))
        return knn_test(mixed, label, 999, subset_seed).p < planted.LEVEL

      return plant(f'novelty_knn_p < {planted.LEVEL}', signals, num_copies)

    def values(features, points, of_metric):
      near = nearest(features, points)
      return _values(near, label, knn_test(near, label, num_permutations, subset_seed), of_metric,
                     lambda plant: power(near, plant))

    out = two_sample.checked(METRICS, values, np.asarray(encoder.features(x)), points, of_metric)
    if encoder.spec.levels is not None:
      out['copies'] = _copies(x, train, card)
    return out

  return OfSamples(measure, floors=(COPIES,), subset_seed=subset_seed, num_plantings=num_plantings)


ESTIMATORS = {
    'nearest_neighbour': Estimator(('sample', 'data.training_set'), make, 'samples')}


def _values(near, label, test, card, power) -> dict[str, cards.Value]:
  share, half = share_near(near, label)
  scores = dict(zip(map(str, CLOSEST), test.scores.round(3).tolist(), strict=True))
  return {
      'novelty_knn': cards.with_interval(
          share, max(share - half, 0.0), min(share + half, 1.0), card('novelty_knn'),
          'expectation over samples and reference points',
          'conservative: jackknife over reference points, plus the variance of the samples'),
      'novelty_knn_p': cards.plain(
          test.p, card('novelty_knn_p', detail={'scores': scores}, power=power), 'a p-value')}


def pool(train, held_out, seed: int = 0):
  """Points [2 m, d] in a fixed random order, and labels [2 m]: 1 for training, 0 for held-out."""
  points = np.concatenate([np.asarray(a, np.float32).reshape(len(a), -1)
                           for a in (train, held_out)])
  label = np.repeat([1, 0], [len(train), len(held_out)])
  order = np.random.default_rng(seed).permutation(len(points))
  return points[order], label[order]


def nearest(x, points) -> Near:
  """Neighbours of x [N, ...] among points [M, d]; ties go to the lower index."""
  x = np.asarray(x, np.float32).reshape(len(x), -1)
  distance, index = neighbours.nearest(x, points, k=2)
  return Near(index[:, 0], index[:, 1], distance[:, 0])


def share_near(near: Near, label) -> tuple[float, float]:
  """Share of samples whose nearest point has label 1, and the half width of its interval.

  The jackknife removes each reference point, whose samples go to their second nearest.
  """
  n = len(near.first)
  share = label[near.first].mean()
  change = np.bincount(near.first, weights=label[near.second] - label[near.first],
                       minlength=len(label)) / n
  variance = share * (1 - share) / n
  for group in (0, 1):
    moved = change[label == group]
    variance += (len(moved) - 1) * np.var(moved)
  return float(share), float(cards.Z * np.sqrt(variance))


def knn_test(near: Near, label, num_permutations: int = 9999, seed: int = 0) -> Test:
  """One-sided Test: do the closest samples lie at training points (label 1) too often?

  near: of the samples; label: [M] of the reference points; the seed fixes the permutations. For
  each part of CLOSEST, the samples within that quantile of all distances are counted if their
  nearest point has label 1; the statistic is the largest standardised count. Neighbours do not
  depend on labels, which are exchangeable if the samples do not depend on them. So the test is
  exact even if samples share a reference point, as a binomial test over samples is not. A few
  copies show among the closest samples, and not in the share of all.
  """
  counts = np.stack([np.bincount(near.first[near.distance <= limit], minlength=len(label))
                     for limit in np.quantile(near.distance, CLOSEST, method='inverted_cdf')], 1)
  points, total, part = len(label), counts.sum(0), label.mean()
  square = (counts**2).sum(0) - total**2 / points
  std = np.sqrt(part * (1 - part) * points / (points - 1) * square)
  std = np.where(std > 0, std, np.inf)
  # under a permutation, the number of labels on points of equal counts is hypergeometric
  rows, alike = np.unique(counts, axis=0, return_counts=True)
  dealt = np.random.default_rng(seed).multivariate_hypergeometric(
      alike, int(label.sum()), num_permutations, method='marginals')
  null = ((dealt @ rows - part * total) / std).max(1)
  scores = (label @ counts - part * total) / std
  p = (1 + np.sum(null >= scores.max() - 1e-9)) / (1 + num_permutations)
  return Test(float(p), scores)


def _copies(x, train, card) -> cards.Value:
  # compares with all training examples: its protocol has neither a subset nor an encoder
  own = card('copies', unit='share', n_reference=len(train), match='equal integers', encoder=None)
  own = {key: entry for key, entry in own.items() if key != 'subset_seed'}
  if not np.all(np.isfinite(x)):
    return cards.absent(own, 'samples are not finite')
  seen = {row.tobytes() for row in np.asarray(train, np.int32)}
  count = sum(row.tobytes() in seen for row in np.asarray(x, np.int32))
  return cards.of_share(count, len(x), own, 'share among independent samples, given train')
