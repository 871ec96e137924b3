"""Samples through a classifier of the data: how many it recognises, and how its classes share them.

Beside the figures stand those of data in the place of the samples, with `_data`: the split's own
share of recognised examples and rarest class, and, for what is compared with the split, as many
training examples (held-out ones where the split is the training set).
"""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.types import BadInput, Estimator

METRICS = ('classified_09', 'min_class_share', 'classes_found', 'class_kl', 'asked_class')
THRESHOLD = 0.9


def make(model, *, estimator, dataset, split, encoder=None, num_samples=1024, subset_seed=0,
         keep=two_sample.compute):
  """run(params, draw) -> classified_09, min_class_share, classes_found, class_kl, and `_data`;
  of a conditional model asked_class too.

  classified_09: share of samples whose largest class probability is >= 0.9; min_class_share: share
  of the rarest predicted class. classes_found: predicted classes with at least one sample;
  class_kl: KL in nats of the samples' class shares to the split's, both as predicted; what samples
  drawn from the data's classes score on average stands in the cards' detail. asked_class: share of
  the samples whose most probable class is the one asked for, beside the classifier's accuracy on
  the split. Raises BadInput
  without an encoder that classifies.
  """
  del model
  encoder = two_sample.require_encoder('classified', encoder, dataset)
  if encoder.probs is None:
    raise BadInput(f"evaluator 'classified' needs class probabilities, and encoder "
                   f'{encoder.name!r} has none')
  beside = two_sample.other_split(dataset, split)
  protocol = {'estimator': estimator, 'split': split, 'subset_seed': subset_seed}

  def probs(x):
    return np.asarray(encoder.probs(x), np.float64)

  def card(suffix, n, **of_samples):
    return lambda metric, **extra: cards.make_card(
        metric + suffix, encoder=encoder, n_generated=n, **protocol, **of_samples, **extra)

  def known():
    arrays = dataset.splits[split]
    reference = probs(arrays['x'])
    own = card('_data', len(reference), generated_are=f'{split} examples')
    out = {**recognised(reference, own), **asked_class(reference, arrays.get('cond'), own)}
    if beside:
      other = probs(two_sample.subset(dataset.splits[beside]['x'], num_samples, subset_seed))
      own = card('_data', len(other), generated_are=f'{beside} examples')
      out |= compared(other, reference, own)
    return {f'{name}_data': value for name, value in out.items()}

  def run(params, draw):
    del params
    x, info = draw(num_samples)
    p, own = probs(x), card('', len(x), **two_sample.sampled(info))
    asked = asked_class(p, info.get('cond'), own)
    beside = keep('_data', known)
    if not asked:
      beside = {name: value for name, value in beside.items() if name != 'asked_class_data'}
    return {**recognised(p, own), **compared(p, probs(dataset.splits[split]['x']), own), **asked,
            **beside}

  return run


ESTIMATORS = {'classifier': Estimator(('sample', 'data.image', 'data.labels'), make)}


def recognised(probs, card) -> dict[str, cards.Value]:
  """classified_09 and min_class_share of class probabilities [N, K]."""
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
  """classes_found and class_kl of class probabilities [N, K] and those of the split [M, K]."""
  n, m = len(probs), len(reference)
  p, q = class_shares(probs), class_shares(reference)
  perfect = perfect_sampler(q, n, m)
  found = card('classes_found', unit='classes', num_classes=len(p), n_reference=m,
               rule='at least one sample', detail={'perfect_sampler': perfect['classes_found']})
  divergence = card('class_kl', unit='nats', num_classes=len(p), n_reference=m,
                    detail={'perfect_sampler_first_order': perfect['class_kl']})
  if not (np.all(np.isfinite(probs)) and np.all(np.isfinite(reference))):
    return _not_finite({'classes_found': found, 'class_kl': divergence})
  there = p > 0
  outside = float(p[q == 0].sum())
  if outside:
    kl = cards.absent(divergence, f'infinite: a share {outside:.3g} of the samples is of classes '
                      'that the split does not have')
  else:
    kl = cards.plain(p[there] @ np.log(p[there] / q[there]), divergence,
                     'no calibrated interval: a plug-in, biased upwards by finite samples')
  return {'classes_found': cards.plain(int(there.sum()), found, 'a count'), 'class_kl': kl}


def asked_class(probs, cond, card) -> dict[str, cards.Value]:
  """{'asked_class'} of class probabilities [N, K] and labels [N]; {} where none were asked for."""
  if cond is None:
    return {}
  own = card('asked_class', unit='share', num_classes=probs.shape[1])
  if not np.all(np.isfinite(probs)):
    return _not_finite({'asked_class': own})
  count = int(np.sum(probs.argmax(1) == np.asarray(cond)))
  return {'asked_class': cards.of_share(
      count, len(probs), own, 'share among independent samples, given the classifier')}


def class_shares(probs) -> np.ndarray:
  """Share [K] of the examples of which each class is the most probable."""
  return np.bincount(probs.argmax(1), minlength=probs.shape[1]) / len(probs)


def perfect_sampler(shares, n: int, m: int | None = None) -> dict[str, float]:
  """Expected figures of n exact samples of classes with these shares [K].

  classes_found: sum_k 1 - (1 - q_k)^n. class_kl, to first order: (K - 1) / (2 n), with the shares
  themselves counted on m examples (K - 1) / 2 (1 / n + 1 / m), K the classes with a share.
  """
  q = np.asarray(shares, np.float64)
  degrees = np.sum(q > 0) - 1
  return {'classes_found': float(np.sum(1.0 - (1.0 - q) ** n)),
          'class_kl': float(degrees / 2 * (1 / n + (1 / m if m else 0.0)))}


def _not_finite(made: dict) -> dict[str, cards.Value]:
  return {name: cards.absent(card, 'class probabilities are not finite')
          for name, card in made.items()}
