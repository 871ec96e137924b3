"""Initial parameters without compiling their initialisation: numpy replays it on the host.

Compiled as one program, the initialisation of a network costs as much as its train step, since
every leaf has its own unrolled generator. Here `init_fn` is traced, and numpy evaluates the
equations on which the parameters depend (never the forward pass), the generator threefry included.
The host draws whole arrays, so the numbers are the same on every layout of devices.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from genjax.types import BadInput

_CALLS = {'jit': 'jaxpr', 'pjit': 'jaxpr', 'closed_call': 'call_jaxpr', 'remat': 'jaxpr',
          'remat2': 'jaxpr', 'checkpoint': 'jaxpr', 'custom_jvp_call': 'call_jaxpr',
          'custom_vjp_call': 'call_jaxpr'}
_CHUNK = 1 << 15  # uint32 of a threefry block that stay in the second-level cache


class _Unknown(Exception):
  """A primitive without a numpy rule."""


def initialise(init_fn: Callable, rng: jax.Array, batch: Any, shardings: Any = None) -> Any:
  """init_fn(rng, batch) as device arrays, equal to jax.jit(init_fn)'s up to float32 rounding.

  batch: arrays or ShapeDtypeStruct. shardings: None, or a tree like the result. Another generator
  than partitionable threefry, and primitives without a rule here (scan, qr), are compiled instead.
  Raises BadInput if the result needs values that `batch` lacks.
  """
  closed, shapes = jax.make_jaxpr(init_fn, return_shape=True)(rng, batch)
  flat = jax.tree.leaves(batch)
  try:
    if jax.random.key_impl(rng) != 'threefry2x32' or not jax.config.jax_threefry_partitionable:
      raise _Unknown('another generator')
    if any(_is_key(aval) for aval in closed.out_avals):
      raise _Unknown('a key as a result')
    values = _replay(closed, rng, flat)
    result = jax.tree.unflatten(jax.tree.structure(shapes), values)
  except _Unknown:
    fill = [np.zeros(x.shape, x.dtype) if _abstract(x) else x for x in flat]
    compiled = jax.jit(init_fn, out_shardings=shardings)
    return compiled(rng, jax.tree.unflatten(jax.tree.structure(batch), fill))
  if shardings is None:
    return jax.device_put(result)
  # a device receives only its shards, and a host makes only those of its devices
  return jax.tree.map(lambda a, s: jax.make_array_from_callback(a.shape, s, lambda i: a[i]),
                      result, shardings)


def _replay(closed: ClosedJaxpr, rng: jax.Array, batch: list) -> list[np.ndarray]:
  words = np.asarray(jax.random.key_data(rng) if _is_key(rng) else rng)
  key = _pack(words) if _is_key(rng) else words
  inputs = [lambda: key, *(lambda x=x: _concrete(x) for x in batch)]
  return [value() for value in _lazy(closed, inputs)]


def _is_key(x: Any) -> bool:
  return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _abstract(x: Any) -> bool:
  return isinstance(x, jax.ShapeDtypeStruct)


def _concrete(x: Any) -> np.ndarray:
  if _abstract(x):
    raise BadInput(f'the initial parameters depend on the values of a batch, but only its shape '
                   f'{x.shape} was given; allowed: arrays')
  return np.asarray(x)


def _lazy(closed: ClosedJaxpr, inputs: list[Callable]) -> list[Callable]:
  """One thunk per output; pulling it evaluates only what it depends on, each equation once."""
  jaxpr = closed.jaxpr
  source = dict(zip(jaxpr.invars, inputs, strict=True))
  source |= {v: (lambda c=c: np.asarray(c))
             for v, c in zip(jaxpr.constvars, closed.consts, strict=True)}

  def pull(atom):
    if isinstance(atom, Literal):
      return np.asarray(atom.val, atom.aval.dtype)
    return source[atom]()

  for eqn in jaxpr.eqns:
    results = _equation(eqn, [lambda a=a: pull(a) for a in eqn.invars])
    source |= dict(zip(eqn.outvars, results, strict=True))
  return [lambda a=a: pull(a) for a in jaxpr.outvars]


def _equation(eqn: Any, inputs: list[Callable]) -> list[Callable]:
  """One thunk per output of an equation, each evaluated at most once."""
  memo = {}

  def inner():
    if 'thunks' not in memo:
      body = eqn.params[_CALLS[eqn.primitive.name]]
      closed = body if isinstance(body, ClosedJaxpr) else ClosedJaxpr(body, ())
      memo['thunks'] = _lazy(closed, inputs)
    return memo['thunks']

  def output(i):
    if i not in memo:
      if eqn.primitive.name in _CALLS:
        memo[i] = inner()[i]()
      elif eqn.primitive.name == 'unstack':
        memo[i] = np.asarray(np.take(inputs[0](), i, eqn.params['axis']))
      elif eqn.primitive.name in _RULES and len(eqn.outvars) == 1:
        aval = eqn.outvars[i].aval
        out = _RULES[eqn.primitive.name](eqn.params, aval, *[pull() for pull in inputs])
        memo[i] = np.asarray(out, np.uint64 if _is_key(aval) else aval.dtype)
      else:
        raise _Unknown(eqn.primitive.name)
    return memo[i]

  return [lambda i=i: output(i) for i in range(len(eqn.outvars))]


def _threefry(key: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The two output words of Threefry-2x32-20 (Salmon et al., SC 2011) for 64-bit counters."""
  k0, k1 = (key >> np.uint64(32)).astype(np.uint32), key.astype(np.uint32)
  keys = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
  x, y = (count >> np.uint64(32)).astype(np.uint32) + k0, count.astype(np.uint32) + k1
  for i in range(5):
    for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
      x += y
      y = (y << np.uint32(rotation) | y >> np.uint32(32 - rotation)) ^ x
    x += keys[(i + 1) % 3]
    y += keys[(i + 2) % 3] + np.uint32(i + 1)
  return x, y


