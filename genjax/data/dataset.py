"""Data sets: arrays of integers or float32, their meaning, and their identity."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import disk, prob
from genjax.types import BadInput, DataSpec

SPLITS = ('train', 'validation', 'test')


class Dataset(NamedTuple):
  """Arrays, their meaning, and what is known about the density of the data."""

  name: str
  spec: DataSpec
  # 'train' | 'validation' | 'test' -> {'x': [N, *shape], 'std'?, 'intensity'?: likewise, 'cond'?:
  # int32 [N] or float32 [N, context]}, numpy arrays, columns that are read by rows, or (a declared
  # set) shapes alone
  splits: dict
  identity: dict  # {'name', 'kw', 'recipe', 'sha256': {split: hex}}
  log_density: Callable | None = None  # x float32 [B, *shape] -> [B] nats; exact and normalised
  sample: Callable | None = None  # (jax key, n) -> x [n, *shape], exact draws
  modes: np.ndarray | None = None  # [K, *shape]
  mode_std: float | None = None
  box: tuple[float, float] | None = None  # (lo, hi): the square (lo, hi)^D holds all mass
  classes: tuple[str, ...] | None = None  # names of the labels 0..num_classes-1
  label_counts: tuple[int, ...] | None = None  # of each label in the training split
  standardised: tuple | None = None  # (mean, std), each float [*shape]: x = (raw - mean) / std
  path: str = ''  # absolute, of a user's own folder or npz
  notes: tuple[str, ...] = ()  # for people: what was skipped, and how keys were interpreted


def describe(dataset: Dataset) -> dict:
  """The facts about data that sampling needs, as plain JSON data; `described` reads them."""
  shape, *of_spec = dataset.spec
  scale = dataset.standardised
  return {
      'name': dataset.name, 'shape': list(shape),
      **dict(zip(DataSpec._fields[1:], of_spec, strict=True)),
      'classes': dataset.classes and list(dataset.classes),
      'label_counts': dataset.label_counts and list(dataset.label_counts),
      'standardised': scale and [np.asarray(part, np.float64).tolist() for part in scale]}


def described(facts: dict, identity: dict) -> Dataset:
  """The data set of these facts, without any split: enough to sample, not to evaluate."""
  as_tuple = lambda value: value and tuple(value)
  scale = facts['standardised']
  spec = DataSpec(tuple(facts['shape']), *(facts[field] for field in DataSpec._fields[1:]))
  return Dataset(
      facts['name'], spec, {}, identity, classes=as_tuple(facts['classes']),
      label_counts=as_tuple(facts['label_counts']),
      standardised=scale and tuple(np.asarray(part, np.float64) for part in scale))


def counted(dataset: Dataset) -> Dataset:
  """The data set with `label_counts` of its training split, if the labels are in memory."""
  labels = dataset.splits.get('train', {}).get('cond')
  if dataset.label_counts or dataset.spec.num_classes is None or type(labels) not in (
      np.ndarray, np.memmap):
    return dataset
  counts = np.bincount(labels, minlength=dataset.spec.num_classes)
  return dataset._replace(label_counts=tuple(int(count) for count in counts))


def properties(dataset: Dataset) -> frozenset[str]:
  """The properties of the data that an estimator may need.

  A subset of 'discrete', 'continuous', 'image' (pixels), 'code' (of an autoencoder, without meaning
  unless decoded), 'coordinates' (continuous values that can be compared directly), 'labels',
  'log_density', 'modes', 'training_set'.
  """
  discrete = dataset.spec.levels is not None
  code = any('std' in arrays for arrays in dataset.splits.values())
  there = {
      'discrete': discrete,
      'continuous': not discrete,
      'image': discrete and len(dataset.spec.shape) == 3,
      'code': code,
      'coordinates': not discrete and not code,
      'labels': dataset.spec.num_classes is not None,
      'log_density': dataset.log_density is not None,
      'modes': dataset.modes is not None,
      'training_set': 'train' in dataset.splits,
  }
  return frozenset(name for name, value in there.items() if value)


def prepare(batch: dict, spec: DataSpec, rng=None) -> dict:
  """A batch as models see it: x float32 on the grid of `spec.levels`, mask as it is.

  cond: labels int32 [B], or vectors float32 [B, context].

  If the batch has 'std', x and std are the moments of an autoencoder's code: x becomes a draw from
  N(x, std^2), or stays the mean if rng is None. With 'intensity' (`data.binary`), x becomes a draw
  of binary pixels, or stays the fixed draw. Pure; the first line of a jitted step. Raises BadInput
  when integers are expected and x is already float (prepared twice).
  """
  x = jnp.asarray(batch['x'])
  if 'intensity' in batch:
    if rng is not None:
      x = bernoulli(rng, jnp.asarray(batch['intensity']))
    batch = {key: value for key, value in batch.items() if key != 'intensity'}
  if 'std' in batch:
    x = x.astype(jnp.float32)
    if rng is not None:
      x = x + batch['std'].astype(jnp.float32) * jax.random.normal(rng, x.shape)
    batch = {key: value for key, value in batch.items() if key != 'std'}
  if spec.levels is None:
    x = x.astype(jnp.float32)
  elif jnp.issubdtype(x.dtype, jnp.integer):
    x = prob.from_levels(x, spec.levels)
  else:
    raise BadInput(f'data with {spec.levels} levels are integers 0..{spec.levels - 1}; '
                   f'this batch is {x.dtype}: was it prepared twice?')
  out = {**batch, 'x': x}
  if 'cond' in batch:
    out['cond'] = jnp.asarray(batch['cond'], jnp.int32 if spec.context is None else jnp.float32)
  return out


def bernoulli(rng, intensity) -> jax.Array:
  """Levels int32, one draw per pixel: P(1) = intensity / (the largest value of its dtype)."""
  share = intensity.astype(jnp.float32) * (1.0 / np.iinfo(intensity.dtype).max)
  return (jax.random.uniform(rng, intensity.shape) < share).astype(jnp.int32)


def flip(rng, x: jax.Array) -> jax.Array:
  """x [B, H, W, C] with each image mirrored left to right with probability 1/2."""
  mirrored = jax.random.bernoulli(rng, shape=(x.shape[0], 1, 1, 1))
  return jnp.where(mirrored, x[:, :, ::-1], x)


AUGMENTATIONS = {'flip': flip}


def augmentation(name: str, dataset: Dataset) -> Callable:
  """The function (rng, x [B, H, W, C]) -> x of this name; BadInput if unknown, or for no images."""
  if name not in AUGMENTATIONS:
    raise BadInput(f"augment={name!r}; allowed: '' (none), {', '.join(AUGMENTATIONS)}")
  if 'image' not in properties(dataset):
    raise BadInput(f"augment={name!r} needs images, and {dataset.name!r} has none; allowed: ''")
  return AUGMENTATIONS[name]


def identity(name: str, kw: dict, recipe: str, splits: dict) -> dict:
  """{'name', 'kw', 'recipe', 'sha256'}: how `splits` were made, and the hash of each's content."""
  return {'name': name, 'kw': kw, 'recipe': recipe,
          'sha256': {split: disk.digest(arrays) for split, arrays in splits.items()}}


