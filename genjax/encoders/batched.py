"""Networks over many examples: batches of one shape, on all devices; results kept on disk."""

import collections
from collections.abc import Callable

import jax
import numpy as np

from genjax import disk, sharding
from genjax.types import DataSpec

CHUNK = 512  # rows of a file of kept features: what a killed process has computed is not lost
MEMORY = 6  # sets whose features one encoder remembers in this process
CODE = ('encoders', 'nn/dense.py', 'prob.py')  # what features are computed by


def apply(function: Callable, x, batch: int, prepare: Callable = lambda rows: rows) -> tuple:
  """Numpy arrays [N, ...] of function(prepare(rows [batch, ...])) over all rows of x [N, ...].

  function is jitted by `sharding.jit(..., split=True)`: each device computes its rows, of a batch
  that all devices share alike. The last is filled up with the last row, so there is one shape.
  """
  mesh, n, parts = sharding.current_mesh(), len(x), []
  batch += -batch % (mesh.size if mesh else 1)
  for start in range(0, n, batch):
    rows = x[np.minimum(np.arange(start, start + batch), n - 1)]
    parts.append(sharding.to_host(function(prepare(rows))))
  return tuple(np.concatenate(part)[:n] for part in zip(*parts, strict=True))


def keep(features: Callable, card: dict, spec: DataSpec,
         encoded: Callable = lambda n: None) -> Callable:
  """features(x [N, ...]) -> float32 [N, d], not computed twice for the same bytes of x.

  card, spec: of the encoder; what the bytes mean (shape, levels) is in the key with the card, and
  so is the source of the encoders.

  On disk in chunks of rows, of which a process that goes on after a kill finds the first. Of a job
  of several hosts in memory only: what all of them compute together none may find alone.
  encoded(n) is called after each n rows.
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
      name = {'card': card, 'shape': spec.shape, 'levels': spec.levels,
              'source': disk.source_digest(*CODE), 'x': disk.digest({'x': rows})}
      parts.append(disk.kept_array('features', name, lambda rows=rows: features(rows))
                   if jax.process_count() == 1 else features(rows))
      encoded(len(rows))
    memory[key] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    while len(memory) > MEMORY:
      memory.popitem(last=False)
    return memory[key]

  return kept
