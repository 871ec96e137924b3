"""Binary images: a recipe of any image set with more than two levels.

binarise='threshold'   1 where the level is at least (L - 1) / 2
binarise='fixed:SEED'  one Bernoulli draw per pixel for ever, P(1) = level / (L - 1)
binarise='stochastic'  a new draw whenever an example is trained on (Salakhutdinov and Murray,
                       2008); evaluation sees the draw of fixed:0
"""

import re

import jax
import numpy as np

from genjax import disk, ranges
from genjax.data.dataset import SPLITS, Dataset, properties
from genjax.types import BadInput

WAYS = 'threshold, stochastic, fixed:SEED'
CHUNK = 1 << 24  # elements drawn at once


def binarised(dataset: Dataset, how: str) -> Dataset:
  """The data set with levels 0 and 1, made from its own by the recipe `how`, see above.

  Where training draws anew, the training split also has 'intensity': P(1) of each pixel, as
  unsigned integers on the full scale of their dtype (`dataset.bernoulli`). Raises BadInput for
  another recipe, and for data that are no images with more than two levels.
  """
  seed = _seed(how)
  if 'image' not in properties(dataset) or dataset.spec.levels == 2:
    what = '2 levels already' if dataset.spec.levels == 2 else 'no images with integer levels'
    raise BadInput(f'binarise={how!r}: data set {dataset.name!r} has {what}; allowed: leave it out')
  levels, splits = dataset.spec.levels, {}
  for split, arrays in dataset.splits.items():
    x = arrays['x']
    if isinstance(x, jax.ShapeDtypeStruct):
      bits = jax.ShapeDtypeStruct(x.shape, np.uint8)
    else:
      bits = _bits(x, levels, None if seed is None else [seed, SPLITS.index(split)])
    splits[split] = {**arrays, 'x': bits}
  if how == 'stochastic' and 'train' in splits:
    x, dtype = dataset.splits['train']['x'], np.uint8 if 255 % (levels - 1) == 0 else np.uint16
    splits['train']['intensity'] = (
        jax.ShapeDtypeStruct(x.shape, dtype) if isinstance(x, jax.ShapeDtypeStruct)
        else _intensity(x, levels, dtype))
  return dataset._replace(
      spec=dataset.spec._replace(levels=2), splits=splits,
      identity=_identity(dataset, splits, how))


def _seed(how: str) -> int | None:
  """The seed of the fixed draw, None for a threshold; BadInput for an unknown recipe."""
  if how in ('threshold', 'stochastic'):
    return None if how == 'threshold' else 0
  given = re.fullmatch(r'fixed:(\d{1,12})', how) if isinstance(how, str) else None
  if not given:
    raise BadInput(f'binarise={how!r}; allowed: {WAYS}')
  ranges.check(f'binarise={how!r}: its seed', int(given[1]), f'[0, {ranges.SEEDS}]')
  return int(given[1])


def _bits(x, levels: int, seed) -> np.ndarray:
  """uint8 [N, *shape] of 0 and 1; seed None: by the threshold."""
  bits = np.empty(x.shape, np.uint8)
  state = None if seed is None else np.random.RandomState(seed)
  for rows in _chunks(x):
    levels_of = np.asarray(x[rows])
    bits[rows] = (2 * levels_of.astype(np.int64) >= levels - 1 if state is None
                  else state.random_sample(levels_of.shape) * (levels - 1) < levels_of)
  return bits


def _intensity(x, levels: int, dtype) -> np.ndarray:
  """x on the full scale of an unsigned dtype."""
  scaled = np.empty(x.shape, dtype)
  for rows in _chunks(x):
    scaled[rows] = np.rint(np.asarray(x[rows], np.float64) * (np.iinfo(dtype).max / (levels - 1)))
  return scaled


def _chunks(x):
  step = max(1, CHUNK // int(np.prod(x.shape[1:])))
  return (slice(start, start + step) for start in range(0, len(x), step))


def _identity(dataset: Dataset, splits: dict, how: str) -> dict:
  """The identity of the binary set; hashes only of what is here."""
  known = dataset.identity
  here = not any(isinstance(arrays['x'], jax.ShapeDtypeStruct) for arrays in splits.values())
  return {**known, 'kw': {**known['kw'], 'binarise': how},
          'recipe': f'{known["recipe"]}; binarised: {how}',
          'sha256': {name: disk.digest(arrays) for name, arrays in splits.items()} if here else {}}
