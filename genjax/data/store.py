"""The cache of prepared data sets: one folder each, .npy arrays mapped to memory, identity.json.

A folder appears whole, by a rename, or not at all.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import sys
import tempfile

import numpy as np

from genjax import disk
from genjax.data import dataset, intake
from genjax.types import BadInput, DataSpec

INDEX = 'identity.json'
VERIFIED = 1 << 34  # bytes up to which a set is hashed at every load, at 1.5 GB a second


def cache_dir(data_dir=None) -> pathlib.Path:
  """The folder of all sets: `data_dir`, else $GENJAX_DATA, else `data` in the cache."""
  path = data_dir or os.environ.get('GENJAX_DATA')
  return pathlib.Path(path).expanduser() if path else disk.cache('data')


def directory(name: str, data_dir=None) -> pathlib.Path:
  """The folder of the set `name`; 'imagenet_resized/64x64' is one folder, not two."""
  if not isinstance(name, str) or not re.fullmatch(r'[A-Za-z0-9][\w.+:/-]*', name):
    raise BadInput(f'data set name {name!r}: use letters, digits and _ . + - : /')
  return cache_dir(data_dir) / re.sub(r'[:/]', '-', name)


def stem(name: str) -> str:
  """The name without configuration and version: 'emnist/letters:3.1.0' -> 'emnist'."""
  return re.split('[/:]', name)[0]


def prepared(data_dir=None) -> tuple[str, ...]:
  """The names of the sets in the cache."""
  return tuple(sorted(path.parent.name for path in cache_dir(data_dir).glob(f'[!.]*/{INDEX}')))


def exists(name: str, data_dir=None) -> bool:
  """Whether the set `name` was prepared."""
  return (directory(name, data_dir) / INDEX).exists()


def command(name: str, source: str = '') -> str:
  """The command that prepares a set."""
  return f'python -m genjax prepare --data={name}' + (f' --from={source}' if source else '')


def load(name: str, data_dir=None, verify_at_most: int = VERIFIED) -> dataset.Dataset:
  """The prepared set `name`, its arrays mapped to memory.

  The index has its own digest. Sizes, shapes and dtypes are compared with the index; contents are
  compared with their hash in sets of up to verify_at_most bytes. Raises BadInput if the set is
  damaged or missing; never touches a network.
  """
  where = directory(name, data_dir)
  try:
    index = unsealed(json.loads((where / INDEX).read_text()))
    spec = DataSpec(tuple(index['spec']['shape']), index['spec']['levels'],
                    index['spec']['num_classes'])
    splits = {}
    for path in sorted(index['files'], key=lambda path: dataset.SPLITS.index(path.split('-')[0])):
      split, key = path.removesuffix('.npy').split('-')
      splits.setdefault(split, {})[key] = _mapped(where / path, index['files'][path])
    identity, classes = index['identity'], index['classes']
    total = sum(array.nbytes for arrays in splits.values() for array in arrays.values())
    for split, arrays in splits.items() if total <= verify_at_most else ():
      if disk.digest(arrays) != identity['sha256'][split]:
        raise ValueError(f'the {split} split is not what was prepared')
  except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    raise BadInput(f'data set {name!r} in {where} is damaged: {error}. Prepare it again: '
                   f'{command(name)}') from error
  return dataset.Dataset(name, spec, splits, identity, classes=classes and tuple(classes))


def seal(index: dict) -> dict:
  """The index with its own digest under 'sha256'."""
  return {**index, 'sha256': _sha256(index)}


def unsealed(index: dict) -> dict:
  """The index without its digest. Raises ValueError if the digest is another or missing."""
  content = {key: value for key, value in index.items() if key != 'sha256'}
  if index.get('sha256') != _sha256(content):
    raise ValueError('its index does not match its digest, or has none (an earlier version)')
  return content


def _sha256(index: dict) -> str:
  return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _mapped(path: pathlib.Path, recorded: dict) -> np.ndarray:
  """The array of a file, mapped to memory; ValueError if it is not as `recorded` in the index."""
  size = path.stat().st_size
  if size != recorded['bytes']:
    raise ValueError(f'{path.name} has {size} bytes, not {recorded["bytes"]}')
  with open(path, 'rb') as file:
    header = intake.npy_header(file, path)
  dtype, shape = recorded['dtype'], recorded['shape']
  if (header.dtype.str, list(header.shape), header.fortran) != (dtype, shape, False):
    raise ValueError(f'{path.name} holds {header.dtype} {header.shape}, not {dtype} {shape}')
  return np.load(path, mmap_mode='r', allow_pickle=False)


@contextlib.contextmanager
def workplace(data_dir=None):
  """Yields a temporary folder inside the cache; `publish` renames its subfolder `whole`."""
  root = cache_dir(data_dir)
  root.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix='.preparing-', dir=root) as work:
    (pathlib.Path(work) / 'whole').mkdir()
    yield pathlib.Path(work)


def create(work: pathlib.Path, split: str, n: int, shape: tuple, dtype, labelled: bool) -> dict:
  """Empty arrays of one split, mapped for writing: {'x': [n, *shape], 'cond'?: int32 [n]}.

  work: the folder of `workplace`.
  split: its name.
  n, shape, dtype: the number of examples, and the shape and dtype of one.
  labelled: whether there is a 'cond'.
  Raises OSError if the disk is full, where a write to a mapped hole would end the process.
  """
  def array(key, shape, dtype):
    path = work / 'whole' / f'{split}-{key}.npy'
    dtype = np.dtype(dtype)
    try:
      with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, {
            'descr': dtype.str, 'fortran_order': False, 'shape': shape})
        _allocate(file, math.prod(shape) * dtype.itemsize)
    except OSError as error:
      raise OSError(error.errno, f'cannot write ({error.strerror})', str(path)) from None
    return np.load(path, mmap_mode='r+', allow_pickle=False)

  x = {'x': array('x', (n, *shape), dtype)}
  return {**x, 'cond': array('cond', (n,), np.int32)} if labelled else x


def _allocate(file, nbytes: int) -> None:
  """Allocates nbytes after the position of a file; OSError if the disk is full."""
  file.flush()
  if sys.platform == 'linux':
    os.posix_fallocate(file.fileno(), 0, file.tell() + nbytes)
    return
  for start in range(0, nbytes, 1 << 24):
    file.write(bytes(min(1 << 24, nbytes - start)))


def publish(work: pathlib.Path, name: str, spec: DataSpec, splits: dict, recipe: str,
            data_dir=None, classes: tuple[str, ...] | None = None) -> dataset.Dataset:
  """The set `name`, loaded after its filled files were indexed and renamed into place.

  work: the folder of `workplace`.
  spec, recipe, classes: of the data set.
  splits: {split: arrays of `create`}.
  data_dir: as for `cache_dir`.
  """
  recorded = {}
  for split, arrays in splits.items():
    for key, array in arrays.items():
      array.flush()
      file = f'{split}-{key}.npy'
      recorded[file] = {'bytes': (work / 'whole' / file).stat().st_size, 'dtype': array.dtype.str,
                        'shape': array.shape}
  whole, target = work / 'whole', directory(name, data_dir)
  index = {'identity': dataset.identity(name, {}, recipe, splits), 'spec': spec._asdict(),
           'classes': classes, 'files': recorded}
  (whole / INDEX).write_text(json.dumps(seal(index), indent=1))
  if target.exists():  # only a damaged set is prepared again
    shutil.rmtree(target)
  whole.rename(target)
  return load(name, data_dir)


def publish_arrays(name: str, in_memory: dataset.Dataset, data_dir=None) -> dataset.Dataset:
  """The data set `in_memory`, loaded from the cache after it was stored there under `name`."""
  with workplace(data_dir) as work:
    splits = {}
    for split, arrays in in_memory.splits.items():
      x = arrays['x']
      splits[split] = create(work, split, len(x), x.shape[1:], x.dtype, 'cond' in arrays)
      for key, array in arrays.items():
        splits[split][key][:] = array
    return publish(work, name, in_memory.spec, splits, in_memory.identity['recipe'], data_dir,
                   in_memory.classes)
