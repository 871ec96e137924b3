"""Labels of a user's examples: integers 0..K-1 and, where there are any, the names of classes."""

import math
import warnings
from typing import NamedTuple

import numpy as np

from genjax.data.dataset import Dataset
from genjax.types import BadInput
from genjax.words import did_you_mean

MOST_CLASSES = 1 << 20


class Labels(NamedTuple):
  """One label per example, and what the labels mean."""

  cond: np.ndarray  # int32 [N], 0..num_classes-1
  num_classes: int
  classes: tuple[str, ...] | None = None


def checked(cond: np.ndarray, n: int, source: str, num_classes: int | None = None,
            classes: np.ndarray | None = None) -> Labels:
  """The labels of n examples.

  cond: integers, or names as text, which are numbered in sorted order.
  n: number of examples.
  source: name of the labels in messages.
  num_classes: default: one more than the largest label.
  classes: text [num_classes], the names of integer labels, if known.
  Raises BadInput for other types and lengths, labels outside 0..num_classes-1, and (num_classes
  None) if most labels up to the largest never occur.
  """
  if cond.shape != (n,):
    hint = '; one-hot rows become labels by labels.argmax(1)' if cond.shape[:1] == (n,) else ''
    raise BadInput(f'{source}: labels are {cond.dtype} {cond.shape}; allowed: {n} integers >= 0, '
                   f'or names{hint}')
  if cond.dtype.kind in 'US':
    names, numbers = np.unique(cond.astype(str), return_inverse=True)
    return Labels(numbers.astype(np.int32), len(names), tuple(map(str, names)))
  if cond.dtype.kind not in 'iub':
    raise BadInput(f'{source}: labels are {cond.dtype} {cond.shape}; allowed: {n} integers >= 0, '
                   'or names (labels.astype(int) where they are whole; cond_key=none for none)')
  low, high = int(cond.min()), int(cond.max())  # Python's integers: nothing wraps
  if low < 0:
    raise BadInput(f'{source}: the smallest label is {low}; allowed: {n} integers >= 0')
  if num_classes is not None and (type(num_classes) is not int or not num_classes >= 1):
    raise BadInput(f'{source}: num_classes={num_classes!r}; allowed: an integer from 1')
  occurring = np.unique(cond)
  count = high + 1 if num_classes is None else num_classes
  if high >= count or count > MOST_CLASSES:
    raise BadInput(f'{source}: the largest label is {high}, of {count} classes; allowed: labels '
                   f'below num_classes, which is at most {MOST_CLASSES} '
                   '(np.unique(labels, return_inverse=True)[1] numbers them anew)')
  if num_classes is None and count > 2 * len(occurring):
    raise BadInput(f'{source}: labels go up to {high}, but only {len(occurring)} of {count} occur; '
                   'allowed: np.unique(labels, return_inverse=True)[1] instead, or '
                   f'num_classes={count} if they are right')
  missing = sorted(set(range(count)) - set(occurring.tolist()))
  if missing:
    warnings.warn(f'{source}: {len(missing)} of {count} labels never occur, the first is '
                  f'{missing[0]}', stacklevel=3)
  return Labels(cond.astype(np.int32), count, _names(classes, count, source))


def _names(classes, count: int, source: str) -> tuple[str, ...] | None:
  if classes is None:
    return None
  names = [str(name) for name in np.ravel(classes)]
  if len(set(names)) != count or len(names) != count:
    raise BadInput(f'{source}: {len(names)} names of classes ({len(set(names))} different) for '
                   f'{count} labels; allowed: one for each')
  return tuple(names)


def of_text(text: str, dataset: Dataset) -> int | tuple[float, ...]:
  """The condition that the text of a command line means: a label or a vector.

  A label is a class by name, a number, or 'none' for no label; a name wins over a number. A vector
  is its numbers with commas between them, or 'none'. Raises BadInput, naming what is allowed.
  """
  count, classes = dataset.spec.num_classes, dataset.classes or ()
  if dataset.spec.context is not None:
    return _vector(text, dataset.spec.context)
  if count is None:
    raise BadInput(f'cond={text}; allowed: none, since {dataset.name!r} has no labels')
  if text in classes:
    return classes.index(text)
  if text == 'none':
    return count
  # where names are digits a number would mean another class than the name says
  by_number = not any(name.isdigit() for name in classes)
  if by_number and text.isdecimal() and int(text) <= count:
    return int(text)
  numbers = [f'0..{count - 1}', f'{count} or none for no label'] if by_number else [
      'none for no label']
  raise BadInput(f'cond={text}{did_you_mean(text, classes)} is no class of {dataset.name!r}; '
                 f'allowed: {", ".join([*classes[:20], *numbers])}')


def _vector(text: str, context: int) -> tuple[float, ...]:
  """The numbers of a vector; for 'none' NaNs, which mean no condition."""
  if text == 'none':
    return (math.nan,) * context
  try:
    numbers = tuple(float(number) for number in text.strip('[]()').split(','))
  except ValueError:
    numbers = ()
  if len(numbers) != context or not all(map(math.isfinite, numbers)):
    raise BadInput(f'cond={text}; allowed: {context} finite numbers with commas between them, or '
                   'none')
  return numbers