def _pack(words: np.ndarray) -> np.ndarray:
  """uint32 [..., 2] -> uint64 [...]: so a key is one number, whatever is done to its shape."""
  return words[..., 0].astype(np.uint64) << np.uint64(32) | words[..., 1].astype(np.uint64)


def _unpack(keys: np.ndarray) -> np.ndarray:
  return np.stack([keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)], -1).astype(np.uint32)


def _child(key: np.ndarray, count: np.ndarray) -> np.ndarray:
  with np.errstate(over='ignore'):  # threefry adds modulo 2^32
    return _pack(np.stack(_threefry(key, np.asarray(count, np.uint64)), -1))


def _bits(params: dict, aval: Any, key: np.ndarray) -> np.ndarray:
  if params['bit_width'] > 32:
    raise _Unknown('random_bits of 64')
  size = int(np.prod(params['shape']))
  out = np.empty((key.size, size), aval.dtype)
  with np.errstate(over='ignore'):
    for row, k in zip(out, key.reshape(-1, 1), strict=True):
      for start in range(0, size, _CHUNK):
        x, y = _threefry(k, np.arange(start, min(start + _CHUNK, size), dtype=np.uint64))
        row[start:start + _CHUNK] = x ^ y  # narrower draws keep the low bits
  return out.reshape(aval.shape)


def _split(params: dict, aval: Any, key: np.ndarray) -> np.ndarray:
  count = np.arange(int(np.prod(params['shape'])), dtype=np.uint64)
  return _child(key.reshape(-1, 1), count).reshape(aval.shape)


def _broadcast(params: dict, aval: Any, x: np.ndarray) -> np.ndarray:
  kept = dict(zip(params['broadcast_dimensions'], x.shape, strict=True))
  shape = [kept.get(i, 1) for i in range(len(aval.shape))]
  return np.broadcast_to(x.reshape(shape), aval.shape)


def _slice(params: dict, _: Any, x: np.ndarray) -> np.ndarray:
  strides = params['strides'] or (1,) * x.ndim
  bounds = zip(params['start_indices'], params['limit_indices'], strides, strict=True)
  return x[tuple(slice(*b) for b in bounds)]


