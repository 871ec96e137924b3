"""Independent random streams: one constant per purpose, so that their keys cannot coincide.

A key is either folded or split, never both: with partitionable threefry fold_in(key, i) is
split(key)[i], so that two draws which should be independent would be one.
"""

import enum

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl

SPLITS = ('train', 'validation', 'test')  # of data, as the index of a stream


class Purpose(enum.IntEnum):
  """What a stream is for. The indices that `stream` takes are given in brackets.

  A number that stands here is never used again: it names the draws of runs that are on disk.
  """

  INIT = 1  # initial parameters; objectives split it
  FIT = 2  # closed forms and EM
  TRAINING = 3  # [step, slice], and [step, number of slices] of what prepares the rows
  VALIDATION_DRAWS = 4  # [sample]
  TEST_DRAWS = 5  # [sample]: of evaluations, programs and users
  CODES = 6  # [split, batch, repeat]: evaluation draws an autoencoder's codes from their moments
  LIKELIHOOD = 7  # [split, batch, repeat]: latents, times, cells and probes of a likelihood
  EXACT_SAMPLES = 8  # [split]: of data whose density is known
  EDIT_SPREAD = 9  # noise under which a denoiser's error is measured
  EDIT_DRAWS = 10  # [sample]
  ENCODER_INIT = 11
  ENCODER_TRAINING = 12  # [step]
  ACCEPTANCE = 13  # [split]: which samples rejection sampling keeps
  ADAPTATION = 14  # noise on the first batch, to which fresh parameters are adapted
  LATENTS = 15  # [split, batch, repeat]: draws of latents whose moments are measured
  COMPLETIONS = 16  # [completion]: pixels that complete half an image


def stream(seed: int, purpose: Purpose, *indices) -> jax.Array:
  """The key of a purpose and its indices, integers from 0 to 2^32 - 1 that may be traced.

  seed: 0 to 2^32 - 1. A purpose takes as many indices wherever it is used, so that none of its keys
  is another's parent.
  """
  key = jax.random.fold_in(jax.random.key(seed), int(purpose))
  for index in indices:
    key = jax.random.fold_in(key, index)
  return key


def of_rows(key: jax.Array, first) -> jax.Array:
  """A key under which row r of every draw [n, ...] depends on (key, first + r) alone.

  So x [n, ...] of `Model.sample` is the same, row by row, in whatever parts it is drawn. It goes
  wherever a key goes; its draws have the rows as their leading axis.
  """
  first = jnp.asarray(first, jnp.uint32)[None]
  return jax.random.wrap_key_data(
      jnp.concatenate([jax.random.key_data(key), first]), impl=_ROWS)


def _rows_seed(seed) -> jax.Array:
  return _joined(jax.random.key(seed), jnp.zeros((), jnp.uint32))


def _rows_split(key, shape) -> jax.Array:
  return _joined(jax.random.split(_of_all(key), shape), key[2])


def _rows_fold_in(key, data) -> jax.Array:
  return _joined(jax.random.fold_in(_of_all(key), data), key[2])


def _rows_bits(key, bit_width: int, shape) -> jax.Array:
  if not shape:
    raise ValueError('a draw for samples has the samples as its leading axis; this one is a scalar')
  rows = key[2] + jnp.arange(shape[0], dtype=jnp.uint32)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(_of_all(key), rows)
  return jax.vmap(lambda key: jax.random.bits(key, shape[1:], f'uint{bit_width}'))(keys)


def _of_all(key) -> jax.Array:
  return jax.random.wrap_key_data(key[:2])


def _joined(keys, first) -> jax.Array:
  words = jax.random.key_data(keys)
  return jnp.concatenate([words, jnp.broadcast_to(first, (*words.shape[:-1], 1))], -1)


_ROWS = define_prng_impl(key_shape=(3,), seed=_rows_seed, split=_rows_split,
                         random_bits=_rows_bits, fold_in=_rows_fold_in, name='rows', tag='rows')