def permutation(n: int, seed: int) -> np.ndarray:
  """A permutation of range(n) for splits, from numpy's frozen legacy stream: never changes."""
  return np.random.RandomState(seed).permutation(n)


def split_rows(n: int, sizes: dict, seed: int) -> dict:
  """{split: sorted row numbers}, disjoint and of the given sizes; 'train' gets the rest."""
  order, rows, first = permutation(n, seed), {}, 0
  for split, size in sizes.items():
    rows[split] = np.sort(order[first:first + size])
    first += size
  return {'train': np.sort(order[first:]), **rows}


def carved(n: int) -> int:
  """The number of n training examples that become validation if there is none: min(5000, n/10)."""
  return max(1, min(5000, n // 10))


def assign(sizes: dict, carve: Callable[[str, int], int] | None = None,
           seed: int = 0) -> tuple[dict, str]:
  """{split: (split of the source, sorted row numbers)}, and what the recipe says of them.

  sizes: {split of the source: number of examples}, with 'train'.
  carve: (split, size of train) -> number of its examples that a missing split gets, chosen by a
    permutation from `seed`; default `carved`.
  A source with a validation but no test split uses its validation split as test.
  """
  carve = carve or (lambda split, n: carved(n))
  origins = {'train': 'train', 'validation': 'train', 'test': 'train'}
  if 'test' in sizes or 'validation' in sizes:
    origins['test'] = 'test' if 'test' in sizes else 'validation'
  if 'test' in sizes and 'validation' in sizes:
    origins['validation'] = 'validation'
  held = {split: carve(split, sizes['train']) for split in ('validation', 'test')
          if origins[split] == 'train'}
  if sum(held.values()) >= sizes['train']:
    raise BadInput(f'{sizes["train"]} training examples leave none after '
                   + ' and '.join(f'{count} for {split}' for split, count in held.items()))
  rows = split_rows(sizes['train'], held, seed)
  words = ''.join(f'; {split} = {count} of train by RandomState({seed}).permutation'
                  for split, count in held.items())
  words += '; test = its validation' if origins['test'] == 'validation' else ''
  return {split: (origin, rows[split] if origin == 'train' else np.arange(sizes[origin]))
          for split, origin in origins.items()}, words


def to_raw(dataset: Dataset, x):
  """x of the model in the units of the file: standardised values rescaled, others as they are."""
  if dataset.standardised is None:
    return x
  mean, std = dataset.standardised
  return (np.asarray(x, np.float64) * std + mean).astype(np.float32)


def rows_of(arrays: dict, rows: np.ndarray) -> dict:
  """The given rows of every array."""
  return jax.tree.map(lambda array: np.ascontiguousarray(array[rows]), arrays)
