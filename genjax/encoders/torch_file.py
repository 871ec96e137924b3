"""State dicts of PyTorch as numpy arrays; no code that a file names is executed (see inert)."""

import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any

import ml_dtypes
import numpy as np

from genjax.encoders import inert
from genjax.encoders.inert import Refused
from genjax.types import BadInput

ZIP = b'PK\x03\x04'
MAGIC = 0x1950a86a20f9469cfc6c  # first of the pickles in a file of torch < 1.6
PROTOCOL = 1001  # second


def load(path, dtype=np.float32) -> dict[str, np.ndarray]:
  """{name: read-only array} of all tensors of a file of torch.save, of either format.

  Floating point numbers have the given dtype (None: as stored), integers and booleans that of the
  file. Tensors that share memory in the file share it here. Names of nested dicts are joined by
  dots; numbers, strings and containers among the tensors are ignored. Raises BadInput for a file
  that is missing, damaged, not of torch.save, or holds other objects, naming them.
  """
  try:
    with open(path, 'rb') as file:
      begin = file.read(4)
      if not begin:
        raise Refused('it is empty')
      content, read = (_zip if begin == ZIP else _legacy)(file)
      return _arrays(content, read, dtype)
  except OSError as error:
    raise BadInput(f'{path}: cannot be read ({error.strerror or error})') from None
  except Refused as error:
    raise BadInput(f'{path}: {error}') from None


def require(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple], what: str) -> None:
  """Raises BadInput unless the arrays have exactly the names and shapes of `shapes`."""
  missing, extra = [*(shapes.keys() - arrays.keys())], [*(arrays.keys() - shapes.keys())]
  odd = [f'{name} {tuple(arrays[name].shape)} for {tuple(shape)}' for name, shape in shapes.items()
         if name in arrays and tuple(arrays[name].shape) != tuple(shape)]
  wrong = [f'{len(names)} {kind} ({", ".join(sorted(names)[:3])}{", ..." * (len(names) > 3)})'
           for kind, names in (('missing', missing), ('unknown', extra), ('of another shape', odd))
           if names]
  if wrong:
    raise BadInput(f'these are no weights of {what}: {"; ".join(wrong)}; '
                   f'allowed: its {len(shapes)} arrays')


def _zip(file: IO[bytes]) -> tuple[Any, Callable]:
  """(object, bytes of a storage) of torch >= 1.6: an archive with a record for each storage."""
  try:
    archive = zipfile.ZipFile(file)
  except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
    raise Refused(f'it is damaged or cut off ({error})') from None
  names = {info.filename: info for info in archive.infolist()}
  roots = [name.removesuffix('data.pkl') for name in names if name.endswith('/data.pkl')]
  if len(roots) != 1:
    raise Refused('it is an archive, but none that torch.save wrote: '
                   f'{len(roots)} records data.pkl')

  def record(name):
    info = names.get(roots[0] + name)
    if info is None:
      raise Refused(f'it lacks the record {name!r}')
    if info.compress_type != zipfile.ZIP_STORED:
      raise Refused(f'its record {name!r} is compressed, which torch.save never does')
    try:
      return archive.read(info)  # checks the record's CRC
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError,
            struct.error) as error:
      raise Refused(f'its record {name!r} is damaged ({error})') from None

  big = roots[0] + 'byteorder' in names and record('byteorder') == b'big'
  content = inert.interpret(record('data.pkl'), inert.storage)
  return content, lambda storage: (record(f'data/{storage.key}'), big)


def _legacy(file: IO[bytes]) -> tuple[Any, Callable]:
  """(object, bytes of a storage) of torch < 1.6: five pickles, then the storages in a row."""
  content = memoryview(mapped := mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
  try:
    magic = inert.interpret(mapped, inert.storage)
  except Refused:
    magic = None
  if magic != MAGIC:
    raise Refused(f'it is no file of torch.save: it begins with {bytes(content[:16])!r}')
  if (protocol := inert.interpret(mapped, inert.storage)) != PROTOCOL:
    raise Refused(f'its format has the version {protocol!r}; allowed: {PROTOCOL}')
  system = inert.interpret(mapped, inert.storage)
  big = isinstance(system, dict) and system.get('little_endian') is False
  itemsizes = {}  # by the key of a storage

  def storage(*args):
    parsed = inert.storage(*args)
    if itemsizes.setdefault(parsed.key, parsed.dtype.itemsize) != parsed.dtype.itemsize:
      raise Refused(f'its storage {parsed.key!r} has numbers of two sizes')
    return parsed

  state, keys = inert.interpret(mapped, storage), inert.interpret(mapped, inert.storage)
  if not isinstance(keys, list):
    raise Refused(f'it lists its storages as {type(keys).__name__}')
  slices, at = {}, mapped.tell()
  for key in keys:
    if not isinstance(key, str) or key not in itemsizes:
      raise Refused(f'it lists a storage {key!r} that no tensor is in')
    count = int.from_bytes(content[at:at + 8], 'big' if big else 'little')
    start, at = at + 8, at + 8 + count * itemsizes[key]
    if at > len(content):
      raise Refused(f'it is damaged or cut off at storage {key!r}')
    slices[key] = slice(start, at)

  def read(storage):
    if storage.key not in slices:
      raise Refused(f'it lacks the storage {storage.key!r}')
    return bytes(content[slices[storage.key]]), big

  return state, read


def _arrays(content, read, dtype) -> dict[str, np.ndarray]:
  """The tensors in nested dicts, as views of their storages."""
  if not isinstance(content, dict):
    raise Refused(f'it holds a {type(content).__name__.strip("_").lower()}; allowed: a state dict')
  tensors, storages, todo, seen = {}, {}, [('', content)], {id(content)}
  while todo:
    name, value = todo.pop()
    if isinstance(value, inert.Tensor):
      if value.storage not in storages:
        storages[value.storage] = _numbers(value.storage, *read(value.storage), dtype)
      if name in tensors:
        raise Refused(f'it has two tensors {name!r}')
      tensors[name] = _view(name, storages[value.storage], value)
    elif type(value) is dict:
      for key, item in reversed(value.items()):
        if not isinstance(key, str | int):
          raise Refused(f'{name!r} has a key that is a {type(key).__name__}')
        if type(item) is dict:
          if id(item) in seen:
            raise Refused(f'it holds the dict {key!r} twice, or in itself')
          seen.add(id(item))
        todo.append((f'{name}.{key}' if name else str(key), item))
  if not tensors:
    raise Refused(f'it holds no tensor (of {len(content)} entries)')
  return tensors


def _numbers(storage, raw, big, dtype) -> np.ndarray:
  size = storage.dtype.itemsize
  if (storage.first + storage.count) * size > len(raw):
    raise Refused(f'its storage {storage.key!r} has {len(raw)} bytes where '
                   f'{(storage.first + storage.count) * size} must be')
  # read as integers, for which numpy knows any byte order, then viewed as their dtype
  numbers = np.frombuffer(raw, f'{">" if big else "<"}u{size}', storage.count, storage.first * size)
  numbers = numbers.astype(f'=u{size}', copy=False).view(storage.dtype)
  floating = storage.dtype.kind == 'f' or storage.dtype == ml_dtypes.bfloat16
  return numbers.astype(dtype, copy=False) if floating and dtype is not None else numbers


def _view(name, numbers, tensor) -> np.ndarray:
  try:
    stride = [step * numbers.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset:], tensor.size, stride,
                                           writeable=False)
  except (ValueError, OverflowError, MemoryError):
    raise Refused(f'its tensor {name!r} has the size {tensor.size}; '
                   'allowed: what numpy can hold') from None
