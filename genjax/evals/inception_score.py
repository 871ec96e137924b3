"""Inception score: how sure a classifier is of each sample, and how evenly the classes occur."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.types import BadInput, Estimator

METRICS = ('is',)
NUM_SPLITS = 10  # 1606.03498 and all tables since
SHUFFLE_SEED = 2020  # torch-fidelity's, of numpy's frozen legacy stream
USE = 'for parity only, never ranked: it sees no reference, and one image of each class is optimal'
NO_INTERVAL = ('the spread over splits of one sample is no interval: each split is biased, by its '
               'size, in the same direction')


def make(model, *, estimator, dataset, split, encoder=None, num_samples=1024, subset_seed=0,
         keep=two_sample.compute):
  """run(params, draw) -> is, of the samples, and is_data, of examples in their place.

  From 1 to the number of classes. Raises BadInput without an encoder that classifies, and for
  fewer samples than splits.
  """
  del model
  encoder = two_sample.require_encoder('inception_score', encoder, dataset)
  if encoder.probs is None:
    raise BadInput("evaluator 'inception_score' needs class probabilities, and encoder "
                   f'{encoder.name!r} has none')
  beside = two_sample.other_split(dataset, split) or split
  known = two_sample.subset(dataset.splits[beside]['x'], num_samples, subset_seed)
  if min(num_samples, len(known)) < NUM_SPLITS:
    raise BadInput(f"evaluator 'inception_score': {min(num_samples, len(known))} examples; "
                   f'allowed: {NUM_SPLITS} or more')

  def figure(x, suffix, **of_samples):
    probs = np.asarray(encoder.probs(x), np.float64)
    own = cards.make_card('is' + suffix, estimator=estimator, unit='classes', split=None,
                          encoder=encoder, n_generated=len(x), num_classes=probs.shape[1],
                          num_splits=NUM_SPLITS, shuffle_seed=SHUFFLE_SEED, use=USE, **of_samples)
    if not np.all(np.isfinite(probs)):
      return {'is' + suffix: cards.absent(own, 'class probabilities are not finite')}
    scores = inception_score(probs)
    own = {**own, 'detail': {'std_over_splits': float(np.std(scores))}}
    return {'is' + suffix: cards.plain(np.mean(scores), own, NO_INTERVAL)}

  def run(params, draw):
    del params
    x, info = draw(num_samples)
    return {**figure(x, '', **two_sample.sampled(info)),
            **keep('_data', lambda: figure(known, '_data', generated_are=f'{beside} examples'))}

  return run


ESTIMATORS = {'classifier': Estimator(('sample', 'data.image'), make)}


def inception_score(probs) -> np.ndarray:
  """exp(mean KL(p(y|x), p(y))) of class probabilities [N, K] on each split: [NUM_SPLITS].

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
