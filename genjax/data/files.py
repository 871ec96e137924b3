"""A user's own images: a folder of files, or the four idx files of an MNIST-like set."""

import pathlib
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from genjax import disk
from genjax.data import dataset, intake, layout, values
from genjax.data.intake import images
from genjax.types import BadInput, DataSpec

IDX_FILES = {'train': 'train', 'test': 't10k'}


class Pixels(NamedTuple):
  """Images of one size."""

  x: np.ndarray  # uint8 levels [N, H, W, C]
  notes: tuple[str, ...]  # for people: what was done to how many
  num_resized: int


def folder(*, path: str = '', levels: int = 256, validation: float = 0.1, test: float = 0.1,
           seed: int = 0, folders: str = 'auto') -> dataset.Dataset:
  """The data set of `images_of_folder`, which documents the arguments."""
  return images_of_folder(path, levels, validation, test, seed, folders)


def images_of_folder(path: str, levels: int = 256, validation: float = 0.1, test: float = 0.1,
                     seed: int = 0, folders: str = 'auto',
                     progress: Callable = iter) -> dataset.Dataset:
  """A folder of images as a data set: splits and classes by its folders (`layout.of_folder`).

  path: the folder, absolute or relative to the working directory.
  levels: number of grey levels; fewer than 256 are mapped back from 0..255.
  validation, test: fractions of the training images where the folder has no such split.
  seed: of the permutation that chooses them.
  folders: what folders mean, one of `layout.FOLDERS`.
  progress: wraps the list of files that are read.
  Raises BadInput for an empty folder, an unreadable image, mixed sizes or channels.
  """
  root = existing('folder', path)
  if not root.is_dir():
    raise BadInput(f"data set 'folder': path={path!r} is no folder; allowed: a folder of "
                   'images, or FILE.npz as the data set npz')
  images = layout.of_folder(root, folders)
  files = [file for split in images.files.values() for file in split]
  x, notes, _ = read_images(files, levels, root, progress=progress)
  pools, first = {}, 0
  for split, paths in images.files.items():
    pools[split] = {'x': x[first:first + len(paths)]}
    first += len(paths)
    if images.labels is not None:
      pools[split]['cond'] = images.labels[split]
  recipe = 'images of a folder sorted by path, decoded by Pillow, not resized'
  recipe += '; splits by folder' if images.is_split else ''
  kw = {'levels': levels, 'validation': validation, 'test': test, 'seed': seed,
        **({} if folders == 'auto' else {'folders': folders})}
  spec = DataSpec(x.shape[1:], levels, None if images.classes is None else len(images.classes))
  divided_set = divided('folder', pools, spec, kw, recipe, images.is_split)
  return divided_set._replace(classes=images.classes, path=str(root), notes=(*images.notes, *notes))


def read_images(files: list[pathlib.Path], levels: int, source, size: tuple[int, int] | None = None,
                progress: Callable = iter) -> Pixels:
  """The pixels of image files as levels, and what was done to them.

  files: in the order of the result.
  levels: as for `images_of_folder`.
  source: name of the images in messages.
  size: (height, width) to which other images are resized; None: all must have one size.
  progress: wraps the list of files.
  Warns of lossy formats. Raises BadInput for images of different sizes or channels.
  """
  levels = values.whole_levels(levels)
  x, counts, num_resized, stretched = None, dict.fromkeys(images.NOTES, 0), 0, 0
  for i, file in enumerate(progress(files)):
    image = images.read_image(file)
    pixels = image.pixels
    if size is not None and pixels.shape[:2] != tuple(size):
      num_resized += 1
      stretched += pixels.shape[0] * size[1] != pixels.shape[1] * size[0]
      pixels = images.resized(pixels, size)
    if x is None:
      intake.room_for(len(files) * pixels.nbytes, source, f'{len(files)} images')
      x = np.empty((len(files), *pixels.shape), np.uint8)
    elif pixels.shape != x.shape[1:]:
      raise BadInput(f'images of different sizes: {files[0]} is {_size(x.shape[1:])}, {file} is '
                     f'{_size(pixels.shape)}; nothing is resized here, so make them equal')
    x[i] = pixels
    for note in image.notes:
      counts[note] += 1
  notes = [f'{count} {images.NOTES[note]}' for note, count in counts.items() if count]
  if num_resized:
    notes.append(f'{num_resized} resized to {size[1]}x{size[0]} by Lanczos')
  if stretched:
    warnings.warn(f'{source}: {stretched} images change their proportions by resizing to '
                  f'{size[1]}x{size[0]}', stacklevel=3)
  lossy = sum(file.suffix.lower() in images.LOSSY for file in files)
  if lossy:
    warnings.warn(f'{source}: {lossy} of {len(files)} files are compressed with loss, which shows '
                  'in every figure of fidelity', stacklevel=3)
  if num_resized:  # resizing makes values between the levels: no warning blames the file
    return Pixels(np.rint(x * ((levels - 1) / 255)).astype(np.uint8), tuple(notes), num_resized)
  return Pixels(disk.from_bytes(x, levels, str(source)), tuple(notes), 0)


