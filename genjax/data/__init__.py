"""Data sets by name, their identity, and batches that are a pure function of (seed, i)."""

import functools
import importlib.util
import inspect
import pathlib
from collections.abc import Callable

from genjax import extension, ranges
from genjax.data import arrays, binary, digits, files, latents, shapes, store, toys
from genjax.data.dataset import (
  Dataset,
  augmentation,
  counted,
  describe,
  described,
  identity,
  prepare,
  properties,
  to_raw,
)
from genjax.data.labels import of_text as condition_of_text
from genjax.data.source import BatchSource, batches, loader, of_host, stack
from genjax.data.summary import summary
from genjax.types import BadInput
from genjax.words import did_you_mean

__all__ = ['BUNDLED', 'BatchSource', 'Dataset', 'augmentation', 'batches', 'counted', 'declared',
           'condition_of_text', 'describe', 'described', 'identity', 'load', 'loader', 'names',
           'of_host', 'prepare', 'properties', 'stack', 'summary', 'to_raw']

# Data that need no preparation: bundled, drawn, or read from a user's path. Other names are looked
# up in the cache that experiments.prepare fills.
BUNDLED = {
    'digits': digits.make,
    **{name: toys.maker(name) for name in toys.TOYS},
    'folder': files.folder,
    'npz': arrays.npz,
    'latents': latents.load,
}


def names(data_dir=None) -> tuple[str, ...]:
  """All names that `load` knows on this machine: bundled ones, then prepared ones."""
  return (*BUNDLED, *store.prepared(data_dir))


def load(name: str, **kw) -> Dataset:
  """The data set `name`; kw are its own keyword arguments, `data_dir` for a prepared one.

  A name that ends in .py is the path of a file with make(**kw) -> Dataset. Any image set takes
  `binarise` too (`data.binary`).

  Raises BadInput, naming what is allowed, for an unknown name or argument, a set that was never
  prepared, and a file that is missing or damaged. Touches no network.
  """
  if extension.is_path(name):
    make = extension.entry('data set', name).make
  else:
    make = BUNDLED.get(name) or functools.partial(_prepared, name)
  binarise, kw = _binarise(kw)
  _check_kw(extension.stem(name), make, kw)
  loaded = make(**kw)
  if not isinstance(loaded, Dataset):  # by a user's own file
    raise BadInput(f'{extension.place(name)}: make(...) returns a {type(loaded).__name__}; '
                   'allowed: a genjax.data.Dataset')
  return counted(binary.binarised(loaded, binarise) if binarise else loaded)


def declared(name: str, **kw) -> Dataset:
  """The data set `name` with a jax.ShapeDtypeStruct instead of each column, to compile on.

  The shapes are those of the set if this machine has it; else they come from TFDS's builder, and
  for latents from the arguments shape and num_classes. Raises BadInput as `load` does, and if the
  shapes are unknown. Touches no network.
  """
  if name == 'latents':
    _check_kw(name, latents.load, kw)
    return shapes.latent_codes(**kw)
  is_here = name in BUNDLED or extension.is_path(name) or store.exists(name, kw.get('data_dir'))
  if is_here or store.stem(name) not in _tfds_names():
    return shapes.of_arrays(load(name, **kw))
  binarise, kw = _binarise(kw)
  _check_kw(name, functools.partial(_prepared, name), kw)
  return binary.binarised(shapes.tfds(name), binarise) if binarise else shapes.tfds(name)


def _binarise(kw: dict) -> tuple[str | None, dict]:
  """The recipe of binary images among the arguments, and the other arguments."""
  return kw.get('binarise'), {key: value for key, value in kw.items() if key != 'binarise'}


def _check_kw(name: str, make: Callable, kw: dict) -> None:
  allowed = tuple(inspect.signature(make).parameters)
  for key in kw:
    if key not in allowed:
      raise BadInput(f'data set {name!r} takes no argument {key!r}'
                     f'{did_you_mean(key, (*allowed, "binarise"))}; '
                     f'it takes: {", ".join(allowed) or "none"}')
  ranges.check_all(f'data set {name!r}: ', kw, ranges.BY_KEYWORD)


def _prepared(name: str, data_dir=None) -> Dataset:
  """The set `name` from the cache; BadInput, with the command or the known names, if absent."""
  if store.exists(name, data_dir):
    return store.load(name, data_dir)
  known = _tfds_names()
  if store.stem(name) in known:
    raise BadInput(f'data set {name!r} is not prepared (looked in '
                   f'{store.directory(name, data_dir)}). Run {store.command(name)} (downloads), or '
                   f'{store.command(name, "DIR")} with its files in DIR.')
  prepared = store.prepared(data_dir)
  hint = did_you_mean(name, {*BUNDLED, *prepared, *known}, 3)
  raise BadInput(f'unknown data set {name!r}{hint}; bundled: {", ".join(BUNDLED)}; prepared here: '
                 f'{", ".join(prepared) or "none"}; or the name of any TFDS image set, such as '
                 'mnist, fashion_mnist, cifar10.')


def _tfds_names() -> set[str]:
  """Names of TFDS's sets, from the files of the package, since importing it takes a second."""
  package = importlib.util.find_spec('tensorflow_datasets')
  if package is None:
    return set()
  root = pathlib.Path(package.submodule_search_locations[0])
  return {p.stem for p in (*root.glob('url_checksums/[a-z]*.txt'), *root.glob('datasets/[a-z]*'))}
