"""Inception score: how sure a classifier is of each sample, and how evenly the classes occur."""

import functools

import numpy as np

from genjax.evals import card as cards
from genjax.evals.kinds import DATA, OfSamples
from genjax.types import Estimator

METRICS = ('is',)
NUM_SPLITS = 10  # 1606.03498 and all tables since
SHUFFLE_SEED = 2020  # torch-fidelity's, of numpy's frozen legacy stream
USE = 'for parity only, never ranked: it sees no reference, and one image of each class is optimal'
NO_INTERVAL = ('the spread over splits of one sample is no interval: each split is biased, by its '
               'size, in the same direction')


def make(*, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of is and is_data (examples instead of samples).

  The score lies between 1 and the number of classes. It needs an encoder that classifies, and at
  least NUM_SPLITS samples.
  """
  def measure(x, encoder, card):
    probs = np.asarray(encoder.probs(x), np.float64)
    own = functools.partial(card, 'is', unit='classes', num_classes=probs.shape[1],
                            num_splits=NUM_SPLITS, shuffle_seed=SHUFFLE_SEED, use=USE)
    if not np.all(np.isfinite(probs)):
      return {'is': cards.absent(own(), 'class probabilities are not finite')}
    scores = inception_score(probs)
    return {'is': cards.plain(np.mean(scores), own(detail={
        'std_over_splits': float(np.std(scores))}), NO_INTERVAL)}

  return OfSamples(measure, floors=(DATA,), at_least=NUM_SPLITS, classifies=True, compares=False,
                   subset_seed=subset_seed)


ESTIMATORS = {'classifier': Estimator(('sample', 'data.image'), make, 'samples')}


def inception_score(probs) -> np.ndarray:
  """[NUM_SPLITS]: exp(mean KL(p(y|x), p(y))) of class probabilities [N, K] on each split.

  1606.03498, section 4; p(y) is the mean over the split. Splits are consecutive rows of a
  permutation of all N.
  """
  n = len(probs)
  probs = np.asarray(probs, np.float64)[np.random.RandomState(SHUFFLE_SEED).permutation(n)]
  scores = []
  for i in range(NUM_SPLITS):
    p = probs[i * n // NUM_SPLITS:(i + 1) * n // NUM_SPLITS]
    ratio = np.where(p > 0, p, 1.0) / np.where(p > 0, p.mean(0), 1.0)  # 0 log 0 = 0
    scores.append(np.exp(np.mean(np.sum(p * np.log(ratio), 1))))
  return np.array(scores)
