"""Are samples closer to the training set than to as many held-out examples?"""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import neighbours
from genjax.types import BadInput

METRICS = ('novelty_knn', 'novelty_knn_p')
NEEDS = {'nearest_neighbour': ('sample',)}
# features of an encoder that was trained on the training examples would make the labels of the
# reference points unexchangeable: pixels do not
SPACE = 'Euclidean distance of x (integer levels, or the coordinates)'


def make(model, *, estimator, spec, dataset, split, num_samples=1024, num_permutations=9999,
         subset_seed=0):
  """run(params, draw) -> novelty_knn, novelty_knn_p, copies.

  novelty_knn: share of samples whose nearest point among m training and m held-out examples is a
  training example (m = the smaller split, at most num_samples); about 1/2 without memorisation,
  1 when samples are copies. novelty_knn_p: one-sided p-value by permuting the labels of the
  2 m reference points, which all samples share (a binomial test over samples is not calibrated).
  copies: share of samples equal to a training example of the whole split, integers only. Ties go
  to a point by a fixed random order. Raises BadInput on split 'train'.
  """
  del model
  if split == 'train':
    raise BadInput("evaluator novelty: split='train' is not held out; allowed: "
                   f'{", ".join(s for s in dataset.splits if s != "train")}')
  train, held_out = dataset.splits['train']['x'], dataset.splits[split]['x']
  m = min(len(train), len(held_out), num_samples)

  def run(params, draw):
    del params
    x, info = draw(num_samples)
    shared = {'estimator': estimator, 'split': split, 'n_generated': len(x), 'n_reference': 2 * m,
              'sampler': info.get('sampler'), 'space': SPACE}
    card = cards.make_card('novelty_knn', unit='share', **shared, ties='fixed random order')
    p_card = cards.make_card('novelty_knn_p', unit='p-value', **shared,
                             num_permutations=num_permutations)
    out = {}
    if np.all(np.isfinite(x)):
      pair = [neighbours.subset(a, m, subset_seed) for a in (train, held_out)]
      share, half, p = knn_test(x, *pair, num_permutations, subset_seed)
      out['novelty_knn'] = cards.with_interval(
          share, max(share - half, 0.0), min(share + half, 1.0), card,
          'expectation over samples and reference points',
          'jackknife over reference points, plus the binomial variance of the samples')
      out['novelty_knn_p'] = cards.plain(p, p_card, 'a p-value')
    else:
      out['novelty_knn'] = cards.absent(card, 'samples are not finite')
      out['novelty_knn_p'] = cards.absent(p_card, 'samples are not finite')
    if spec.levels is not None:
      out['copies'] = _copies(x, train, shared)
    return out

  return run


def knn_test(x, train, held_out, num_permutations: int = 9999, seed: int = 0):
  """Share of x nearer to train than to held_out, half width of its interval, one-sided p-value.

  x [N, ...], train and held_out [m, ...] of equal size. Statistic: mean label of the nearest
  reference point; a permutation of the labels leaves the neighbours where they are.
  """
  rng = np.random.default_rng(seed)
  flat = [np.asarray(a, np.float32).reshape(len(a), -1) for a in (x, train, held_out)]
  points = np.concatenate(flat[1:])
  label = np.concatenate([np.ones(len(train)), np.zeros(len(held_out))])
  order = rng.permutation(len(points))
  points, label = points[order], label[order]
  _, index = neighbours.nearest(flat[0], points, k=2)
  first, second = np.asarray(index).T
  counts = np.bincount(first, minlength=len(points))
  share = label[first].mean()
  # a permutation deals the training labels to the reference points: how many fall on those with
  # the same count is multivariate hypergeometric
  times, alike = np.unique(counts, return_counts=True)
  dealt = rng.multivariate_hypergeometric(alike, len(train), num_permutations, method='marginals')
  null = dealt @ times / len(x)
  p = (1 + np.sum(null >= share - 1e-12)) / (1 + num_permutations)
  # without point j the samples that had it nearest go to their second
  change = np.bincount(first, weights=label[second] - label[first], minlength=len(points)) / len(x)
  variance = share * (1 - share) / len(x)
  for group in (0, 1):
    moved = change[label == group]
    variance += (len(moved) - 1) * np.var(moved)
  return float(share), float(cards.Z * np.sqrt(variance)), float(p)


def _copies(x, train, shared):
  seen = {row.tobytes() for row in np.asarray(train, np.int32)}
  count = sum(row.tobytes() in seen for row in np.asarray(x, np.int32))
  card = cards.make_card('copies', unit='share', **{**shared, 'n_reference': len(train)},
                         match='equal integers')
  return cards.of_share(count, len(x), card, 'share among independent samples, given train')
