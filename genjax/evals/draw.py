"""Generated samples for evaluators and programs: each has its own key, is drawn once, and timed."""

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat, prob, sharding
from genjax.numerics import conditions, streams
from genjax.types import BadInput, DataSpec, Model

CHUNK = 256  # default number of samples computed at once


def make(model: Model, spec: DataSpec, *, seed: int, sampler: str = 'direct',
         conditional: bool = False, cond: int | Sequence[float] | None = None,
         label_counts: Sequence[int] | None = None, contexts: np.ndarray | None = None,
         purpose: streams.Purpose = streams.Purpose.TEST_DRAWS, chunk: int = CHUNK,
         tick: Callable = lambda: None) -> Callable:
  """Returns draw_from(params) -> draw(n) -> (x [n, ...], info); the compiled programs are shared.

  x: int32 levels, or float32 for continuous data. Sample i depends on (params, seed, purpose, i)
  only: n, chunk, devices and hosts change it by rounding at most (the adaptive 'ode' by its
  tolerance).
  info: 'seconds' for n samples without compilation; 'nfe', the mean number of network evaluations
  per sample; 'cond', labels [n], vectors [n, C] or None. For the cards it has 'sampler' and
  'labels', which says how labels were chosen (None: the model is unconditional).

  cond: the label or vector of every sample; None: a conditional model draws them.
  label_counts: relative frequencies of the labels, as in the training split; None: uniform.
  contexts: vectors [N, C] from which those of the samples are drawn.
  chunk: number of samples computed at once, which bounds the memory.
  tick: called before each chunk.
  Raises BadInput for a label that the model cannot take, and for a chunk below 1.
  """
  if chunk < 1:
    raise BadInput(f'chunk={chunk}; allowed: integers >= 1')
  if conditional and cond is not None:
    if spec.context is None and cond == spec.num_classes:
      compat.null_cond(model, f'cond={cond} ("no label")', f'0..{spec.num_classes - 1}')
    if spec.context is not None and np.isnan(cond).any():
      compat.null_cond(model, 'cond=none', f'{spec.context} numbers')
  asked, labels = _asked(spec, conditional, cond, label_counts, contexts)
  program = lambda size: _program(model, spec, asked, size, seed, purpose)
  compiled = {}  # number of samples -> program; compiled once, untimed, for all parameters

  def draw_from(params):
    parts, seconds, drawn = [], 0.0, 0

    def draw(n: int):
      nonlocal seconds, drawn
      while drawn < n:
        size = min(chunk, 1 << (n - drawn - 1).bit_length())  # few programs, few surplus samples
        first = jnp.uint32(drawn)
        if size not in compiled:
          compiled[size] = sharding.compiled(program(size).lower(params, first),
                                             what=f'sampling {size} at once')
        tick()
        start = time.perf_counter()
        parts.append(jax.tree.map(np.asarray, compiled[size](params, first)))
        seconds += time.perf_counter() - start
        drawn += size
      x, evaluations, cond = (
          None if part[0] is None else np.concatenate(part)[:n]
          for part in zip(*parts, strict=True))
      return x, {'seconds': seconds / drawn * n, 'nfe': float(evaluations.mean()), 'cond': cond,
                 'sampler': sampler, 'labels': labels}

    return draw

  return draw_from


def _program(model: Model, spec: DataSpec, asked: Callable, size: int, seed: int, purpose):
  """(params, index of the first) -> x [size, ...], network evaluations [size], labels or None."""
  @sharding.jit
  def some(params, first):
    rng_x, rng_cond = jax.random.split(streams.of_rows(streams.stream(seed, purpose), first))
    labels = asked(rng_cond, size)
    x, evaluations = model.sample(params, rng_x, size, labels)
    x = x if spec.levels is None else prob.to_levels(x, spec.levels)
    return x, jnp.broadcast_to(jnp.asarray(evaluations), (size,)), labels

  return some


def _asked(spec: DataSpec, conditional: bool, cond, counts, contexts):
  """((key, n) -> labels [n], vectors [n, C] or None), and how they were chosen, in words."""
  if not conditional:
    if cond is not None:
      raise BadInput(f'cond={cond}; allowed: none, since this model is unconditional')
    return lambda rng, n: None, None
  if spec.context is not None:
    return _vectors(spec, cond, contexts)
  if cond is not None:
    if not 0 <= cond <= spec.num_classes:
      raise BadInput(f'cond={cond}; allowed: 0..{spec.num_classes - 1}, or {spec.num_classes} for '
                     'no label')
    words = 'none' if cond == spec.num_classes else f'all {cond}'
    return lambda rng, n: conditions.constant(cond, n), words
  if counts is None:
    return lambda rng, n: jax.random.randint(rng, (n,), 0, spec.num_classes), 'uniform'
  log_share = jnp.log(jnp.asarray(counts, jnp.float32))
  return (lambda rng, n: jax.random.categorical(rng, log_share, shape=(n,)).astype(jnp.int32),
          'frequencies of the training split')


def _vectors(spec: DataSpec, cond, contexts):
  """As `_asked`, for vectors: the given one, or those of random training examples."""
  if cond is not None:
    if np.shape(cond) != (spec.context,):
      raise BadInput(f'cond={cond} has {np.size(cond)} numbers; allowed: {spec.context}')
    return lambda rng, n: conditions.constant(cond, n), 'all alike'
  if contexts is None:
    raise BadInput('this model is conditioned on vectors, and neither one nor those of the '
                   f'training data are here; allowed: cond of {spec.context} numbers')
  contexts = jnp.asarray(contexts, jnp.float32)
  return (lambda rng, n: contexts[jax.random.randint(rng, (n,), 0, len(contexts))],
          'vectors of random training examples')
