"""Records of (mean, std, label) in array_record files, as columns that are read by rows."""

import pathlib
import threading

import numpy as np

from genjax.types import BadInput

READER = 'readahead_buffer_size:0'
BUFFER = 1 << 15  # bytes read at once: two records of 32 x 32 x 4


def dtype(shape: tuple[int, ...]) -> np.dtype:
  """The bytes of one record, packed."""
  return np.dtype([('mean', '<f2', shape), ('std', '<f2', shape), ('label', '<i4')])


class Records:
  """The records of one split: bytes by row number, checked against the metadata."""

  def __init__(self, where: pathlib.Path, files: dict, shape: tuple[int, ...]):
    self.dtype = dtype(shape)
    self.paths = [where / name for name in files]
    self.counts = [count for _, count in files.values()]
    self.stops = np.cumsum(self.counts)
    self.readers, self.lock = {}, threading.Lock()
    for path, (size, _) in zip(self.paths, files.values(), strict=True):
      if not path.is_file():
        raise BadInput(f"data set 'latents': {path} is missing")
      if path.stat().st_size != size:
        raise BadInput(f"data set 'latents': {path} is damaged: it has {path.stat().st_size} "
                       f'bytes, not {size}')

  def __len__(self) -> int:
    return int(self.stops[-1])

  def read(self, rows: np.ndarray) -> np.ndarray:
    """The records of the rows, in their order; BadInput naming the file that cannot be read."""
    out = np.empty(len(rows), self.dtype)
    which = np.searchsorted(self.stops, rows, side='right')
    for i in np.unique(which):
      at = np.flatnonzero(which == i)
      first = self.stops[i] - self.counts[i]
      try:
        parts = self._reader(i).read((rows[at] - first).tolist())
        out[at] = np.frombuffer(b''.join(parts), self.dtype)
      except (RuntimeError, ValueError) as error:
        raise BadInput(f"data set 'latents': {self.paths[i]} is damaged or foreign: {error}"
                       ) from error
    return out

  def _reader(self, i: int):
    """The file, opened when it is first needed; readers are shared by threads."""
    from array_record.python import array_record_module
    with self.lock:
      if i not in self.readers:
        reader = array_record_module.ArrayRecordReader(
            str(self.paths[i]), options=READER, file_reader_buffer_size=BUFFER)
        if reader.ok() and reader.num_records() != self.counts[i]:
          raise ValueError(f'it holds {reader.num_records()} records, not {self.counts[i]}')
        self.readers[i] = reader
      return self.readers[i]


class Column:
  """One field of records on disk as an array that is read by rows: column[rows] is numpy.

  The columns of a split share `last`, the records that a thread read last, so that a batch of three
  columns reads its records once.
  """

  def __init__(self, records: Records, rows: np.ndarray, field: str, scale: float | None,
               last: threading.local):
    self.records, self.rows, self.field, self.scale, self.last = records, rows, field, scale, last
    self.dtype = np.dtype(np.int32 if scale is None else np.float32)
    self.shape = (len(rows), *records.dtype[field].shape)
    self.ndim = len(self.shape)

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, index) -> np.ndarray:
    wanted = self.rows[index]
    rows = np.atleast_1d(wanted)
    key = rows.tobytes()
    if getattr(self.last, 'key', None) != key:
      self.last.records, self.last.key = self.records.read(rows), key
    values = self.last.records[self.field].astype(self.dtype)
    if self.scale is not None:
      values *= np.float32(self.scale)
    return values.reshape((*wanted.shape, *values.shape[1:]))

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    del copy  # always one
    return self[:].astype(dtype or self.dtype, copy=False)


def columns(records: Records, rows: np.ndarray, scale: float) -> dict:
  """{'x', 'std', 'cond'}: the columns of the rows of a split, x and std times `scale`."""
  last = threading.local()
  return {'x': Column(records, rows, 'mean', scale, last),
          'std': Column(records, rows, 'std', scale, last),
          'cond': Column(records, rows, 'label', None, last)}
