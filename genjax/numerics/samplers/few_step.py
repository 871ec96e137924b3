"""Sampling by a flow map: a few evaluations, each of which crosses a wide range of noise."""

import jax
import jax.numpy as jnp

from genjax.types import BadInput

DEFAULT_STEPS = 4


def _starts(num_steps, times) -> jax.Array:
  """The times at which the map is evaluated: 1, then equal steps, or `times`."""
  if num_steps is not None and times is not None:
    raise BadInput(f'num_steps = {num_steps} and times = {times}; allowed: one of them')
  if times is None:
    count = DEFAULT_STEPS if num_steps is None else num_steps
    if count < 1:
      raise BadInput(f'num_steps = {count} must be at least 1')
    return 1.0 - jnp.arange(count) / count
  falling = [1.0, *times, 0.0]
  if any(later >= earlier for earlier, later in zip(falling, falling[1:], strict=False)):
    raise BadInput(f'times = {times} must fall, between 1 and 0 and without them')
  return jnp.array(falling[:-1])


def flow_map(flow_map, path, rng, x_T, cond, *, num_steps: int | None = None,
             times: tuple[float, ...] | None = None, renoise: bool = False):
  """x_0 [n, ...] by flow_map(x_t, t [n], s [n], cond) -> x_s, and its evaluations, one a step.

  num_steps equal steps (4) from t = 1 to 0, or `times` at which to stop on the way. renoise: each
  step goes to the data, and noise takes them to the next time: multistep consistency sampling
  (2303.01469, Alg. 1), for a map that was trained to reach the data alone. Raises BadInput for
  times that do not fall from 1 to 0.
  """
  start = _starts(num_steps, times)
  stop = jnp.append(start[1:], 0.0)
  full = lambda t: jnp.full(x_T.shape[:1], t, x_T.dtype)

  def onward(x_t, inputs):
    t, s = inputs
    return flow_map(x_t, full(t), full(s), cond).astype(x_T.dtype), None

  if not renoise:
    return jax.lax.scan(onward, x_T, (start, stop))[0], jnp.int32(len(start))

  alpha_0, sigma_0 = path(full(0.0)[:1])

  def to_data_and_back(x_t, inputs):
    t, s, key = inputs
    x_0, _ = onward(x_t, (t, 0.0))
    alpha_s, sigma_s = path(full(s)[:1])
    std = jnp.sqrt(jnp.maximum(sigma_s**2 - (alpha_s / alpha_0 * sigma_0) ** 2, 0.0))
    return alpha_s / alpha_0 * x_0 + std * jax.random.normal(key, x_T.shape, x_T.dtype), None

  keys = jax.random.split(rng, len(start))
  x, _ = jax.lax.scan(to_data_and_back, x_T, (start[:-1], stop[:-1], keys[1:]))
  return onward(x, (start[-1], 0.0))[0], jnp.int32(len(start))
