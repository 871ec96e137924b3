"""Networks over many examples: batches of one shape, on all devices; results kept on disk."""

import collections
from collections.abc import Callable

import jax
import numpy as np

from genjax import disk, sharding
from genjax.types import DataSpec

CHUNK = 512  # rows per file of kept features, so that a killed process loses no more
MEMORY = 6  # sets whose features one encoder remembers in this process
CODE = ('encoders', 'nn', 'prob/levels.py')  # the source that computes features


def apply(function: Callable, x, batch: int, prepare: Callable = lambda rows: rows) -> tuple:
  """Numpy arrays [N, ...] of function(prepare(rows [batch, ...])) over all rows of x [N, ...].

  function: jitted by `sharding.jit(..., split=True)`; each device computes an equal share of rows.
  x: may be read by rows.
  batch: rows at a time, rounded up to a multiple of the devices; the last row pads the last batch.
  prepare: on the host.
  """
  mesh, n, parts = sharding.current_mesh(), len(x), []
  batch += -batch % (mesh.size if mesh else 1)
  for start in range(0, n, batch):
    rows = x[np.minimum(np.arange(start, start + batch), n - 1)]
    parts.append(sharding.to_host(function(prepare(rows))))
  return tuple(np.concatenate(part)[:n] for part in zip(*parts, strict=True))


def keep(features: Callable, card: dict, spec: DataSpec,
         encoded: Callable = lambda n: None) -> Callable:
  """The function `features`, which no longer computes twice for the same bytes of x.

  features: x [N, ...] -> float32 [N, d].
  card, spec: of the encoder; the key of kept features has the card, the meaning of the bytes
    (shape, levels), the source of the encoders and their compiler.
  encoded: encoded(n) is called after each n rows.
  Chunks of rows are kept on disk, where a process restarted after a kill finds them. A job of
  several hosts keeps them in memory only: all hosts compute together, so none may find them alone.
  """
  memory = collections.OrderedDict()

  def kept(x):
    x = np.asarray(x)
    key = disk.digest({'x': x})
    if key in memory:
      memory.move_to_end(key)
      return memory[key]
    parts = []
    for start in range(0, len(x), CHUNK):
      rows = x[start:start + CHUNK]
      chunk_key = {'card': card, 'shape': spec.shape, 'levels': spec.levels,
                   'source': disk.source_digest(*CODE), 'compiler': sharding.compiler(),
                   'x': disk.digest({'x': rows})}
      parts.append(disk.kept_array('features', chunk_key, lambda rows=rows: features(rows))
                   if jax.process_count() == 1 else features(rows))
      encoded(len(rows))
    memory[key] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    while len(memory) > MEMORY:
      memory.popitem(last=False)
    return memory[key]

  return kept
