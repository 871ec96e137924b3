"""Data sets as shapes alone, on which a run compiles on a machine that need not have the data."""

import jax
import numpy as np

from genjax.data import dataset, latents, store
from genjax.types import BadInput, DataSpec

# Examples of TFDS's sets by split, which its builders learn only by reading the files; from the
# pages of the TFDS catalogue.
SIZES = {
    'celeb_a': {'train': 162770, 'validation': 19867, 'test': 19962},
    'cifar10': {'train': 50000, 'test': 10000},
    'cifar100': {'train': 50000, 'test': 10000},
    'fashion_mnist': {'train': 60000, 'test': 10000},
    'imagenet_resized': {'train': 1281167, 'validation': 50000},
    'kmnist': {'train': 60000, 'test': 10000},
    'mnist': {'train': 60000, 'test': 10000},
    'svhn_cropped': {'train': 73257, 'test': 26032, 'extra': 531131},
}
NUM_LATENTS = 1281167  # ImageNet's; nothing that is compiled depends on it


def of_arrays(loaded: dataset.Dataset) -> dataset.Dataset:
  """The same set with a jax.ShapeDtypeStruct instead of each column."""
  splits = {split: {key: jax.ShapeDtypeStruct(array.shape, array.dtype)
                    for key, array in arrays.items()} for split, arrays in loaded.splits.items()}
  return loaded._replace(splits=splits)


def tfds(name: str) -> dataset.Dataset:
  """A TFDS set that was not prepared, from the features of its builder; reads and writes no file.

  Images are taken to have 256 levels. Raises BadInput for a set that has no image, or whose
  number of examples is not known here.
  """
  if store.stem(name) not in SIZES:
    raise BadInput(f'data set {name!r} is not prepared here, and its number of examples is not '
                   f'known; allowed: {", ".join(SIZES)}, or {store.command(name)} first')
  from genjax.data import tfds as builders  # takes a second
  shape, num_classes, recipe = builders.features(name)
  assigned, words = dataset.assign(SIZES[store.stem(name)])
  columns = {'x': (shape, np.uint8)} | ({'cond': ((), np.int32)} if num_classes else {})
  return _declared(name, DataSpec(shape, 256, num_classes), columns,
                   {split: len(rows) for split, (_, rows) in assigned.items()}, recipe + words)


def latent_codes(*, path: str = '', shape=None, num_classes: int | None = None,
                 data_dir=None) -> dataset.Dataset:
  """The latents of `latents.load`, with the same arguments; without files, as these declare."""
  if (latents.place(path, data_dir) / latents.INDEX).is_file():
    return of_arrays(latents.load(path=path, shape=shape, num_classes=num_classes,
                                  data_dir=data_dir))
  if not shape or not num_classes:
    raise BadInput("data set 'latents': no files to read the shape from; declare data.kw.shape="
                   f'(H,W,C) and data.kw.num_classes=N, now {shape} and {num_classes}')
  shape = tuple(shape)
  assigned, words = dataset.assign({'train': NUM_LATENTS})
  columns = {'x': (shape, np.float32), 'std': (shape, np.float32), 'cond': ((), np.int32)}
  return _declared('latents', DataSpec(shape, None, num_classes), columns,
                   {split: len(rows) for split, (_, rows) in assigned.items()}, 'moments' + words)


def _declared(name: str, spec: DataSpec, columns: dict, sizes: dict,
              recipe: str) -> dataset.Dataset:
  splits = {split: {key: jax.ShapeDtypeStruct((n, *shape), dtype)
                    for key, (shape, dtype) in columns.items()} for split, n in sizes.items()}
  return dataset.Dataset(name, spec, splits, {'name': name, 'kw': {}, 'sha256': {},
                                              'recipe': f'declared, not read: {recipe}'})