def idx(path: str) -> dataset.Dataset:
  """The set of the four idx files {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] in a folder.

  min(5000, N / 10) training images become the validation split by a fixed permutation.
  """
  arrays = {}
  for split, prefix in IDX_FILES.items():
    x = intake.read_idx(_idx_path(path, f'{prefix}-images-idx3-ubyte'))
    cond = intake.read_idx(_idx_path(path, f'{prefix}-labels-idx1-ubyte'))
    if x.ndim != 3 or cond.shape != x.shape[:1]:
      raise BadInput(f'{path}: {split} images {x.shape} and labels {cond.shape} do not belong '
                     'together')
    if not x.size:
      raise BadInput(f'{path}: {split} images are {x.shape}; allowed: at least one')
    arrays[split] = {'x': x[..., None], 'cond': cond.astype(np.int32)}
  shapes = [split['x'].shape[1:] for split in arrays.values()]
  if shapes[0] != shapes[1]:
    raise BadInput(f'{path}: training images are {_size(shapes[0])}, those for testing '
                   f'{_size(shapes[1])}; allowed: one size')
  n = len(arrays['train']['x'])
  count = dataset.carved(n)
  rows = dataset.split_rows(n, {'validation': count}, seed=0)
  splits = {'train': dataset.rows_of(arrays['train'], rows['train']),
            'validation': dataset.rows_of(arrays['train'], rows['validation']),
            'test': arrays['test']}
  num_classes = 1 + max(int(split['cond'].max()) for split in splits.values())
  spec = DataSpec(shapes[0], 256, num_classes)
  recipe = f'idx files; validation = {count} of train by RandomState(0).permutation'
  return dataset.Dataset('idx', spec, splits, dataset.identity('idx', {}, recipe, splits),
                         path=str(pathlib.Path(path).absolute()))


def has_idx(path: str) -> bool:
  """Whether a folder holds idx training images."""
  return any(pathlib.Path(path, f'train-images-idx3-ubyte{end}').exists() for end in ('', '.gz'))


def existing(name: str, path: str) -> pathlib.Path:
  """The absolute path; BadInput where nothing is there."""
  if not isinstance(path, str) or not path:
    raise BadInput(f'data set {name!r} needs path=..., got {path!r}')
  where = pathlib.Path(path).expanduser().absolute()
  if '\0' in path or not where.exists():
    raise BadInput(f'data set {name!r}: path={path!r} does not exist')
  return where


def _size(shape) -> str:
  return f'{shape[1]}x{shape[0]} with {shape[2]} channel{"s" if shape[2] > 1 else ""}'


def divided(name, pools, spec, kw, recipe, is_split, change=None) -> dataset.Dataset:
  """The data set of `pools`, its missing splits taken from train.

  name, spec, recipe: of the data set.
  pools: {split of the source: {'x', 'cond'?}}.
  kw: arguments in the identity, among them the fractions 'validation' and 'test', and 'seed'.
  is_split: whether the recipe says how splits were taken.
  change: splits -> splits, (mean, std), applied before they are hashed.
  """
  for key in ('validation', 'test'):
    if type(kw[key]) not in (int, float) or not 0 < kw[key] < 1:
      raise BadInput(f'data set {name!r}: {key}={kw[key]!r} must be a fraction between 0 and 1')
  seed = kw['seed']
  if type(seed) is not int or not 0 <= seed < 2**32:
    raise BadInput(f'data set {name!r}: seed={seed!r} must be an integer from 0 to 2^32 - 1')
  try:
    assigned, words = dataset.assign({split: len(pool['x']) for split, pool in pools.items()},
                                     lambda split, n: max(1, round(kw[split] * n)), seed)
  except BadInput as error:
    raise BadInput(f'data set {name!r}: {error}') from None
  splits = {split: dataset.rows_of(pools[origin], rows)
            for split, (origin, rows) in assigned.items()}
  splits, scale = change(splits) if change else (splits, None)
  return dataset.Dataset(
      name, spec, splits, dataset.identity(name, kw, recipe + (words if is_split else ''), splits),
      standardised=scale)


def _idx_path(path: str, stem: str) -> pathlib.Path:
  for end in ('.gz', ''):
    if (file := pathlib.Path(path, stem + end)).exists():
      return file
  raise BadInput(f'{path} has neither {stem}.gz nor {stem}')
