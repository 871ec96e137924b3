"""Arrays of idx files, the format of MNIST: bytes 0 0 8 ndim, big-endian sizes, then bytes."""

import gzip
import math
import pathlib
import zlib

import numpy as np

from genjax.data.intake.limits import regular_file, room_for, size_in_words
from genjax.types import BadInput

OF_BYTES = b'\0\0\x08'
MOST_DIMENSIONS = 4
DEFLATE = 1032  # the largest ratio of unpacked to packed size


def read_idx(path: pathlib.Path) -> np.ndarray:
  """The uint8 array of an idx file, which is unpacked if its suffix is .gz.

  Raises BadInput unless it is a complete idx file of bytes that fits into memory.
  """
  size = regular_file(path)
  try:
    with (gzip.open if path.suffix == '.gz' else open)(path, 'rb') as file:
      shape = _shape(path, file)
      declared = math.prod(shape)
      most = size * DEFLATE if path.suffix == '.gz' else size
      if declared > most:
        raise BadInput(f'{path} is no complete idx file of bytes: it declares {shape}, '
                       f'{size_in_words(declared)}, and has {size_in_words(size)}')
      room_for(declared, path)
      values = np.empty(declared, np.uint8)
      count = 0
      while count < declared and (part := file.read(min(1 << 24, declared - count))):
        values[count:count + len(part)] = np.frombuffer(part, np.uint8)
        count += len(part)
      if count < declared or file.read(1):
        raise BadInput(f'{path} is no complete idx file of bytes: it declares {shape} and has '
                       f'{"more" if count == declared else f"{count} of {declared} bytes"}')
  except (OSError, EOFError, zlib.error) as error:
    raise BadInput(f'cannot read {path}: {error}') from None
  return values.reshape(shape)


def _shape(path: pathlib.Path, file) -> tuple[int, ...]:
  head = file.read(4)
  ndim = head[3] if len(head) == 4 and head[:3] == OF_BYTES else 0
  if not 1 <= ndim <= MOST_DIMENSIONS:
    raise BadInput(f'{path} is no complete idx file of bytes: it begins with {head!r}; allowed: '
                   f'{OF_BYTES!r} and 1 to {MOST_DIMENSIONS} dimensions')
  sizes = file.read(4 * ndim)
  if len(sizes) < 4 * ndim:
    raise BadInput(f'{path} is no complete idx file of bytes: it ends in its head')
  return tuple(int(n) for n in np.frombuffer(sizes, '>u4'))
