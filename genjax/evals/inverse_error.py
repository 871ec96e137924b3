"""How far the inverse pass of a flow misses the point from which the forward pass came.

A density whose inverse fails says nothing about the samples.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.types import Model

NUM_EXAMPLES = 16


def detail(model: Model, prepare: Callable, params, arrays: Mapping) -> dict:
  """{'inverse_error': max |f^-1(f(x)) - x| / max(1, |x|)} over a few examples; {} without a flow.

  An error that is not finite is None.

  arrays: {name: raw values [N, ...]}, of which the first NUM_EXAMPLES are used, at the centres of
  their cells if they have levels.
  """
  if model.bijection is None:
    return {}
  forward, inverse = model.bijection

  @sharding.jit
  def error(params, batch):
    batch = prepare(batch)
    x, cond = batch['x'], batch.get('cond')
    back = inverse(params, forward(params, x, cond), cond)
    return jnp.max(jnp.abs(back - x) / jnp.maximum(1.0, jnp.abs(x)))

  few = {name: values[np.arange(min(NUM_EXAMPLES, len(values)))] for name, values in arrays.items()}
  value = float(error(params, few))
  return {'inverse_error': value if np.isfinite(value) else None}
