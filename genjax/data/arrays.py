"""A user's own arrays: examples, labels and names of classes, or vectors to condition on."""

from typing import NamedTuple

import numpy as np

from genjax.data import dataset, files, intake, labels, values
from genjax.types import BadInput, DataSpec

# keys of an npz by convention, the first that is there; arr_0 and arr_1 are np.savez's own names
X_KEYS = ('x', 'images', 'samples', 'data', 'arr_0')
COND_KEYS = ('cond', 'y', 'labels', 'label', 'arr_1')
CONTEXT_KEY = 'context'  # of vectors to condition on, one for each example
CLASSES_KEY = 'classes'


class Arrays(NamedTuple):
  """Examples of one file or folder, and what they mean."""

  arrays: dict  # {'x': [N, ...], 'cond'?: int32 [N] or float32 [N, context]}
  levels: int | None
  num_classes: int | None = None
  context: int | None = None
  classes: tuple[str, ...] | None = None
  notes: tuple[str, ...] = ()


def npz(*, path: str = '', levels: int | None = 256, validation: float = 0.1, test: float = 0.1,
        seed: int = 0, x_key: str = '', cond_key: str = '', num_classes: int | None = None,
        standardise: bool = False) -> dataset.Dataset:
  """The arrays of `read_npz` as a data set.

  validation, test: fractions that are drawn by a permutation from `seed`.
  standardise: of continuous values; models see (x - mean) / std of each component over the training
  split, samples are written in the units of the file, and likelihoods are of those too.
  """
  found = read_npz(path, levels, x_key, cond_key, num_classes)
  x = found.arrays['x']
  source = f'{path!r}'
  if type(standardise) is not bool or (standardise and found.levels is not None):
    raise BadInput(f'{source}: standardise={standardise!r}; allowed: False, and True for '
                   'continuous values')
  kw = {'levels': found.levels, 'validation': validation, 'test': test, 'seed': seed,
        **({'standardise': True} if standardise else {})}
  recipe = 'arrays of an npz'
  if standardise:
    recipe += ('; x = (raw - mean) / std by component over train: models and evaluators of samples '
               'see x, files and likelihoods are raw')
  elif found.levels is None:
    values.warn_of_scales(x, source)
  change = (lambda splits: values.standardised(splits, source)) if standardise else None
  spec = DataSpec(x.shape[1:], found.levels, found.num_classes, found.context)
  made = files.divided('npz', {'train': found.arrays}, spec, kw, recipe, False, change)
  return made._replace(classes=found.classes, path=str(files.existing('npz', path)),
                       notes=found.notes)


def read_npz(path: str, levels: int | None = 256, x_key: str = '', cond_key: str = '',
             num_classes: int | None = None) -> Arrays:
  """The examples of an npz, their labels if it has any, and what they mean.

  x_key: the key of the examples; '': the one of X_KEYS that is there.
  cond_key: of the labels, or CONTEXT_KEY, of vectors [N, C]; '': the one of these or of COND_KEYS
    that is there, 'none': none.
  levels, num_classes: see `values.checked`, `labels.checked`.
  Raises BadInput for a damaged file, a missing or ambiguous key, another dtype or shape, values
  that are not finite.
  """
  where = files.existing('npz', path)
  keys = intake.read_npz(where, ()).keys
  x_key, cond_key = _chosen(path, keys, x_key, cond_key)
  read = intake.read_npz(where, {x_key, cond_key, CLASSES_KEY} & set(keys)).arrays
  x, levels = values.checked(read[x_key], levels, f'{path!r}, key {x_key}')
  others = [key for key in keys if key not in (x_key, cond_key, CLASSES_KEY)]
  notes = [f'x is its key {x_key}'] if x_key != 'x' else []
  notes += [f'labels are its key {cond_key}'] if cond_key not in ('', 'cond', CONTEXT_KEY) else []
  notes += [f'skipped keys: {", ".join(others[:8])}'] if others else []
  if not cond_key:
    return Arrays({'x': x}, levels, notes=tuple(notes))
  if cond_key == CONTEXT_KEY:
    vectors = _vectors(read[cond_key], len(x), f'{path!r}, key {cond_key}')
    return Arrays({'x': x, 'cond': vectors}, levels, context=vectors.shape[1],
                  notes=tuple(notes))
  found = labels.checked(read[cond_key], len(x), f'{path!r}, key {cond_key}', num_classes,
                         read.get(CLASSES_KEY))
  return Arrays({'x': x, 'cond': found.cond}, levels, found.num_classes, None, found.classes,
                tuple(notes))


def _chosen(path: str, keys: tuple[str, ...], x_key: str, cond_key: str) -> tuple[str, str]:
  """The keys of examples and labels ('' for none) of an npz with these keys."""
  there = f'it has: {", ".join(keys[:20]) or "none"}'
  for name, key in (('x_key', x_key), ('cond_key', cond_key)):
    if key and key not in keys and (name, key) != ('cond_key', 'none'):
      raise BadInput(f'{path!r} has no key {key}; {there}; allowed: {name} among them')
  candidates = [key for key in X_KEYS if key in keys]
  if not x_key and len(candidates) != 1:
    said = (f'{" and ".join(candidates)} may be the examples' if candidates else
            f'no key {", ".join(X_KEYS[:-1])} or {X_KEYS[-1]}')
    raise BadInput(f'{path!r} has {said}; {there}; allowed: one of these, or data.x_key=KEY')
  x_key = x_key or candidates[0]
  if cond_key:
    return x_key, '' if cond_key == 'none' else cond_key
  candidates = [key for key in (*COND_KEYS, CONTEXT_KEY) if key in keys and key != x_key]
  if x_key != 'arr_0' and 'arr_1' in candidates:
    candidates.remove('arr_1')
  if len(candidates) > 1:
    raise BadInput(f'{path!r} has {" and ".join(candidates)}, which may be the labels; allowed: '
                   'data.cond_key=KEY, or none for no labels')
  return x_key, candidates[0] if candidates else ''


def _vectors(array: np.ndarray, count: int, source: str) -> np.ndarray:
  """Vectors to condition on, float32 [count, C]; BadInput for other shapes, dtypes and values."""
  if array.ndim != 2 or len(array) != count or not array.shape[1] or array.dtype.kind not in 'fiu':
    raise BadInput(f'{source} is {array.dtype}{list(array.shape)}; allowed: numbers [{count}, C], '
                   'a vector for each example')
  with np.errstate(over='ignore'):
    vectors = array.astype(np.float32)
  if not np.isfinite(vectors).all():
    raise BadInput(f'{source} has values that are not finite in float32; allowed: finite numbers')
  return vectors
