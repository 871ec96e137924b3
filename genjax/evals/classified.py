"""Share of samples that a classifier trained on the same data set recognises, and class balance."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import neighbours
from genjax.types import BadInput

METRICS = ('classified_09', 'min_class_share')
NEEDS = {'classifier': ('sample', 'data.image', 'data.labels')}
THRESHOLD = 0.9


def make(model, *, estimator, dataset, split, encoder=None, num_samples=1024):
  """run(params, draw) -> classified_09, min_class_share, and both of the split with `_data`.

  classified_09: share of samples whose largest class probability is >= 0.9, Wilson interval given
  the classifier; min_class_share: share of the rarest predicted class. Raises BadInput without an
  encoder that classifies.
  """
  del model
  encoder = neighbours.require_encoder('classified', encoder, dataset)
  if encoder.probs is None:
    raise BadInput(f"evaluator 'classified' needs class probabilities, and encoder "
                   f'{encoder.name!r} has none')

  def run(params, draw):
    del params
    generated, info = draw(num_samples)
    reference = dataset.splits[split]['x']
    return {**figures(generated, '', sampler=info.get('sampler')),
            **figures(reference, '_data', generated_are=f'{split} examples')}

  def figures(x, suffix, **protocol):
    probs = np.asarray(encoder.probs(x), np.float64)
    shares = np.bincount(probs.argmax(1), minlength=probs.shape[1]) / len(x)
    detail = {'class_shares': [round(float(s), 6) for s in shares]}

    def card(metric, **extra):
      return cards.make_card(metric + suffix, estimator=estimator, unit='share', split=split,
                             encoder=encoder, n_generated=len(x), detail=detail, **extra,
                             **protocol)

    known = card('classified_09', threshold=THRESHOLD)
    rarest = card('min_class_share')
    if not np.all(np.isfinite(probs)):
      reason = 'class probabilities are not finite'
      return {'classified_09' + suffix: cards.absent(known, reason),
              'min_class_share' + suffix: cards.absent(rarest, reason)}
    count = int(np.sum(probs.max(1) >= THRESHOLD))
    return {
        'classified_09' + suffix: cards.of_share(
            count, len(x), known, 'share among independent samples, given the classifier'),
        'min_class_share' + suffix: cards.plain(
            shares.min(), rarest, 'a minimum over classes is biased downwards')}

  return run
