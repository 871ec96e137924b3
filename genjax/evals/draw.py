"""Generated samples for evaluators and programs: keyed by fixed chunks, drawn once, timed."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat, prob, sharding
from genjax.types import BadInput, DataSpec, Model

CHUNK = 256  # samples are keyed by chunks of this size: neither n nor memory changes sample i


def make(model: Model, spec: DataSpec, *, seed: int, sampler: str = 'direct',
         conditional: bool = False, cond: int | None = None,
         tick: Callable = lambda: None) -> Callable:
  """Returns draw_from(params) -> draw(n) -> (x [n, ...], info); the compiled chunk is shared.

  x: int32 levels, or float32 for continuous data; sample i depends on (params, seed, i) alone.
  info: 'seconds' for n samples without compilation, 'nfe' (network evaluations per sample), 'cond',
  the labels [n] that were asked for or None, and 'sampler', the name that the cards print.
  cond: the label of every sample; None: uniform labels where the model is conditional. tick() is
  called before each chunk. Raises BadInput for a label that the model cannot take.
  """
  if cond is not None and not conditional:
    raise BadInput(f'cond={cond}; allowed: none, since this model is unconditional')
  if cond is not None and not 0 <= cond <= spec.num_classes:
    raise BadInput(f'cond={cond}; allowed: 0..{spec.num_classes - 1}, or {spec.num_classes} for '
                   'no label')
  if cond is not None and cond == spec.num_classes:
    compat.null_label(model, f'cond={cond} ("no label")', f'0..{spec.num_classes - 1}')

  @sharding.jit
  def chunk(params, index):
    rng_x, rng_cond = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
    labels = None
    if conditional:
      labels = (jax.random.randint(rng_cond, (CHUNK,), 0, spec.num_classes) if cond is None
                else jnp.full((CHUNK,), cond, jnp.int32))
    x, nfe = model.sample(params, rng_x, CHUNK, labels)
    return (x if spec.levels is None else prob.to_levels(x, spec.levels)), nfe, labels

  compiled = []  # once for all parameters, outside the clock

  def draw_from(params):
    chunks, seconds, evaluations, asked = [], [], [], []

    def draw(n: int):
      if not compiled:
        compiled.append(sharding.compiled(chunk.lower(params, jnp.int32(0))))
      while len(chunks) * CHUNK < n:
        tick()
        start = time.perf_counter()
        x, nfe, labels = compiled[0](params, jnp.int32(len(chunks)))
        chunks.append(np.asarray(x))
        asked.append(labels)
        seconds.append(time.perf_counter() - start)
        evaluations.append(int(nfe))
      mean = float(np.mean(seconds)) / CHUNK
      return np.concatenate(chunks)[:n], {
          'seconds': mean * n, 'nfe': evaluations[0], 'sampler': sampler,
          'cond': np.concatenate(asked)[:n] if conditional else None}

    return draw

  return draw_from
