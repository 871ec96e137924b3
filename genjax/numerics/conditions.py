"""The condition of a model: labels or vectors, and "no condition" in either form.

A label is int32 [B] in 0..num_classes-1, and num_classes is "no label"; a vector is float32
[B, context], and a row of NaN is "no condition".
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.numerics.shapes import match
from genjax.types import DataSpec


def null(spec: DataSpec) -> Callable | None:
  """n -> cond [n] or [n, context] that means "no condition"; None for data without conditions."""
  if spec.num_classes is not None:
    return lambda n: jnp.full((n,), spec.num_classes, jnp.int32)
  if spec.context is not None:
    return lambda n: jnp.full((n, spec.context), jnp.nan, jnp.float32)
  return None


def constant(cond, n: int) -> jax.Array:
  """One condition for n examples: a label as int32 [n], a vector [C] as float32 [n, C]."""
  dtype = jnp.int32 if jnp.ndim(cond) == 0 else jnp.float32
  return jnp.broadcast_to(jnp.asarray(cond, dtype), (n, *jnp.shape(cond)))


def where(chosen, cond, otherwise):
  """cond of the rows in chosen [B], else the other one: both labels or both vectors."""
  return jnp.where(match(chosen, cond), cond, otherwise)


def drop(rng, cond, rate: float, spec: DataSpec):
  """cond with each row replaced by "no condition" at the given rate (2207.12598); None stays None.

  rng None: nothing is dropped.
  """
  if cond is None or rng is None or rate == 0.0:
    return cond
  dropped = jax.random.bernoulli(rng, rate, cond.shape[:1])
  return where(dropped, null(spec)(cond.shape[0]), cond)
