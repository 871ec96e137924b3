"""A user's own files: a folder of images, an npz, or the four idx files of an MNIST-like set."""

import gzip
import pathlib
import warnings
import zipfile
import zlib

import numpy as np

from genjax import disk
from genjax.data import dataset
from genjax.types import BadInput, DataSpec

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
LOSSY = ('.jpg', '.jpeg', '.webp')
# how each mode of Pillow is read; the palette of P and the bits of 1 are encodings, not content
MODES = {'L': 'L', '1': 'L', 'RGB': 'RGB', 'P': 'RGB'}
IDX_FILES = {'train': 'train', 'test': 't10k'}


def folder(*, path: str = '', levels: int = 256, validation: float = 0.1, test: float = 0.1,
           seed: int = 0) -> dataset.Dataset:
  """The images of `read_folder`, split by a permutation from `seed`."""
  recipe = 'images of a folder sorted by path, decoded by Pillow, not resized'
  return _split('folder', read_folder(path, levels), levels, validation, test, seed, recipe)


def read_folder(path: str, levels: int) -> dict:
  """All images under `path`: {'x': uint8 [N, H, W, C], 'cond'?: int32 [N]}; nothing is resized.

  In the order of their relative paths. If every image lies in one of at least two subfolders, these
  are the classes, in sorted order. levels < 256: grey values are taken back from 0..255. Warns of
  JPEGs. Raises BadInput for an empty folder, an unreadable image, mixed sizes or modes.
  """
  root = pathlib.Path(_existing('folder', path))
  if not root.is_dir():
    raise BadInput(f"data set 'folder': path={path!r} is no folder")
  found = sorted(p for p in root.rglob('*') if p.suffix.lower() in SUFFIXES
                 and not any(part.startswith('.') for part in p.relative_to(root).parts))
  if not found:
    raise BadInput(f"data set 'folder': no images in {path!r}; looked for {' '.join(SUFFIXES)}")
  lossy = sum(file.suffix.lower() in LOSSY for file in found)
  if lossy:
    warnings.warn(f'{root}: {lossy} of {len(found)} files are compressed with loss, which shows in '
                  'every figure of fidelity', stacklevel=2)
  images = None
  for i, file in enumerate(found):
    image = read_image(file)
    if images is None:
      images = np.empty((len(found), *image.shape), np.uint8)
    elif image.shape != images.shape[1:]:
      raise BadInput(f'images of different sizes: {found[0]} is {_size(images.shape[1:])}, {file} '
                     f'is {_size(image.shape)}; nothing is resized here, so make them equal')
    images[i] = image
  arrays = {'x': disk.from_bytes(images, _levels(levels), str(root))}
  classes = [p.relative_to(root).parts[0] for p in found if p.parent != root]
  if len(classes) == len(found) and len(set(classes)) > 1:
    arrays['cond'] = np.unique(classes, return_inverse=True)[1].astype(np.int32)
  return arrays


def npz(*, path: str = '', levels: int = 256, validation: float = 0.1, test: float = 0.1,
        seed: int = 0) -> dataset.Dataset:
  """The arrays of `read_npz`, split by a permutation from `seed`."""
  arrays, levels = read_npz(path, levels)
  return _split('npz', arrays, levels, validation, test, seed, 'arrays of an npz')


def read_npz(path: str, levels: int) -> tuple[dict, int | None]:
  """{'x', 'cond'?} of an npz, and the levels of x (None: it is continuous).

  x: uint8 images [N, H, W, C] (0..255) or float [N, ...]; cond: integers [N]. Raises BadInput for a
  damaged file, a missing key, another dtype or shape, values not finite.
  """
  try:
    with np.load(_existing('npz', path), allow_pickle=False) as file:
      arrays = {key: file[key] for key in ('x', 'cond') if key in file.files}
      keys = file.files
  except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
    raise BadInput(f'cannot read {path!r} as npz: {error}') from error
  if 'x' not in arrays:
    raise BadInput(f'{path!r} has no key x; it has: {", ".join(keys) or "none"}')
  arrays['x'], levels = _checked_x(arrays['x'], levels, path)
  if 'cond' in arrays:
    arrays['cond'] = _checked_cond(arrays['cond'], len(arrays['x']), path)
  return arrays, levels


def idx(path: str) -> dataset.Dataset:
  """The set in the four idx files {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] of a folder.

  min(5000, N / 10) training images become the validation split by a fixed permutation.
  """
  arrays = {}
  for split, prefix in IDX_FILES.items():
    x = _idx_array(_idx_path(path, f'{prefix}-images-idx3-ubyte'))
    cond = _idx_array(_idx_path(path, f'{prefix}-labels-idx1-ubyte'))
    if x.ndim != 3 or cond.shape != x.shape[:1]:
      raise BadInput(f'{path}: {split} images {x.shape} and labels {cond.shape} do not belong '
                     'together')
    arrays[split] = {'x': x[..., None], 'cond': cond.astype(np.int32)}
  n = len(arrays['train']['x'])
  count = dataset.carved(n)
  rows = dataset.split_rows(n, {'validation': count}, seed=0)
  splits = {'train': dataset.rows_of(arrays['train'], rows['train']),
            'validation': dataset.rows_of(arrays['train'], rows['validation']),
            'test': arrays['test']}
  num_classes = 1 + max(int(split['cond'].max()) for split in splits.values())
  spec = DataSpec(arrays['train']['x'].shape[1:], 256, num_classes)
  recipe = f'idx files; validation = {count} of train by RandomState(0).permutation'
  return dataset.Dataset('idx', spec, splits, dataset.identity('idx', {}, recipe, splits))


