"""Samples through a classifier of the data: how many it recognises, and the shares of its classes.

Figures with `_data` measure data instead of samples. For the share of recognised examples and the
rarest class this is the split itself. For comparisons with the split it is the same number of
training examples (held-out ones if the split is the training set).
"""

import functools

import numpy as np

from genjax.evals import card as cards
from genjax.evals.kinds import DATA, Floor, OfSamples
from genjax.types import Estimator

METRICS = ('classified_09', 'min_class_share', 'classes_found', 'class_kl', 'asked_class')
THRESHOLD = 0.9
FLOORS = (Floor('_data', 'split', ('classified_09', 'min_class_share', 'asked_class')),
          DATA._replace(metrics=('classes_found', 'class_kl')))


def make(*, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of METRICS, each with `_data`; asked_class only if cond is given.

  classified_09: share of samples whose largest class probability is >= 0.9. min_class_share: share
  of the rarest predicted class.
  classes_found: number of predicted classes with at least one sample.
  class_kl: KL in nats of the samples' predicted class shares to the split's. The cards' detail of
    these two has the average score of samples drawn from the data's classes.
  asked_class: share of the samples whose most probable class is their label; its `_data` is the
    classifier's accuracy on the split.
  It needs an encoder that classifies.
  """
  def measure(x, cond, reference, encoder, card):
    p, q = (np.asarray(encoder.probs(a), np.float64) for a in (x, reference))
    alone = functools.partial(card, n_reference=None)  # of the samples alone, not of the split
    return {**recognised(p, alone), **compared(p, q, card), **asked_class(p, cond, alone)}

  return OfSamples(measure, floors=FLOORS, classifies=True, subset_seed=subset_seed)


ESTIMATORS = {'classifier': Estimator(('sample', 'data.image', 'data.labels'), make, 'samples')}


def recognised(probs, card) -> dict[str, cards.Value]:
  """{metric: Value} of classified_09 and min_class_share, from class probabilities [N, K]."""
  shares = class_shares(probs)
  detail = {'class_shares': [round(float(s), 6) for s in shares]}
  sure = card('classified_09', unit='share', threshold=THRESHOLD, detail=detail)
  rarest = card('min_class_share', unit='share', detail=detail)
  if not np.all(np.isfinite(probs)):
    return _not_finite({'classified_09': sure, 'min_class_share': rarest})
  count = int(np.sum(probs.max(1) >= THRESHOLD))
  return {
      'classified_09': cards.of_share(
          count, len(probs), sure, 'share among independent samples, given the classifier'),
      'min_class_share': cards.plain(
          shares.min(), rarest, 'a minimum over classes is biased downwards')}


def compared(probs, reference, card) -> dict[str, cards.Value]:
  """{metric: Value} of classes_found and class_kl; probs [N, K], reference [M, K] of the split."""
  n, m = len(probs), len(reference)
  p, q = class_shares(probs), class_shares(reference)
  perfect = perfect_sampler(q, n, m)
  count_card = card('classes_found', unit='classes', num_classes=len(p), rule='at least one sample',
                    detail={'perfect_sampler': perfect['classes_found']})
  divergence = card('class_kl', unit='nats', num_classes=len(p),
                    detail={'perfect_sampler_first_order': perfect['class_kl']})
  if not (np.all(np.isfinite(probs)) and np.all(np.isfinite(reference))):
    return _not_finite({'classes_found': count_card, 'class_kl': divergence})
  occurs = p > 0
  outside = float(p[q == 0].sum())
  if outside:
    kl = cards.absent(divergence, f'infinite: a share {outside:.3g} of the samples is of classes '
                      'that the split does not have')
  else:
    kl = cards.plain(p[occurs] @ np.log(p[occurs] / q[occurs]), divergence,
                     'no calibrated interval: a plug-in, biased upwards by finite samples')
  return {'classes_found': cards.plain(int(occurs.sum()), count_card, 'a count'), 'class_kl': kl}


def asked_class(probs, cond, card) -> dict[str, cards.Value]:
  """{'asked_class': Value} of class probabilities [N, K] and labels cond [N]; {} without labels."""
  if cond is None:
    return {}
  own = card('asked_class', unit='share', num_classes=probs.shape[1])
  if not np.all(np.isfinite(probs)):
    return _not_finite({'asked_class': own})
  count = int(np.sum(probs.argmax(1) == np.asarray(cond)))
  return {'asked_class': cards.of_share(
      count, len(probs), own, 'share among independent samples, given the classifier')}


def class_shares(probs) -> np.ndarray:
  """Share [K] of the examples [N, K] whose most probable class is k."""
  return np.bincount(probs.argmax(1), minlength=probs.shape[1]) / len(probs)


def perfect_sampler(shares, n: int, m: int | None = None) -> dict[str, float]:
  """Expected classes_found and class_kl of n exact samples of classes with these shares q [K].

  classes_found: sum_k 1 - (1 - q_k)^n. class_kl, to first order: (K - 1) / (2 n), or
  (K - 1) / 2 (1 / n + 1 / m) if the shares were counted on m examples; K counts q_k > 0.
  """
  q = np.asarray(shares, np.float64)
  degrees = np.sum(q > 0) - 1
  return {'classes_found': float(np.sum(1.0 - (1.0 - q) ** n)),
          'class_kl': float(degrees / 2 * (1 / n + (1 / m if m else 0.0)))}


def _not_finite(card_of: dict) -> dict[str, cards.Value]:
  return {name: cards.absent(card, 'class probabilities are not finite')
          for name, card in card_of.items()}
