"""Arrays of an npz: a zip whose members are npy files, each checked against what it declares."""

import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from genjax.data.intake.limits import regular_file, room_for, size_in_words
from genjax.types import BadInput

MAGIC = b'\x93NUMPY'
MOST_MEMBERS = 10_000
ENCRYPTED = 0x1  # of a member's flags
# No real data compress further than RATIO: 64 MB of zeros take 64 kB. Deflate reaches 1032.
RATIO, RATIO_FROM = 200, 64 << 20
AT_ONCE = 1 << 24  # bytes
# what zipfile, its four methods and numpy's header parser raise on damaged and malicious files;
# found by mutation (tests/fuzz.py)
FAILURES = (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
            lzma.LZMAError, struct.error, NotImplementedError, RuntimeError, SyntaxError,
            tokenize.TokenError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
            MemoryError, RecursionError)


class Header(NamedTuple):
  """What the head of an npy file declares."""

  shape: tuple[int, ...]
  fortran: bool  # column-major
  dtype: np.dtype
  length: int  # of the head, in bytes

  @property
  def nbytes(self) -> int:
    """Bytes of the values, as a Python integer: a product of sizes may be beyond 64 bits."""
    return math.prod(self.shape) * self.dtype.itemsize


class Npz(NamedTuple):
  """The arrays that were asked for, and the names of all members, without '.npy'."""

  arrays: dict[str, np.ndarray]
  keys: tuple[str, ...]


def read_npz(path: str | os.PathLike, wanted: Iterable[str] | None = None) -> Npz:
  """Those arrays of an npz that `wanted` names; default: all. Names that it lacks are skipped.

  Nothing is unpickled. Raises BadInput for another kind of file; for members that are encrypted,
  duplicate, damaged or not arrays of numbers or text; and for arrays that do not fit into memory.
  """
  regular_file(path)
  try:
    with open(path, 'rb') as file:
      if file.read(len(MAGIC)) == MAGIC:
        raise BadInput(f'{path} holds one array, an .npy file under another name; allowed: an '
                       'npz, as np.savez(FILE, x=np.load(FILE)) writes it')
      with zipfile.ZipFile(file) as archive:
        members = _members(path, archive)
        names = members if wanted is None else [name for name in wanted if name in members]
        arrays = {name: _array(path, archive, members[name]) for name in names}
  except BadInput:
    raise
  except FAILURES as error:
    raise BadInput(f'cannot read {str(path)!r} as npz: {_reason(error)}') from None
  return Npz(arrays, tuple(members))


def npy_header(file, path: str | os.PathLike) -> Header:
  """The header of an npy file that is open at its start; BadInput if it has none."""
  try:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
      raise ValueError(f'npy version {version}; allowed: 1.0 and 2.0, those of arrays of numbers')
    shape, fortran, dtype = read(file)
    if any(type(size) is not int or size < 0 for size in shape):
      raise ValueError(f'the head declares the shape {shape}')
    return Header(shape, bool(fortran), dtype, file.tell())
  except FAILURES as error:
    raise BadInput(f'cannot read {str(path)!r}: it is no npy file of numbers '
                   f'({_reason(error)})') from None


def _members(path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
  """{name without .npy: member}; BadInput for two of one name."""
  infos = archive.infolist()
  if len(infos) > MOST_MEMBERS:
    raise BadInput(f'{path} has {len(infos)} members; allowed: at most {MOST_MEMBERS}')
  members = {}
  for info in infos:
    name = info.filename.removesuffix('.npy')
    if name in members:
      raise BadInput(f'{path} has two members of the name {name!r}; allowed: one')
    members[name] = info
  return members


def _array(path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
  """The array of one member; its size is checked against the file's and memory beforehand."""
  where = f'{path}, member {info.filename}'
  if info.flag_bits & ENCRYPTED:
    raise BadInput(f'cannot read {where}: it is encrypted; allowed: an npz without a password')
  if not info.filename.endswith('.npy'):
    raise BadInput(f'cannot read {where}: it is no array; allowed: members *.npy, as np.savez '
                   'writes them')
  if info.file_size > max(RATIO_FROM, RATIO * info.compress_size):
    raise BadInput(f'cannot read {where}: {size_in_words(info.compress_size)} would unpack to '
                   f'{size_in_words(info.file_size)}; allowed: at most {RATIO} times as much '
                   '(np.savez writes without compression)')
  with archive.open(info) as member:
    header = npy_header(member, where)
    if header.dtype.hasobject or header.dtype.kind not in 'biufcUS':
      raise BadInput(f'cannot read {where}: it holds {header.dtype}; allowed: numbers or text')
    if header.nbytes != info.file_size - header.length:
      raise BadInput(f'cannot read {where}: its head declares {header.dtype} {header.shape}, '
                     f'{size_in_words(header.nbytes)}, and it has '
                     f'{size_in_words(info.file_size - header.length)}')
    room_for(header.nbytes, where)
    values = np.empty(header.nbytes, np.uint8)
    start = 0
    while start < header.nbytes:
      part = member.read(min(AT_ONCE, header.nbytes - start))
      if not part:
        raise BadInput(f'cannot read {where}: it ends after {start} of {header.nbytes} bytes')
      values[start:start + len(part)] = np.frombuffer(part, np.uint8)
      start += len(part)
    if member.read(1):  # reads to the end, where the checksum is compared
      raise BadInput(f'cannot read {where}: it is longer than it declares')
  array = values.view(header.dtype) if header.nbytes else np.empty(0, header.dtype)
  return array.reshape(header.shape, order='F' if header.fortran else 'C')


def _reason(error: Exception) -> str:
  return ' '.join(str(error).split())[:300] or type(error).__name__