def has_idx(path: str) -> bool:
  """Whether a folder holds idx training images."""
  return any(pathlib.Path(path, f'train-images-idx3-ubyte{end}').exists() for end in ('', '.gz'))


def _existing(name: str, path: str) -> str:
  if not isinstance(path, str) or not path:
    raise BadInput(f'data set {name!r} needs path=..., got {path!r}')
  if not pathlib.Path(path).exists():
    raise BadInput(f'data set {name!r}: path={path!r} does not exist')
  return path


def _levels(levels: int) -> int:
  if type(levels) is not int or not 2 <= levels <= 256:
    raise BadInput(f'levels={levels!r}: must be an integer from 2 to 256')
  return levels


def _size(shape) -> str:
  return f'{shape[1]}x{shape[0]} with {shape[2]} channel{"s" if shape[2] > 1 else ""}'


def read_image(path: pathlib.Path) -> np.ndarray:
  """uint8 [H, W, 1 or 3] of an image file; BadInput where it cannot be read or has another mode."""
  from PIL import Image
  try:
    with Image.open(path) as image:
      if image.mode not in MODES:
        raise BadInput(f'{path} has mode {image.mode}; allowed: {", ".join(MODES)} (flatten '
                       'transparency and reduce to 8 bits before)')
      array = np.asarray(image.convert(MODES[image.mode]))
  except BadInput:
    raise
  except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
    raise BadInput(f'cannot read the image {path}: {error}') from error
  return array[..., None] if array.ndim == 2 else array


def _checked_x(x: np.ndarray, levels: int, path: str):
  """x as uint8 levels or float32, and its number of levels."""
  if x.dtype == np.uint8 and x.ndim == 4:
    return disk.from_bytes(x, _levels(levels), path), levels
  if not np.issubdtype(x.dtype, np.floating) or x.ndim < 2:
    raise BadInput(f'{path!r}: x is {x.dtype} {x.shape}; allowed: uint8 [N, H, W, C] (0..255), '
                   'or float [N, ...]')
  x = x.astype(np.float32)
  if not np.isfinite(x).all():
    raise BadInput(f'{path!r}: {int((~np.isfinite(x)).sum())} values of x are not finite')
  return x, None


def _checked_cond(cond: np.ndarray, n: int, path: str) -> np.ndarray:
  if not np.issubdtype(cond.dtype, np.integer) or cond.shape != (n,) or cond.min() < 0:
    raise BadInput(f'{path!r}: cond is {cond.dtype} {cond.shape}; it must hold {n} integers >= 0')
  return cond.astype(np.int32)


def _split(name, arrays, levels, validation, test, seed, recipe) -> dataset.Dataset:
  n = len(arrays['x'])
  for key, value in (('validation', validation), ('test', test)):
    if type(value) not in (int, float) or not 0 < value < 1:
      raise BadInput(f'data set {name!r}: {key}={value!r} must be a fraction between 0 and 1')
  if type(seed) is not int or seed < 0:
    raise BadInput(f'data set {name!r}: seed={seed!r} must be an integer >= 0')
  sizes = {'validation': max(1, round(validation * n)), 'test': max(1, round(test * n))}
  if sum(sizes.values()) >= n:
    raise BadInput(f'data set {name!r}: {n} examples leave none for training beside '
                   f'{sizes["validation"]} for validation and {sizes["test"]} for test')
  rows = dataset.split_rows(n, sizes, seed)
  splits = {split: dataset.rows_of(arrays, rows[split]) for split in dataset.SPLITS}
  num_classes = int(arrays['cond'].max()) + 1 if 'cond' in arrays else None
  kw = {'levels': levels, 'validation': validation, 'test': test, 'seed': seed}
  return dataset.Dataset(name, DataSpec(arrays['x'].shape[1:], levels, num_classes), splits,
                         dataset.identity(name, kw, recipe, splits))


def _idx_path(path: str, stem: str) -> pathlib.Path:
  for end in ('.gz', ''):
    if (file := pathlib.Path(path, stem + end)).exists():
      return file
  raise BadInput(f'{path} has neither {stem}.gz nor {stem}')


def _idx_array(path: pathlib.Path) -> np.ndarray:
  """uint8 array of an idx file: bytes 0 0 8 ndim, ndim big-endian int32 sizes, then the values."""
  try:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == '.gz' else data
  except (OSError, EOFError, zlib.error) as error:
    raise BadInput(f'cannot read {path}: {error}') from error
  ndim = data[3] if data[:3] == b'\0\0\x08' else 0
  start = 4 + 4 * ndim
  shape = tuple(np.frombuffer(data, '>i4', ndim, 4)) if ndim and len(data) >= start else ()
  if not shape or len(data) != start + int(np.prod(shape)):
    raise BadInput(f'{path} is no complete idx file of bytes ({len(data)} bytes)')
  return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
