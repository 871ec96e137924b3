"""Guidance: a denoiser pushed away from a worse one, in some range of noise, and what it costs.

E[x_0 | x_t] is guided; noise, score and velocity are affine in it with shared coefficients, so it
is the same guidance in each of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.numerics.shapes import match
from genjax.types import BadInput

EVERYWHERE = (0.0, float('inf'))


class Guided(NamedTuple):
  """A denoiser and the cost of one call, for a sampler."""

  denoise: Callable  # (x_t, t [n], cond, rng) -> E[x_0 | x_t]
  cost: Callable  # t [...] -> int32 evaluations of a network by one call at t


def check(weight: float, interval: tuple[float, float]) -> None:
  """Raises BadInput for a negative or infinite weight, and for an illegal interval."""
  if not 0.0 <= weight < float('inf'):
    raise BadInput(f'guidance weight = {weight} must be at least 0: 0 is the worse denoiser, 1 the '
                   'better one')
  if len(interval) != 2 or not 0.0 <= interval[0] < interval[1]:
    raise BadInput(f'guidance interval = {interval}; allowed: two noise ratios sigma / alpha, such '
                   'as (0.2, 5.0)')


def within(path: Callable, t, interval) -> jax.Array:
  """Whether low < sigma / alpha <= high at t (2404.07724, Eq. 4); bool like t, alpha may be 0."""
  alpha, sigma = path(t)
  low, high = interval
  above = sigma > low * alpha
  return above if high == float('inf') else above & (sigma <= high * alpha)


def _blend(denoise, both, path, weight, interval) -> Guided:
  """Inside: worse + weight (better - worse), of both(x_t, t, cond, rng); outside: denoise."""
  if weight == 1.0:
    return Guided(denoise, lambda t: jnp.ones(jnp.shape(t), jnp.int32))

  def inside(x_t, t, cond, rng):
    better, worse = both(x_t, t, cond, rng)
    return worse + weight * (better - worse)

  if tuple(interval) == EVERYWHERE:
    return Guided(inside, lambda t: jnp.full(jnp.shape(t), 2, jnp.int32))

  def guided(x_t, t, cond, rng):
    here = within(path, t, interval)

    def mixed():
      return jnp.where(match(here, x_t), inside(x_t, t, cond, rng), denoise(x_t, t, cond, rng))

    # samplers ask all examples at one time: then only one side is evaluated
    return jax.lax.switch(
        jnp.where(here.all(), 2, here.any().astype(jnp.int32)),
        (lambda: denoise(x_t, t, cond, rng), mixed, lambda: inside(x_t, t, cond, rng)))

  return Guided(guided, lambda t: 1 + within(path, t, interval).astype(jnp.int32))


def classifier_free(denoise: Callable, path: Callable, null: Callable | None, weight: float,
                    interval: tuple[float, float] = EVERYWHERE) -> Guided:
  """no label + weight (label - no label), both halves in one call (2207.12598, Eq. 6).

  null: n -> cond that means "no condition"; weight 1 needs none. weight: 1 is the conditional
  model, 0 the unconditional one, one plus the paper's w in general. interval: of sigma / alpha,
  outside of which the model is the conditional one (2404.07724). Two evaluations inside, one
  outside.
  """
  check(weight, interval)

  def unlabelled(x_t, t, cond, rng):
    return denoise(x_t, t, null(cond.shape[0]), rng)

  def both(x_t, t, cond, rng):
    twice = lambda a: jnp.concatenate([a, a])
    labels = jnp.concatenate([cond, null(cond.shape[0])])
    return jnp.split(denoise(twice(x_t), twice(t), labels, rng), 2)

  if weight == 0.0 and tuple(interval) == EVERYWHERE:
    return Guided(unlabelled, lambda t: jnp.ones(jnp.shape(t), jnp.int32))
  return _blend(denoise, both, path, weight, interval)


def autoguidance(denoise: Callable, worse: Callable, path: Callable, weight: float,
                 interval: tuple[float, float] = EVERYWHERE) -> Guided:
  """worse + weight (denoise - worse): a worse model of the same task as guide (2406.02507, Eq. 2).

  Both take the same path and label. Two evaluations inside the interval, one outside.
  """
  check(weight, interval)

  def both(x_t, t, cond, rng):
    return denoise(x_t, t, cond, rng), worse(x_t, t, cond, rng)

  return _blend(denoise, both, path, weight, interval)