def _iota(params: dict, aval: Any) -> np.ndarray:
  shape = [-1 if i == params['dimension'] else 1 for i in range(len(aval.shape))]
  return np.broadcast_to(np.arange(aval.shape[params['dimension']]).reshape(shape), aval.shape)


# Giles (2010), "Approximating the erfinv function", single precision: what XLA evaluates too.
_ERF_INV = np.asarray([
    [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
     -0.00125372503, -0.00417768164, 0.246640727, 1.50140941],
    [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
     -0.0076224613, 0.00943887047, 1.00167406, 2.83297682]], np.float32)


def _erf_inv(x: np.ndarray) -> np.ndarray:
  x = x.astype(np.float32)
  with np.errstate(divide='ignore', invalid='ignore'):
    w = -np.log1p(-x * x)
    tail = w >= 5
    factor = _horner(_ERF_INV[0], w - np.float32(2.5))
    factor[tail] = _horner(_ERF_INV[1], np.sqrt(w[tail]) - np.float32(3))
    return np.where(np.abs(x) == 1, np.copysign(np.inf, x), factor * x)


def _horner(coefficients: np.ndarray, w: np.ndarray) -> np.ndarray:
  total = np.full_like(w, coefficients[0])
  for c in coefficients[1:]:
    total *= w
    total += c
  return total


_ELEMENTWISE = {
    'add': np.add, 'sub': np.subtract, 'mul': np.multiply, 'max': np.maximum, 'min': np.minimum,
    'neg': np.negative, 'abs': np.abs, 'sqrt': np.sqrt, 'exp': np.exp, 'log': np.log,
    'log1p': np.log1p, 'rsqrt': lambda x: 1 / np.sqrt(x), 'pow': np.power,
    'square': np.square, 'sin': np.sin, 'cos': np.cos,
    'floor': np.floor, 'rem': np.fmod, 'nextafter': np.nextafter, 'erf': np.vectorize(math.erf),
    'erf_inv': _erf_inv, 'shift_left': np.left_shift, 'or': np.bitwise_or,
    'and': np.bitwise_and, 'xor': np.bitwise_xor, 'eq': np.equal, 'ne': np.not_equal,
    'lt': np.less, 'le': np.less_equal, 'gt': np.greater, 'ge': np.greater_equal,
    'stop_gradient': np.asarray, 'copy': np.asarray, 'convert_element_type': np.asarray,
    'random_fold_in': _child, 'random_wrap': _pack, 'random_unwrap': _unpack,
    'random_clone': np.asarray,
}

# name -> (parameters, type of the result, operands) -> result
_RULES = {name: (lambda _, __, *xs, f=f: f(*xs)) for name, f in _ELEMENTWISE.items()} | {
    'random_bits': _bits, 'random_split': _split, 'broadcast_in_dim': _broadcast,
    'slice': _slice, 'iota': _iota,
    'shift_right_logical':
        lambda _, aval, x, n: np.right_shift(x, n) if aval.dtype.kind == 'u' else _raise('shift'),
    'div': lambda _, aval, x, y: x / y if aval.dtype.kind != 'i' else _raise('div of integers'),
    'integer_pow': lambda p, _, x: x ** p['y'],
    'select_n': lambda _, __, which, *xs: np.choose(which, xs) if len(xs) > 2 else np.where(
        which, xs[1], xs[0]),
    'bitcast_convert_type': lambda _, aval, x: x.view(aval.dtype).reshape(aval.shape),
    'reshape': lambda _, aval, x: x.reshape(aval.shape),
    'squeeze': lambda _, aval, x: x.reshape(aval.shape),
    'transpose': lambda p, _, x: np.transpose(x, p['permutation']),
    'concatenate': lambda p, _, *xs: np.concatenate(xs, p['dimension']),
    'reduce_sum': lambda p, aval, x: np.sum(x, axis=tuple(p['axes']), dtype=aval.dtype),
}


def _raise(name: str):
  raise _Unknown(name)
