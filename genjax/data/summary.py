"""One line for people: what was read of a data set, and what was decided on the way."""

import numpy as np

from genjax.data.dataset import Dataset

MOST_NAMES = 20


def summary(dataset: Dataset) -> str:
  """Number, shape, levels and range, classes with their counts in train, splits, notes."""
  shape, levels, num_classes, context = dataset.spec
  sizes = {split: len(arrays['x']) for split, arrays in dataset.splits.items()}
  parts = [f'{sum(sizes.values())} {_kind(shape, levels)}', *_range(dataset)]
  if num_classes is not None:
    parts.append(_classes(dataset, num_classes))
  if context is not None:
    parts.append(f'conditioned on vectors of {context}')
  splits = ', '.join(f'{split} {size}' for split, size in sizes.items())
  scaled = ('standardised by train',) if dataset.standardised else ()
  place = (f'from {dataset.path}',) if dataset.path else ()
  return f'{dataset.name}: ' + '; '.join([', '.join(parts), splits, *scaled, *place,
                                          *dataset.notes])


def _kind(shape: tuple[int, ...], levels: int | None) -> str:
  """'images 32x32 RGB', 'vectors of 16' or 'arrays (8, 8, 4)'."""
  if levels is not None and len(shape) == 3:
    channels = {1: 'grey', 3: 'RGB'}.get(shape[2], f'of {shape[2]} channels')
    return f'images {shape[1]}x{shape[0]} {channels}'
  return f'vectors of {shape[0]}' if len(shape) == 1 else f'arrays {shape}'


def _range(dataset: Dataset) -> list[str]:
  """The number of levels and those that occur, or the range of continuous values."""
  levels, x = dataset.spec.levels, dataset.splits.get('train', {}).get('x')
  # the range of a mapped array would have to be read from the disk
  in_memory = type(x) is np.ndarray
  if levels is not None:
    return [f'{levels} levels' + (f' ({x.min()} to {x.max()} occur)' if in_memory else '')]
  return [f'values {x.min():.4g} to {x.max():.4g}'] if in_memory else ['continuous']


def _classes(dataset: Dataset, num_classes: int) -> str:
  """'3 classes (cat 200, dog 200, owl 200)', the first MOST_NAMES of them."""
  names, counts = dataset.classes, dataset.label_counts
  if names is None:
    return f'{num_classes} classes'
  shown = [name if counts is None else f'{name} {count}' for name, count in
           zip(names, counts or names, strict=True)]
  more = [f'{num_classes - MOST_NAMES} more'] if num_classes > MOST_NAMES else []
  return f'{num_classes} classes ({", ".join([*shown[:MOST_NAMES], *more])})'
