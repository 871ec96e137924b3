"""A user's own arrays: examples, labels and names of classes, or vectors to condition on."""

from typing import NamedTuple

import numpy as np

from genjax.data import dataset, files, intake, labels, values
from genjax.types import BadInput, DataSpec

# conventional keys of an npz; arr_0 and arr_1 are np.savez's own names
X_KEYS = ('x', 'images', 'samples', 'data', 'arr_0')
COND_KEYS = ('cond', 'y', 'labels', 'label', 'arr_1')
CONTEXT_KEY = 'context'  # vectors to condition on, one per example
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

  path, levels, x_key, cond_key, num_classes: see `read_npz`.
  validation, test: fractions of the examples, drawn by a permutation from `seed`.
  standardise: for continuous values only. Models see (x - mean) / std per component over the
    training split; samples and likelihoods are in the units of the file.
  """
  contents = read_npz(path, levels, x_key, cond_key, num_classes)
  x = contents.arrays['x']
  source = f'{path!r}'
  if type(standardise) is not bool or (standardise and contents.levels is not None):
    raise BadInput(f'{source}: standardise={standardise!r}; allowed: False, and True for '
                   'continuous values')
  kw = {'levels': contents.levels, 'validation': validation, 'test': test, 'seed': seed,
        **({'standardise': True} if standardise else {})}
  recipe = 'arrays of an npz'
  if standardise:
    recipe += ('; x = (raw - mean) / std by component over train: models and evaluators of samples '
               'see x, files and likelihoods are raw')
  elif contents.levels is None:
    values.warn_of_scales(x, source)
  change = (lambda splits: values.standardised(splits, source)) if standardise else None
  spec = DataSpec(x.shape[1:], contents.levels, contents.num_classes, contents.context)
  divided = files.divided('npz', {'train': contents.arrays}, spec, kw, recipe, False, change)
  return divided._replace(classes=contents.classes, path=str(files.existing('npz', path)),
                          notes=contents.notes)


def read_npz(path: str, levels: int | None = 256, x_key: str = '', cond_key: str = '',
             num_classes: int | None = None) -> Arrays:
  """The examples of an npz, their labels if it has any, and what they mean.

  path: the file.
  levels: see `values.checked`.
  x_key: key of the examples; '': the one of X_KEYS that the file has.
  cond_key: key of the labels, or CONTEXT_KEY for vectors [N, C]; '': the one of COND_KEYS and
    CONTEXT_KEY that the file has; 'none': no labels.
  num_classes: see `labels.checked`.
  Raises BadInput for a damaged file, a missing or ambiguous key, another dtype or shape, and
  values that are not finite.
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
  checked = labels.checked(read[cond_key], len(x), f'{path!r}, key {cond_key}', num_classes,
                           read.get(CLASSES_KEY))
  return Arrays({'x': x, 'cond': checked.cond}, levels, checked.num_classes, None, checked.classes,
                tuple(notes))


def _chosen(path: str, keys: tuple[str, ...], x_key: str, cond_key: str) -> tuple[str, str]:
  """The keys of examples and labels ('' for none) of an npz with these keys."""
  present = f'it has: {", ".join(keys[:20]) or "none"}'
  for name, key in (('x_key', x_key), ('cond_key', cond_key)):
    if key and key not in keys and (name, key) != ('cond_key', 'none'):
      raise BadInput(f'{path!r} has no key {key}; {present}; allowed: {name} among them')
  candidates = [key for key in X_KEYS if key in keys]
  if not x_key and len(candidates) != 1:
    reason = (f'{" and ".join(candidates)} may be the examples' if candidates else
              f'no key {", ".join(X_KEYS[:-1])} or {X_KEYS[-1]}')
    raise BadInput(f'{path!r} has {reason}; {present}; allowed: one of these, or data.x_key=KEY')
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
