"""Files as torch.save writes them, opcode by opcode, without torch."""

import pickle
import zipfile

import numpy as np

KINDS = {'float32': 'Float', 'float64': 'Double', 'float16': 'Half', 'bfloat16': 'BFloat16',
         'int64': 'Long', 'int32': 'Int', 'int16': 'Short', 'int8': 'Char', 'uint8': 'Byte',
         'bool': 'Bool'}


def number(value) -> bytes:
  """Pushes an integer."""
  return pickle.dumps(value, 2)[2:-1]


def text(value: str) -> bytes:
  """Pushes a string."""
  data = value.encode()
  return b'X' + len(data).to_bytes(4, 'little') + data


def tensor(key: str, kind: str, count: int, offset: int, size, stride, view=None) -> bytes:
  """Pushes a tensor; `view`: what follows the length in old files."""
  numbers = lambda values: b'(' + b''.join(map(number, values)) + b't'
  return (b'ctorch._utils\n_rebuild_tensor_v2\n((' + text('storage') +
          f'ctorch\n{kind}Storage\n'.encode() + text(key) + text('cpu') + number(count) +
          (view or b'') + b'tQ' + number(offset) + numbers(size) + numbers(stride) +
          b'\x89ccollections\nOrderedDict\n)RtR')


def pushes(arrays, view=None) -> tuple[bytes, dict]:
  """Operations that push the dict of arrays, and the bytes of its storages, one an array."""
  code, storages = b'ccollections\nOrderedDict\n)R(', {}
  for i, (name, array) in enumerate(arrays.items()):
    array = np.asarray(array)
    stride = [step // array.itemsize for step in np.ascontiguousarray(array).strides]
    code += text(name) + tensor(str(i), KINDS[array.dtype.name], array.size, 0, array.shape,
                                stride[:array.ndim], view)
    storages[str(i)] = array.tobytes()
  return code + b'u', storages


def write_zip(path, code: bytes, storages: dict, root='archive', byteorder='little', records=None):
  """A file of torch >= 1.6 whose pickle leaves what `code` pushes."""
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr(f'{root}/data.pkl', b'\x80\x02' + code + b'.')
    archive.writestr(f'{root}/byteorder', byteorder)
    for key, data in {**{f'data/{k}': v for k, v in storages.items()}, **(records or {})}.items():
      archive.writestr(f'{root}/{key}', data)
    archive.writestr(f'{root}/version', '3\n')
  return path


def write_legacy(path, code: bytes, storages: dict, counts: dict, little=True):
  """A file of torch < 1.6; counts: how many numbers each storage says that it has."""
  head = [0x1950a86a20f9469cfc6c, 1001, {'protocol_version': 1001, 'little_endian': little}]
  with open(path, 'wb') as file:
    file.write(b''.join(pickle.dumps(value, 2) for value in head) + b'\x80\x02' + code + b'.' +
               pickle.dumps(sorted(storages), 2))
    for key in sorted(storages):
      file.write(counts[key].to_bytes(8, 'little' if little else 'big') + storages[key])
  return path


def save(path, arrays, legacy=False):
  """torch.save(state dict, path)."""
  code, storages = pushes(arrays, b'N' if legacy else None)
  if not legacy:
    return write_zip(path, code, storages)
  counts = {str(i): np.asarray(array).size for i, array in enumerate(arrays.values())}
  return write_legacy(path, code, storages, counts)
