"""Blocked float32 nearest neighbours, and the points that evaluators compare."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.types import BadInput

# up to this many coordinates the differences themselves are squared and summed (exact near 0);
# beyond it |a|^2 + |b|^2 - 2 ab of the centred points, a matrix product
DIRECT_DIM = 64


def squared_distances(x, y):
  """Squared Euclidean distances float32 [N, M] of the rows of x [N, d] and y [M, d]."""
  x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
  if x.shape[1] <= DIRECT_DIM:
    # one coordinate at a time: a sum over a short last axis is not vectorised on a CPU
    columns = ((x[:, i, None] - y[None, :, i]) ** 2 for i in range(x.shape[1]))
    return functools.reduce(jnp.add, columns)
  centre = y.mean(0)
  x, y = x - centre, y - centre
  gram = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(jnp.sum(x**2, 1)[:, None] + jnp.sum(y**2, 1)[None, :] - 2.0 * gram, 0.0)


@sharding.jit(static_argnames=('k', 'block', 'same'))
def nearest(x, y, *, k: int, same: bool = False, block: int = 256):
  """The k nearest rows of y for each row of x: squared distances [N, k] and indices [N, k].

  same: x is y, and a point is no neighbour of itself (by its index, so duplicates count). Equal
  distances go to the lower index. k masked minima: `lax.top_k` is several times slower on a CPU.
  """
  n, m = x.shape[0], y.shape[0]
  num_blocks = -(-n // block)
  padded = jnp.pad(x, ((0, num_blocks * block - n), (0, 0))).reshape(num_blocks, block, -1)
  column = jnp.arange(m)

  def one(args):
    rows, start = args
    d2 = squared_distances(rows, y)
    if same:
      own = start + jnp.arange(block)[:, None]
      d2 = jnp.where(column[None, :] == own, jnp.inf, d2)
    values, indices = [], []
    for _ in range(k):
      index = jnp.argmin(d2, 1)
      values.append(jnp.take_along_axis(d2, index[:, None], 1)[:, 0])
      indices.append(index)
      d2 = jnp.where(column[None, :] == index[:, None], jnp.inf, d2)
    return jnp.stack(values, 1), jnp.stack(indices, 1)

  values, indices = jax.lax.map(one, (padded, jnp.arange(num_blocks) * block))
  return values.reshape(-1, k)[:n], indices.reshape(-1, k)[:n]


def subset(x, n: int, seed: int = 0):
  """n rows of x without replacement, fixed by the seed; all of x in its order when n >= len(x)."""
  if n >= len(x):
    return x
  return x[np.sort(np.random.default_rng(seed).permutation(len(x))[:n])]


def feature_fn(evaluator: str, estimator: str, encoder, dataset):
  """x of the data set -> float32 [N, d]: the encoder's features, or for 'raw' x itself."""
  if estimator == 'raw':
    return lambda x: np.asarray(x, np.float32).reshape(len(x), -1)
  return require_encoder(evaluator, encoder, dataset).features


def require_encoder(evaluator: str, encoder, dataset):
  """The encoder; raises BadInput when the data set has none, or one that reads other data."""
  if encoder is None:
    raise BadInput(
        f'evaluator {evaluator!r} needs an encoder, and data {dataset.name!r} has none; train one '
        f'with: python -m experiments.encoder --data={dataset.name} --out=FILE.npz')
  if encoder.spec[:2] != dataset.spec[:2]:
    raise BadInput(
        f'encoder {encoder.name!r} reads {_describe(encoder.spec)}, but data {dataset.name!r} have '
        f'{_describe(dataset.spec)}; allowed: an encoder of the same shape and levels, from '
        f'python -m experiments.encoder --data={dataset.name} --out=FILE.npz')
  return encoder


def _describe(spec) -> str:
  levels = 'continuous values' if spec.levels is None else f'{spec.levels} levels'
  return f'examples of shape {tuple(spec.shape)} with {levels}'
