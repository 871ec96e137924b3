"""Files: atomic writes, digests, images as bytes, and the cache of computed results.

The cache is $GENJAX_CACHE, else ~/.cache/genjax; it only saves time. If it cannot be written,
nothing is kept, silently. Every file from which a figure can come carries a sha256 that is verified
when the file is read: a damaged cache entry is computed again, any other damaged file is named.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genjax.disk.atomic import check_writable as check_writable
from genjax.disk.atomic import write_bytes as write_bytes
from genjax.disk.atomic import write_file as write_file
from genjax.disk.atomic import write_together as write_together
from genjax.types import BadInput

LIMIT = 8 << 30  # bytes of each folder of the cache; the least recently read files go first
_SEAL = b'\nsha256='  # before the digest that ends a sealed file


def to_json(content: Any) -> str:
  """Indented JSON (NaN as NaN, numpy numbers as numbers) and a newline."""
  return json.dumps(content, indent=1, default=lambda value: np.asarray(value).tolist()) + '\n'


def write_json(path: str | os.PathLike, content: Any) -> None:
  """Writes `to_json` of the content, atomically."""
  write_bytes(path, to_json(content).encode())


def to_bytes(k, levels: int) -> np.ndarray:
  """Levels 0..L-1 as image files and npz hold them: uint8 round(255 k / (L - 1)).

  Raises BadInput for other values.
  """
  k = np.asarray(k)
  if k.size and (k.dtype.kind not in 'iu' or k.min() < 0 or k.max() >= levels):
    raise BadInput(f'{k.dtype} in {k.min()}..{k.max()}; allowed: integers 0..{levels - 1}')
  return np.rint(k * (255 / (levels - 1))).astype(np.uint8)


def from_bytes(value, levels: int, source: str = 'the input') -> np.ndarray:
  """The inverse of `to_bytes`: uint8 0..255 -> uint8 0..levels-1.

  Values that `to_bytes` cannot give are rounded, with a warning that counts them.
  """
  value = np.asarray(value)
  if levels == 256:
    return value
  nearest = np.rint(np.arange(256) * (levels - 1) / 255.0).astype(np.uint8)
  k = nearest[value]
  off = int((to_bytes(k, levels) != value).sum())
  if off:
    warnings.warn(f'{source}: {off} of {value.size} values are not among the {levels} grey levels '
                  'stretched to 0..255; they were rounded to the nearest.', stacklevel=2)
  return k


def digest(arrays: Mapping[str, Any]) -> str:
  """sha256 over name, dtype, shape and bytes of every array, in the order of their names."""
  sha = hashlib.sha256()
  for key in sorted(arrays):
    array = arrays[key]
    sha.update(f'{key} {array.dtype.str} {array.shape}\n'.encode())
    array = array if array.shape else array[None]
    rows = max(1, (1 << 24) // max(1, array[:1].nbytes))  # 16 MB at a time: a memory map may be big
    for first in range(0, len(array), rows):
      sha.update(np.ascontiguousarray(array[first:first + rows]))
  return sha.hexdigest()


def cache(folder: str = '') -> pathlib.Path:
  """A folder of the cache, which may not exist; creates the cache itself, for this user only."""
  root = pathlib.Path(os.environ.get('GENJAX_CACHE') or '~/.cache/genjax').expanduser()
  with contextlib.suppress(OSError):
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
  return root / folder


def others_write(folder: pathlib.Path) -> bool:
  """Whether a user other than this one and root may write into an existing folder."""
  status = folder.stat()
  return bool(status.st_mode & 0o022) or status.st_uid not in (0, os.getuid())


def kept_array(folder: str, key: Mapping, make: Callable[[], np.ndarray]) -> np.ndarray:
  """make(), or its earlier result for the same key (plain data)."""
  return _kept(cache(folder) / f'{_name(key)}.npy', make, _array_to_bytes,
               lambda content: np.load(io.BytesIO(content), allow_pickle=False))


def kept_json(folder: str, key: Mapping, make: Callable[[], Any]) -> Any:
  """make(), or its earlier result for the same key; key and result are plain data."""
  return _kept(cache(folder) / f'{_name(key)}.json', lambda: json.loads(to_json(make())),
               lambda content: to_json(content).encode(), json.loads)


@functools.cache
def source_digest(*parts: str) -> str:
  """sha256 of the source of this package, for keys of results that depend on the code.

  parts: folders and files of the package, such as 'encoders' or 'nn/dense.py'; none: all of it.
  """
  root, sha = pathlib.Path(__file__).parent.parent, hashlib.sha256()
  for top in map(root.joinpath, parts or ('',)):
    for path in sorted(top.rglob('*.py')) or [top]:
      content = path.read_bytes()
      sha.update(f'{path.relative_to(root).as_posix()} {len(content)}\n'.encode() + content)
  return sha.hexdigest()


def seal(content: bytes) -> bytes:
  """The content followed by its sha256, which readers of .npy and .npz ignore."""
  return content + _SEAL + hashlib.sha256(content).hexdigest().encode()


def unseal(content: bytes) -> bytes | None:
  """The content that was passed to `seal`; None if it is damaged or was never sealed."""
  body = content[:-len(_SEAL) - 64]
  return body if seal(body) == content else None


def is_sealed(content: bytes) -> bool:
  """True if the content ends as `seal` ends it, damaged or not."""
  return content[-len(_SEAL) - 64:-64] == _SEAL


def json_digest(content: Any) -> str:
  """sha256 of JSON content, independent of its spacing and the order of its keys."""
  plain = json.loads(to_json(content))
  text = json.dumps(plain, sort_keys=True, separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()


def write_record(path: str | os.PathLike, content: Mapping) -> None:
  """Writes a JSON object like `write_json`, with its `json_digest` under 'sha256'."""
  write_json(path, {**content, 'sha256': json_digest(content)})


def read_record(path: str | os.PathLike,
                allowed: str = 'remove it, and measure again') -> dict | None:
  """The object that `write_record` wrote, without the digest; None if there is no file.

  Raises BadInput for a damaged or edited file, naming it and what is `allowed`.
  """
  try:
    content = json.loads(pathlib.Path(path).read_bytes())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except ValueError as error:  # not JSON, or not UTF-8
    raise BadInput(f'{path} is damaged: {error}; allowed: {allowed}') from None
  if not isinstance(content, dict):
    raise BadInput(f'{path} is damaged: it holds no object; allowed: {allowed}')
  if content.pop('sha256', None) != json_digest(content):
    raise BadInput(f'{path} is damaged or was edited: its sha256 is not the recorded one; allowed: '
                   f'{allowed}')
  return content


def _name(key: Mapping) -> str:
  return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _kept(path: pathlib.Path, make, encode, decode):
  with contextlib.suppress(OSError):
    content = unseal(path.read_bytes())
    if content is not None:
      os.utime(path)
      return decode(content)
  value = make()
  with contextlib.suppress(OSError):  # a full disk costs only time
    write_bytes(path, seal(encode(value)), sync=False)
    _forget(path.parent)
  return value


def _array_to_bytes(array: np.ndarray) -> bytes:
  content = io.BytesIO()
  np.save(content, array, allow_pickle=False)
  return content.getvalue()


def _forget(folder: pathlib.Path) -> None:
  """Removes the least recently read files, down to LIMIT bytes."""
  files = []
  for entry in os.scandir(folder):
    with contextlib.suppress(FileNotFoundError):  # another process may have removed it
      status = entry.stat()
      files.append((status.st_mtime, status.st_size, entry.path))
  total = sum(size for _, size, _ in files)
  for _, size, path in sorted(files):
    if total <= LIMIT:
      break
    pathlib.Path(path).unlink(missing_ok=True)
    total -= size
