"""FLOPs of a traced function, and the rate at which this machine multiplies matrices.

XLA's cost_analysis counts the body of a loop only once; a jaxpr has the length of a scan. Only
matrix products and convolutions are counted, with two FLOPs per multiply-add.

Hardware FLOPs are counted in the step that is executed. Model FLOPs, from which MFU is computed
(2204.02311, App. B), exclude what rematerialisation computes a second time. They are counted in the
same config's step without rematerialisation, since a jaxpr with it mixes repeated products with
those of the backward pass. Unlike "three times the forward pass", this count is right for a
gradient penalty, a critic updated more often than its model, or a Markov chain inside a loss.
Accumulation changes neither number.
"""

import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

# side of the matrices, products per dispatch: 9e12 FLOPs take about 10 ms on an accelerator, and
# 3e8 FLOPs take 2 to 20 ms on a processor
RATE_SIZE = {'cpu': (512, 1)}
RATE_SIZE_ACCELERATOR = (8192, 8)
NUM_TIMED = 5


class Count(NamedTuple):
  """FLOPs of matrix products and convolutions; loops: number of while loops, counted once each."""

  flops: int
  loops: int


def of(fn: Callable, *args) -> int:
  """FLOPs of fn(*args) as in `count`; args are arrays or their shapes, and nothing is allocated."""
  return count(fn, *args).flops


def count(fn: Callable, *args) -> Count:
  """The Count of fn(*args), by its jaxpr.

  The body of a scan counts `length` times, that of a while loop once (its length is unknown), that
  of a shard_map on every device. Only the most expensive branch counts. Products with padding
  or the zeros between dilated inputs, factorisations and triangular solves are not counted.
  """
  return _walk(jax.make_jaxpr(fn)(*args).jaxpr)


def _walk(jaxpr) -> Count:
  flops = loops = 0
  for eqn in jaxpr.eqns:
    counted = _equation(eqn)
    flops, loops = flops + counted.flops, loops + counted.loops
  return Count(flops, loops)


def _equation(eqn) -> Count:
  name, params = eqn.primitive.name, eqn.params
  if name == 'dot_general':
    return Count(_dot(eqn), 0)
  if name == 'conv_general_dilated':
    return Count(_convolution(eqn), 0)
  inner = [_walk(jaxpr) for jaxpr in _inside(params)]
  if name == 'cond':
    return max(inner)
  flops, loops = sum(c.flops for c in inner), sum(c.loops for c in inner)
  if name == 'scan':
    flops *= params['length']
  elif name == 'shard_map':  # the shapes inside are those of one device
    sizes = dict(params['mesh'].shape)
    flops *= math.prod(sizes[axis] for axis in params['newly_manual_axes'])
  return Count(flops, loops + (name == 'while'))


def _inside(params: dict):
  """Yields the jaxprs among an equation's parameters: the bodies of what it calls."""
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if isinstance(item, core.ClosedJaxpr):
        yield item.jaxpr
      elif isinstance(item, core.Jaxpr):
        yield item


def _dot(eqn) -> int:
  (contracted, _), _ = eqn.params['dimension_numbers']
  shape = eqn.invars[0].aval.shape
  return 2 * eqn.outvars[0].aval.size * math.prod(shape[i] for i in contracted)


def _convolution(eqn) -> int:
  """2 x batch x output channels x input channels per group x meeting (output, kernel) pairs."""
  p = eqn.params
  lhs, rhs = (v.aval.shape for v in eqn.invars[:2])
  out = eqn.outvars[0].aval.shape
  of_lhs, of_rhs, of_out = p['dimension_numbers']
  flops = 2 * out[of_out[0]] * out[of_out[1]] * rhs[of_rhs[1]]
  for i, (stride, (low, _), lhs_dilation, rhs_dilation) in enumerate(zip(
      p['window_strides'], p['padding'], p['lhs_dilation'], p['rhs_dilation'], strict=True)):
    flops *= _meetings(lhs[of_lhs[2 + i]], rhs[of_rhs[2 + i]], out[of_out[2 + i]], stride, low,
                       lhs_dilation, rhs_dilation)
  return flops


def _meetings(size, kernel, out, stride, low, lhs_dilation, rhs_dilation) -> int:
  """Number of pairs (output index, kernel index) along one axis that meet a real input."""
  places = (o * stride + k * rhs_dilation - low for o in range(out) for k in range(kernel))
  return sum(0 <= p <= (size - 1) * lhs_dilation and p % lhs_dilation == 0 for p in places)


def matrix_rate(dtype=jnp.float32, size: tuple[int, int] | None = None) -> float:
  """FLOP/s of one local device in products of large square matrices of this dtype, measured once.

  It is the median of NUM_TIMED dispatches at the default precision, as in a network; another
  process on the device lowers it. A processor is timed as a whole, for any number of devices.
  size: (side, products per dispatch); None: by platform.
  """
  size = size or RATE_SIZE.get(jax.default_backend(), RATE_SIZE_ACCELERATOR)
  return _matrix_rate(jnp.dtype(dtype), *size)


@functools.cache
def _matrix_rate(dtype, side: int, products: int) -> float:
  device = jax.local_devices()[0]
  a = np.random.default_rng(0).standard_normal((side, side), np.float32)
  a = jax.device_put((a / np.sqrt(side, dtype=np.float32)).astype(dtype), device)

  @jax.jit
  def chain(a):
    return jax.lax.fori_loop(0, products, lambda _, b: b @ a, a)

  chain(a).block_until_ready()  # compiles
  seconds = []
  for _ in range(NUM_TIMED):
    start = time.perf_counter()
    chain(a).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * side**3 * products / statistics.median(seconds)
