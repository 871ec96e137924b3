"""What evaluators of samples share: the space in which they compare, the splits, and subsets.

Known examples are measured instead of the samples for metrics with a suffix (`kinds.Floor`).
`_data`: examples of the data, the floor of a distance or ceiling of a share. `_single`: one example
repeated. `_copies`: training examples, for metrics of novelty.
"""

import functools
import shlex
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from genjax.evals import card as cards
from genjax.evals.card import Value
from genjax.evals.kinds import OfSamples
from genjax.types import BadInput

PIXELS = ("encoder 'identity' compares images by their pixels, whose distances say little of how "
          'images look; allowed, and better: an encoder that was trained on such images, by '
          'python -m genjax encoder')
# what evaluators that compare features of samples need
NEEDS = ('sample', 'data.image|data.coordinates')


def of_features(metrics: tuple, measure: Callable, protocol: Mapping | None = None,
                at_least: int = 2, **options) -> OfSamples:
  """The evaluator that compares features of the samples with those of the split.

  metrics: all absent if a feature is not finite. measure: (float32 x [N, d], y [M, d], card) ->
  {metric: Value}. protocol: further entries of all cards. at_least, options: see `OfSamples`.
  """
  def of_examples(x, reference, encoder, card):
    y, x = (np.asarray(encoder.features(a), np.float32) for a in (reference, x))
    return checked(metrics, measure, x, y, functools.partial(card, **(protocol or {})))

  return OfSamples(of_examples, at_least=at_least, **options)


def checked(metrics: tuple, measure: Callable, x, y, card: Callable) -> dict[str, Value]:
  """measure(x, y, card), or all of the metrics absent if a feature of x or y is not finite."""
  bad = sum(int(np.sum(~np.all(np.isfinite(a), axis=1))) for a in (x, y))
  if bad:
    reason = f'features of {bad} examples are not finite'
    return {name: cards.absent(card(name), reason) for name in metrics}
  return measure(x, y, card)


def sampled(info: Mapping) -> dict:
  """The entries of a card about the origin of the samples."""
  labels = {'labels': info['labels']} if info.get('labels') else {}
  return {'sampler': info.get('sampler'), **labels}


def other_split(dataset, split: str) -> str | None:
  """The split whose examples are measured like samples: train, or a held-out one for train."""
  for name in ('train', 'test', 'validation'):
    if name != split and name in dataset.splits:
      return name
  return None


def held_out(evaluator: str, dataset, split: str) -> None:
  """Raises BadInput if the split is the training set, or one of the two has fewer than 2 rows."""
  if split == 'train':
    raise BadInput(f"evaluator {evaluator}: split='train' is not held out; allowed: "
                   f'{", ".join(s for s in dataset.splits if s != "train")}')
  sizes = [len(dataset.splits[s]['x']) for s in ('train', split)]
  if min(sizes) < 2:
    raise BadInput(f'evaluator {evaluator}: {sizes[0]} training and {sizes[1]} held-out '
                   'examples; allowed: 2 or more of each')


def warn_of_pixels(encoder) -> None:
  """Warns if images are compared by their pixels."""
  if encoder.name == 'identity' and encoder.spec.levels and len(encoder.spec.shape) == 3:
    warnings.warn(PIXELS, stacklevel=1)


def shuffled(x, seed: int = 0):
  """The rows of x in a random order fixed by the seed."""
  return x[np.random.default_rng(seed).permutation(len(x))]


def subset(x, n: int, seed: int = 0):
  """n random rows of x in their order, fixed by the seed; all of x if n >= len(x)."""
  if n >= len(x):
    return x
  return x[np.sort(np.random.default_rng(seed).permutation(len(x))[:n])]


def space(evaluator: str, encoder, pixels, dataset):
  """The encoder whose features may compare samples, training and held-out examples.

  It is `pixels`, the encoder 'identity', if there is no encoder or if the encoder was trained on
  this training set: it would separate training examples from held-out ones.
  """
  if encoder is None:
    return pixels
  encoder = require_encoder(evaluator, encoder, dataset)
  seen = encoder.card.get('source', {}).get('data', {}).get('sha256', {}).get('train')
  return pixels if seen == dataset.identity['sha256']['train'] else encoder


def require_encoder(evaluator: str, encoder, dataset):
  """The encoder; raises BadInput if it is None or reads data of another shape or other levels."""
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
  """The command that trains an encoder for a data set, which is named by its path if it has one."""
  kind = 'npz' if dataset.path.endswith('.npz') else 'folder'
  source = f'{kind} --path={shlex.quote(dataset.path)}' if dataset.path else dataset.name
  return f'python -m genjax encoder --data={source} --out=FILE.npz'


def describe(spec) -> str:
  """The shape and the values of examples, in words."""
  levels = 'continuous values' if spec.levels is None else f'{spec.levels} levels'
  return f'examples of shape {tuple(spec.shape)} with {levels}'
