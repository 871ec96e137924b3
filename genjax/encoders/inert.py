"""Pickles of torch.save, read without letting them reach Python.

A pickle is a program for a small stack machine that may call any function of Python. This is that
machine with a short list of operations and of names: it builds numbers, strings, containers, and
places of tensors in a file. A pickle that needs anything else is refused.
"""

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

DTYPES = {f'torch.{name}Storage': np.dtype(dtype) for name, dtype in (
    ('Float', np.float32), ('Double', np.float64), ('Half', np.float16),
    ('BFloat16', ml_dtypes.bfloat16), ('Long', np.int64), ('Int', np.int32), ('Short', np.int16),
    ('Char', np.int8), ('Byte', np.uint8), ('Bool', np.bool_))}


class Refused(Exception):
  """What is wrong with a file, without its name."""


class Global(NamedTuple):
  """A name that a pickle looks up; it is never resolved."""

  name: str


class Storage(NamedTuple):
  """`count` numbers of the byte run `key` of the file, from number `first` on."""

  key: str
  dtype: np.dtype
  first: int
  count: int


class Tensor(NamedTuple):
  """Where the numbers of a tensor lie in its storage; all fields count numbers, not bytes."""

  storage: Storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


class Machine(NamedTuple):
  """What the operations work on."""

  stack: list
  marks: list[int]  # heights of the stack
  memo: dict
  persistent: Callable  # the object that a file means by an identifier of its own


def interpret(pickle, persistent: Callable) -> Any:
  """The object that a pickle describes.

  pickle: bytes, or a file positioned at the pickle, which is read to the end of the pickle.
  persistent: the parts of an identifier of the file -> the object that it means, as `storage`.
  Raises Refused for an operation or a name that no state dict needs, and if it is no pickle.
  """
  machine = Machine([], [], {}, persistent)
  try:
    for op, arg, _ in pickletools.genops(pickle):
      if op.name == 'STOP':
        return _pop(machine, 1)[0]
      if op.name not in OPERATIONS:
        raise Refused(f'its pickle has the operation {op.name}, which no state dict needs')
      OPERATIONS[op.name](machine, arg)
  except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
    raise Refused(f'it is damaged or no file of torch.save ({error})') from None
  raise Refused('it is damaged: a pickle in it has no end')


def storage(kind, dtype, key, location, count, view=None) -> Storage:
  """The Storage that an identifier in a file of torch.save means.

  kind, dtype, key, location, count: the parts of the identifier.
  view: in old files, the part that is meant: (key, first number, count).
  """
  if kind != 'storage' or not isinstance(dtype, Global) or dtype.name not in DTYPES:
    raise Refused(f'it refers to {kind!r} of {dtype!r}; allowed: storages')
  first = 0
  if view is not None:
    _, first, count = view
  if not isinstance(key, str) or not _natural(first, count):
    raise Refused(f'its storage {key!r} has the place {first!r} and the length {count!r}')
  return Storage(key, DTYPES[dtype.name], first, count)


def _tensor(storage, offset, size, stride, *_) -> Tensor:
  if not isinstance(storage, Storage) or not _natural(offset, *size, *stride):
    raise Refused(f'it has a tensor of offset {offset!r}, size {size!r}, stride {stride!r}')
  last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
  if 0 not in size and last >= storage.count:
    raise Refused(f'it has a tensor of size {size} and stride {stride} that goes beyond the '
                  f'{storage.count} numbers of its storage')
  return Tensor(storage, offset, tuple(size), tuple(stride))


CALLS = {  # all that a pickle may call
    'collections.OrderedDict': lambda items=(): dict(items),
    'torch.Size': lambda sizes=(): tuple(sizes),
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_parameter': lambda tensor, *_: tensor,
}


def _natural(*values) -> bool:
  return all(isinstance(value, int) and 0 <= value < 2**63 for value in values)


def _of(kind: type, value):
  if not isinstance(value, kind):
    raise TypeError(f'{type(value).__name__} where {kind.__name__} must stand')
  return value


def _pop(m: Machine, n: int) -> list:
  """The last n values, all above the last mark."""
  at = len(m.stack) - n
  if at < (m.marks[-1] if m.marks else 0):
    raise IndexError('the stack is too short')
  values = m.stack[at:]
  del m.stack[at:]
  return values


def _above(m: Machine) -> list:
  values = _pop(m, len(m.stack) - m.marks[-1])
  m.marks.pop()
  return values


def _keep(m, index):
  m.memo[index] = m.stack[-1]


def _append(m, items):
  _of(list, m.stack[-1]).extend(items)


def _set(m, items):
  _of(dict, m.stack[-1]).update(zip(items[::2], items[1::2], strict=True))


def _name(m, name):
  if name not in CALLS and name not in DTYPES:
    raise Refused(f'its pickle asks for {name}; a state dict needs tensors alone, and nothing else '
                  'is loaded (allowed: what torch.save(model.state_dict(), FILE) writes)')
  m.stack.append(Global(name))


def _call(m, _):
  function, args = _pop(m, 2)
  m.stack.append(CALLS[_of(Global, function).name](*_of(tuple, args)))


def _build(m, _):  # attributes of a state dict: the versions of its modules
  _pop(m, 1)
  _of(dict, m.stack[-1])


OPERATIONS: dict[str, Callable] = {
    'PROTO': lambda m, arg: None,
    'FRAME': lambda m, arg: None,
    'MARK': lambda m, arg: m.marks.append(len(m.stack)),
    'NONE': lambda m, arg: m.stack.append(None),
    'NEWTRUE': lambda m, arg: m.stack.append(True),
    'NEWFALSE': lambda m, arg: m.stack.append(False),
    'EMPTY_DICT': lambda m, arg: m.stack.append({}),
    'EMPTY_LIST': lambda m, arg: m.stack.append([]),
    'EMPTY_TUPLE': lambda m, arg: m.stack.append(()),
    **dict.fromkeys(('BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT', 'BINUNICODE',
                     'SHORT_BINUNICODE', 'BINUNICODE8', 'BINSTRING', 'SHORT_BINSTRING', 'BINBYTES',
                     'SHORT_BINBYTES'), lambda m, arg: m.stack.append(arg)),
    'TUPLE': lambda m, arg: m.stack.append(tuple(_above(m))),
    'TUPLE1': lambda m, arg: m.stack.append(tuple(_pop(m, 1))),
    'TUPLE2': lambda m, arg: m.stack.append(tuple(_pop(m, 2))),
    'TUPLE3': lambda m, arg: m.stack.append(tuple(_pop(m, 3))),
    'BINPUT': _keep,
    'LONG_BINPUT': _keep,
    'MEMOIZE': lambda m, arg: _keep(m, len(m.memo)),
    'BINGET': lambda m, index: m.stack.append(m.memo[index]),
    'LONG_BINGET': lambda m, index: m.stack.append(m.memo[index]),
    'APPEND': lambda m, arg: _append(m, _pop(m, 1)),
    'APPENDS': lambda m, arg: _append(m, _above(m)),
    'SETITEM': lambda m, arg: _set(m, _pop(m, 2)),
    'SETITEMS': lambda m, arg: _set(m, _above(m)),
    'GLOBAL': lambda m, arg: _name(m, arg.replace(' ', '.')),
    'STACK_GLOBAL': lambda m, arg: _name(m, '.'.join(_pop(m, 2))),
    'REDUCE': _call,
    'BUILD': _build,
    'BINPERSID': lambda m, arg: m.stack.append(m.persistent(*_of(tuple, _pop(m, 1)[0]))),
}
