"""Values of each example of a split, batch by batch, with random keys of their own."""

from collections.abc import Callable, Mapping

import numpy as np

from genjax.numerics import streams


def per_example(terms: Callable, prepare: Callable) -> Callable:
  """(params, raw batch, key of its codes, key) -> {term: [B, ...]}."""
  return lambda params, batch, rng_codes, rng: terms(params, prepare(batch, rng_codes), rng)


def keys(seed: int, split: str, purpose: streams.Purpose, one_code: bool = False) -> Callable:
  """(batch, repeat) -> (key of the batch's codes, key of the model's own noise, of a purpose).

  one_code: all repeats see the same codes of an autoencoder.
  """
  of_split = streams.SPLITS.index(split)

  def of_call(batch: int, repeat: int):
    stream = lambda purpose, repeat: streams.stream(seed, purpose, of_split, batch, repeat)
    return (stream(streams.Purpose.CODES, 0 if one_code else repeat), stream(purpose, repeat))

  return of_call


def values(of_batch: Callable, params, arrays: Mapping, keys: Callable, repeats: int,
           batch_size: int, tick: Callable, add: Callable = np.add,
           empty: float = 0.0) -> dict[str, np.ndarray]:
  """{term: float64 [N, ...]}, added over the repeats; all batches have one shape: traced once.

  of_batch: as `per_example` returns it; keys: as `keys` does; tick: called before each batch.
  add: of float64 values; empty: its neutral element.
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
        rows = total.setdefault(name, np.full((n, *value.shape[1:]), empty))
        rows[index[mask]] = add(rows[index[mask]], np.asarray(value, np.float64)[mask])
  return total
