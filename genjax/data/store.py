"""The cache of prepared data sets: one folder each, .npy arrays mapped to memory, identity.json.

A folder appears whole, by a rename, or not at all.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile

import numpy as np

from genjax import disk
from genjax.data import dataset
from genjax.types import BadInput, DataSpec

INDEX = 'identity.json'
HASH_AT_MOST = 1 << 30  # bytes of one set that are hashed again at load if a file was touched


def cache_dir(data_dir=None) -> pathlib.Path:
  """`data_dir`, else the environment's GENJAX_DATA, else `data` in the cache."""
  path = data_dir or os.environ.get('GENJAX_DATA')
  return pathlib.Path(path).expanduser() if path else disk.cache('data')


def directory(name: str, data_dir=None) -> pathlib.Path:
  """Where the set `name` lies; 'imagenet_resized/64x64' is one folder, not two."""
  if not isinstance(name, str) or not re.fullmatch(r'[A-Za-z0-9][\w.+:/-]*', name):
    raise BadInput(f'data set name {name!r}: use letters, digits and _ . + - : /')
  return cache_dir(data_dir) / re.sub(r'[:/]', '-', name)


def stem(name: str) -> str:
  """The name without configuration and version: 'imagenet_resized/64x64:1.0.0' -> the first."""
  return re.split('[/:]', name)[0]


def prepared(data_dir=None) -> tuple[str, ...]:
  """The names of the sets in the cache."""
  return tuple(sorted(path.parent.name for path in cache_dir(data_dir).glob(f'[!.]*/{INDEX}')))


def exists(name: str, data_dir=None) -> bool:
  """Whether the set `name` was prepared."""
  return (directory(name, data_dir) / INDEX).exists()


def command(name: str, source: str = '') -> str:
  """The command that prepares a set."""
  return f'python -m experiments.prepare --data={name}' + (f' --from={source}' if source else '')


def load(name: str, data_dir=None) -> dataset.Dataset:
  """The prepared set `name`, its arrays mapped to memory.

  Sizes are always checked; contents too if a file was touched since it was prepared (up to 1 GB).
  Raises BadInput if the set is damaged or not there; never touches a network.
  """
  where = directory(name, data_dir)
  try:
    index = json.loads((where / INDEX).read_text())
    spec = DataSpec(tuple(index['spec']['shape']), index['spec']['levels'],
                    index['spec']['num_classes'])
    identity, recorded = index['identity'], index['files']
    touched = [path for path, stat in recorded.items() if _touched(where / path, *stat)]
    splits = {}
    for path in sorted(recorded, key=lambda path: dataset.SPLITS.index(path.split('-')[0])):
      split, key = path.removesuffix('.npy').split('-')
      splits.setdefault(split, {})[key] = np.load(where / path, mmap_mode='r', allow_pickle=False)
    total = sum(size for size, _ in recorded.values())
    for split in {path.split('-')[0] for path in touched} if total <= HASH_AT_MOST else ():
      if disk.digest(splits[split]) != identity['sha256'][split]:
        raise ValueError(f'the {split} split is not what was prepared')
  except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
    raise BadInput(f'data set {name!r} in {where} is damaged: {error}. Prepare it again: '
                   f'{command(name)}') from error
  return dataset.Dataset(name, spec, splits, identity)


def _touched(path: pathlib.Path, size: int, time: int) -> bool:
  stat = path.stat()
  if stat.st_size != size:
    raise ValueError(f'{path.name} has {stat.st_size} bytes, not {size}')
  return stat.st_mtime_ns != time


@contextlib.contextmanager
def workplace(data_dir=None):
  """A temporary folder inside the cache: what is finished in its `whole` is renamed in place."""
  root = cache_dir(data_dir)
  root.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix='.preparing-', dir=root) as work:
    (pathlib.Path(work) / 'whole').mkdir()
    yield pathlib.Path(work)


def create(work: pathlib.Path, split: str, n: int, shape: tuple, dtype, labelled: bool) -> dict:
  """Empty files of one split, mapped for writing: {'x': [n, *shape], 'cond'?: int32 [n]}."""
  def array(key, shape, dtype):
    path = work / 'whole' / f'{split}-{key}.npy'
    return np.lib.format.open_memmap(path, 'w+', dtype, shape)

  x = {'x': array('x', (n, *shape), dtype)}
  return {**x, 'cond': array('cond', (n,), np.int32)} if labelled else x


def publish(work: pathlib.Path, name: str, spec: DataSpec, splits: dict, recipe: str,
            data_dir=None) -> dataset.Dataset:
  """Indexes the filled arrays `splits` of `work`, renames them into place, loads them."""
  for arrays in splits.values():
    for array in arrays.values():
      array.flush()
  whole, target = work / 'whole', directory(name, data_dir)
  stats = {path.name: path.stat() for path in sorted(whole.iterdir())}
  index = {'identity': dataset.identity(name, {}, recipe, splits), 'spec': spec._asdict(),
           'files': {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}}
  (whole / INDEX).write_text(json.dumps(index, indent=1))
  if target.exists():  # only a damaged set is prepared again
    shutil.rmtree(target)
  whole.rename(target)
  return load(name, data_dir)


def publish_arrays(name: str, made: dataset.Dataset, data_dir=None) -> dataset.Dataset:
  """Keeps a set that lies in memory under `name`."""
  with workplace(data_dir) as work:
    splits = {}
    for split, arrays in made.splits.items():
      x = arrays['x']
      splits[split] = create(work, split, len(x), x.shape[1:], x.dtype, 'cond' in arrays)
      for key, array in arrays.items():
        splits[split][key][:] = array
    return publish(work, name, made.spec, splits, made.identity['recipe'], data_dir)
