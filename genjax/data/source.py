"""Batches by index: item i is a pure function of (seed, i), so resuming is one integer."""

import dataclasses
import functools

import numpy as np

from genjax.types import BadInput


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n: int) -> np.ndarray:
  """The permutation of range(n) of one epoch, cached: batches of one epoch share it."""
  random = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
  order = random.permutation(n)
  order.flags.writeable = False
  return order


@dataclasses.dataclass(frozen=True)
class BatchSource:
  """source[i] -> {name: array [B, ...]} for every i >= 0: an endless shuffled stream.

  The stream is the epochs end to end, each a new permutation, cut into global batches of
  `batch_size`. Every example comes exactly once per epoch, and a batch may straddle two epochs.
  A host reads only its ranges of the global batch, so the order of examples is the same for any
  number of hosts. With num_stacked = K item j holds batches jK..jK+K-1 as [K, B, ...].
  """

  arrays: dict
  batch_size: int
  seed: int = 0
  ranges: tuple[tuple[int, int], ...] | None = None  # [start, stop) of the batch; None: all of it
  num_stacked: int | None = None

  @property
  def num_examples(self) -> int:
    """Examples in one epoch."""
    return len(self.arrays['x'])

  @property
  def is_mapped(self) -> bool:
    """Whether the data are not arrays in memory, so that reading may wait for a disk."""
    return any(type(array) is not np.ndarray for array in self.arrays.values())

  def __len__(self) -> int:
    return 2 ** 31 - 1

  def rows(self, i: int) -> np.ndarray:
    """The row numbers of item i, in order: int64 [K x rows in the ranges]."""
    n, ranges = self.num_examples, self.ranges or ((0, self.batch_size),)
    if self.num_stacked is None and len(ranges) == 1:
      first, size = i * self.batch_size + ranges[0][0], ranges[0][1] - ranges[0][0]
      epoch, low = divmod(first, n)
      if low + size <= n:
        return _order(self.seed, epoch, n)[low:low + size]
    count = self.num_stacked or 1
    batch = i * count + np.arange(count)
    within = np.concatenate([np.arange(*bounds) for bounds in ranges])
    place = (batch[:, None] * self.batch_size + within).reshape(-1)
    epochs = range(place[0] // n, place[-1] // n + 1)
    order = np.concatenate([_order(self.seed, epoch, n) for epoch in epochs])
    return order[place - epochs[0] * n]

  def __getitem__(self, i: int) -> dict:
    rows = self.rows(int(i))
    items = {key: array[rows] for key, array in self.arrays.items()}
    if self.num_stacked is None:
      return items
    return {key: item.reshape(self.num_stacked, -1, *item.shape[1:]) for key, item in items.items()}


def batches(arrays: dict, batch_size: int, seed: int = 0) -> BatchSource:
  """The endless shuffled stream of batches of `arrays` ({'x': [N, ...], 'cond'?: [N]}).

  batch_size is global; raises BadInput if it is not in 1..N.
  """
  n = len(arrays['x'])
  if type(batch_size) is not int or not 1 <= batch_size <= n:
    raise BadInput(f'batch size {batch_size!r}: must be an integer from 1 to the {n} training '
                   'examples (a step reads batch_size x updates per step)')
  if type(seed) is not int or not 0 <= seed < 2 ** 64:
    raise BadInput(f'seed {seed!r}: must be an integer from 0 to 2^64 - 1')
  return BatchSource(arrays, batch_size, seed)


def of_host(source: BatchSource, ranges: tuple[tuple[int, int], ...]) -> BatchSource:
  """The same stream, reading only the rows in `ranges` of each global batch."""
  return dataclasses.replace(source, ranges=ranges)


def stack(source: BatchSource, num_stacked: int) -> BatchSource:
  """The same stream with K = num_stacked batches per item, [K, B, ...], for K steps a dispatch."""
  return dataclasses.replace(source, num_stacked=num_stacked)


def loader(source: BatchSource, start: int = 0, num_threads: int | None = None):
  """Iterates source[start], source[start + 1], ...; the state to resume from is that integer.

  num_threads > 0 reads ahead through grain, 0 indexes directly. The default is 0 for data in
  memory, where indexing costs less than passing a batch between threads, and 2 for mapped files.
  """
  if num_threads is None:
    num_threads = 2 if source.is_mapped else 0
  if not num_threads:
    return (source[i] for i in range(start, len(source)))
  import grain  # on first use: it takes half a second to import
  options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4 * num_threads)
  return iter(grain.MapDataset.source(source)[start:].to_iter_dataset(options))
