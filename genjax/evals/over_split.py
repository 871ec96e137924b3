"""Values of each example of a split, batch by batch, with random keys of their own."""

from collections.abc import Callable

import numpy as np

from genjax.numerics import streams


def per_example(terms: Callable, prepare: Callable) -> Callable:
  """(params, raw batch, key of its codes, key) -> {term: [B] nats}."""
  return lambda params, batch, rng_codes, rng: terms(params, prepare(batch, rng_codes), rng)


def keys(seed: int, split: str):
  """(batch, repeat) -> (key of its codes, key of the model's own noise)."""
  of_split = streams.SPLITS.index(split)

  def of(batch: int, repeat: int):
    return tuple(streams.stream(seed, purpose, of_split, batch, repeat)
                 for purpose in (streams.Purpose.CODES, streams.Purpose.LIKELIHOOD))

  return of


def values(of_batch, params, arrays, keys, repeats, batch_size, tick):
  """{term: float64 [N]}, averaged over the repeats; all batches have one shape: traced once.

  of_batch: as `per_example` returns it; keys: as `keys` does; tick: called before each batch.
  """
  n = len(arrays['x'])
  size = min(batch_size, n)
  total = {}
  for start in range(0, n, size):
    index = np.arange(start, start + size)
    mask = index < n
    batch = {k: v[np.minimum(index, n - 1)] for k, v in arrays.items()} | {'mask': mask}
    for repeat in range(repeats):
      tick()
      terms = of_batch(params, batch, *keys(start // size, repeat))
      for name, value in terms.items():
        rows = np.asarray(value, np.float64)[mask]
        total.setdefault(name, np.zeros(n))[index[mask]] += rows / repeats
  return total
