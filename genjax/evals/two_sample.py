"""What evaluators of samples share: the space they compare in, and what stands beside a figure.

Beside a figure of the samples stand the same figures with something known in their place: `_data`,
examples of the data (the floor of a distance, the ceiling of a share), and `_single`, one example
repeated. Metrics of novelty have `_copies`: training examples.
"""

import shlex
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from genjax.evals import card as cards
from genjax.evals.card import Value
from genjax.types import BadInput

PIXELS = ("encoder 'identity' compares images by their pixels, whose distances say little of how "
          'images look; allowed, and better: an encoder that was trained on such images, by '
          'python -m genjax encoder')
# what the evaluators that compare features of samples ask for
NEEDS = ('sample', 'data.image|data.coordinates')


def compute(part, make: Callable[[], dict]) -> dict:
  """make(): figures that are kept nowhere; a caller may give a function that keeps instead.

  part: plain data, which of an evaluator's figures these are. That they depend on the evaluator's
  arguments is for the function that keeps to know: it is given all of them.
  """
  del part
  return make()


def fidelity(evaluator: str, metrics: tuple, measure: Callable, *, estimator, encoder, dataset,
             split, num_samples, subset_seed=0, equal=False, at_least=2, keep=compute,
             protocol=None) -> Callable:
  """run(params, draw) -> {metric: Value} of the metrics, and each with `_data` and `_single`.

  measure(x [N, d], y [M, d], card) -> {metric: Value} compares features of the samples with those
  of the split; card(metric, unit=..., further protocol) gives the card of a metric. The whole split
  is compared, or, where N must be the same on both sides (equal), as many fixed random rows of it.
  `_data`: training examples in the place of the samples; where the split is the training set,
  held-out ones; absent where the data set has only one split. keep(part, make): `compute`, or a
  function that keeps figures. protocol: further entries of all cards. Warns where images are
  compared by their pixels. Raises BadInput without an encoder for these data, and for fewer than
  `at_least` examples.
  """
  encoder = require_encoder(evaluator, encoder, dataset)
  if encoder.name == 'identity' and encoder.spec.levels and len(encoder.spec.shape) == 3:
    warnings.warn(PIXELS, stacklevel=1)
  beside = other_split(dataset, split)
  sizes = [len(dataset.splits[s]['x']) for s in (split, beside) if s]
  n = min(num_samples, *sizes) if equal else num_samples
  if min(n, *sizes) < at_least:
    raise BadInput(f'evaluator {evaluator!r}: {min(n, *sizes)} examples; allowed: {at_least} or '
                   'more on each side')
  protocol = {'estimator': estimator, 'split': split, 'subset_seed': subset_seed,
              **(protocol or {})}
  reference = dataset.splits[split]['x']
  reference = subset(reference, n, subset_seed) if equal else reference

  def compare(x, suffix: str, **of_samples):
    y = np.asarray(encoder.features(reference), np.float32)
    x = np.asarray(encoder.features(x), np.float32) if suffix != '_single' else np.repeat(
        y[:1], n, axis=0)

    def card(metric: str, *, unit: str | None = None, **extra) -> dict:
      return cards.make_card(metric + suffix, unit=unit, encoder=encoder, n_generated=len(x),
                             n_reference=len(y), **protocol, **of_samples, **extra)

    found = checked(metrics, measure, x, y, card)
    return {name + suffix: value for name, value in found.items()}

  def run(params, draw):
    del params
    x, info = draw(n)
    out = compare(x, '', **sampled(info))
    known = {'_single': (None, 'one example, repeated')}
    if beside:
      known['_data'] = subset(dataset.splits[beside]['x'], n, subset_seed), f'{beside} examples'
    for suffix, (x, words) in known.items():
      out |= keep(suffix, lambda x=x, suffix=suffix, words=words: compare(
          x, suffix, generated_are=words))
    return out

  return run


def checked(metrics: tuple, measure: Callable, x, y, card: Callable) -> dict[str, Value]:
  """measure(x, y, card); where features are not finite, all metrics absent."""
  bad = sum(int(np.sum(~np.all(np.isfinite(a), axis=1))) for a in (x, y))
  if bad:
    reason = f'features of {bad} examples are not finite'
    return {name: cards.absent(card(name), reason) for name in metrics}
  return measure(x, y, card)


def sampled(info: Mapping) -> dict:
  """What the cards say of how samples were made."""
  labels = {'labels': info['labels']} if info.get('labels') else {}
  return {'sampler': info.get('sampler'), **labels}


def other_split(dataset, split: str) -> str | None:
  """Whose examples stand in the place of samples: train, and for train itself what is held out."""
  for name in ('train', 'test', 'validation'):
    if name != split and name in dataset.splits:
      return name
  return None


def shuffled(x, seed: int = 0):
  """The rows of x in an order fixed by the seed."""
  return x[np.random.default_rng(seed).permutation(len(x))]


def subset(x, n: int, seed: int = 0):
  """n rows of x without replacement, fixed by the seed; all of x in its order when n >= len(x)."""
  if n >= len(x):
    return x
  return x[np.sort(np.random.default_rng(seed).permutation(len(x))[:n])]


def space(evaluator: str, encoder, pixels, dataset):
  """The encoder in whose features samples, training and held-out examples may be compared.

  Without an encoder it is `pixels`, the one that changes nothing; also in the place of one that was
  trained on this very training set, which lays training examples elsewhere than held-out ones.
  """
  if encoder is None:
    return pixels
  encoder = require_encoder(evaluator, encoder, dataset)
  seen = encoder.card.get('source', {}).get('data', {}).get('sha256', {}).get('train')
  return pixels if seen == dataset.identity['sha256']['train'] else encoder


def require_encoder(evaluator: str, encoder, dataset):
  """The encoder; raises BadInput when the data set has none, or one that reads other data."""
  if encoder is None:
    raise BadInput(
        f'evaluator {evaluator!r} needs an encoder, and data {dataset.name!r} has none; train one '
        f'with: {encoder_command(dataset)}')
  if encoder.spec[:2] != dataset.spec[:2]:
    raise BadInput(
        f'encoder {encoder.name!r} reads {describe(encoder.spec)}, but data {dataset.name!r} have '
        f'{describe(dataset.spec)}; allowed: an encoder of the same shape and levels, from '
        f'{encoder_command(dataset)}')
  return encoder


def encoder_command(dataset) -> str:
  """The command that trains an encoder for a data set, a user's own by its path."""
  kind = 'npz' if dataset.path.endswith('.npz') else 'folder'
  source = f'{kind} --path={shlex.quote(dataset.path)}' if dataset.path else dataset.name
  return f'python -m genjax encoder --data={source} --out=FILE.npz'


def describe(spec) -> str:
  """The shape and the values of examples, in words."""
  levels = 'continuous values' if spec.levels is None else f'{spec.levels} levels'
  return f'examples of shape {tuple(spec.shape)} with {levels}'
