"""Nearest neighbours in blocks, as exact arithmetic on the float32 points would find them.

Distances of all pairs are float32 with an error bound, and only preselect: pairs that the bound
leaves undecided are decided by float64 differences on the host. So a large matrix product is
enough, on any device, and points that nearly coincide or tie lose no digits.
"""

import gc
import hashlib
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.types import BadInput

# up to this many coordinates, differences are squared and summed: their error is relative, and in
# the plane many points are close; above it, |a|^2 + |b|^2 - 2 ab of the centred points
DIRECT_DIM = 16
BLOCK = 2**24  # largest number of float32 distances in a block; memory holds a few blocks at once
MAX_ROWS = 128
GROUP = 32  # rows or columns that are reduced first
# four times the unit roundoff u of float32. A sum of d squared differences has a relative error of
# at most (d + 3) u, the other form an error of at most 2 (d + 5) u (|a|^2 + |b|^2). The rest is for
# rounded radii, and for products of bfloat16 parts on a TPU (Precision.HIGHEST)
EPS = 2.0**-22
TINY = 1e-30  # squares below float32 are lost; coordinates are scaled to at most 1
LARGE = 2**24  # bytes
FAR = 2.0**40  # coordinate of the padding of the last group


class Columns(NamedTuple):
  """Points on every device, against which blocks of rows are compared.

  Points far from all others pad M to whole groups; results of the padding are not read.
  """

  points: jax.Array  # float32 [M, d], less centre, times scale
  squares: jax.Array  # [M], their squared lengths
  centre: np.ndarray  # [d]; 0 up to DIRECT_DIM, where it would cost digits
  scale: np.float32  # a power of two: its products are exact


def place(y, *others) -> Columns:
  """y float32 [M, d] as Columns, with a scale at which rows may come from y or the others."""
  if y.nbytes > LARGE:
    gc.collect()  # JAX frees the points that were placed before only now
  centre = np.zeros(y.shape[1], np.float32)
  if y.shape[1] > DIRECT_DIM:
    centre = y.mean(0, dtype=np.float64).astype(np.float32)
  largest = max(max(float(a.max()), -float(a.min())) for a in (y, *others))
  scale = np.float32(2.0 ** -np.clip(np.ceil(np.log2(largest)) + 1 if largest else 0, -100, 100))
  points = _aligned(len(y) + -len(y) % GROUP, y.shape[1])
  points[len(y):] = FAR
  np.subtract(y, centre, out=points[:len(y)])
  points[:len(y)] *= scale
  squares = np.einsum('md,md->m', points, points)
  mesh = sharding.current_mesh()
  points, squares = jax.device_put((points, squares), mesh and sharding.replicated(mesh))
  return Columns(points, squares, centre, scale)


def _aligned(n: int, d: int) -> np.ndarray:
  """An empty array float32 [n, d], aligned so that a CPU device uses it without a copy."""
  space = np.empty(n * d + 16, np.float32)
  return space[-space.ctypes.data % 64 // 4:][:n * d].reshape(n, d)


def bounds(rows, columns: Columns):
  """(lower, upper) float32 [B, M]: of the squared distances of rows [B, d] to columns, x scale^2.

  Call it inside jit. Each of the two forms has its own error bound. Rows are sharded over devices.
  """
  x, y = sharding.constrain_batch((rows - columns.centre) * columns.scale), columns.points
  d = x.shape[1]
  if d <= DIRECT_DIM:
    # one coordinate at a time: a sum over a short last axis is not vectorised on a CPU
    d2 = sum((x[:, i, None] - y[None, :, i]) ** 2 for i in range(d))
    error = EPS * (d + 4) * d2 + TINY
  else:
    x2, y2 = jnp.sum(x**2, 1)[:, None], columns.squares[None, :]
    d2 = x2 + y2 - 2.0 * jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    error = EPS * (d + 8) * (x2 + y2) + TINY
  return d2 - error, d2 + error


def in_groups(values, axis: int):
  """[B, M] as [B / GROUP, GROUP, M] (axis 0) or [B, GROUP, M / GROUP] (1), to reduce axis 1 first.

  For larger reductions XLA keeps the operand in memory. B and M are multiples of GROUP.
  """
  return values.reshape((-1, GROUP, values.shape[1]) if axis == 0 else (len(values), GROUP, -1))


def exact(x, y, i, j):
  """float64 [P]: squared distances of x[i] and y[j], from their differences; i, j int [P]."""
  out = np.empty(len(i))
  step = max(2**17 // x.shape[1], 1)  # fits in the cache
  for start in range(0, len(i), step):
    part = slice(start, start + step)
    difference = x[i[part]].astype(np.float64)
    difference -= y[j[part]]
    out[part] = np.einsum('pd,pd->p', difference, difference)
  return out


def height(n: int, m: int) -> int:
  """Number of rows in a block of n rows against m columns: a multiple of GROUP and of devices."""
  mesh = sharding.current_mesh()
  unit = math.lcm(GROUP, mesh.size if mesh else 1)
  return unit * -(-min(n, MAX_ROWS, max(BLOCK // m, 1)) // unit)


def blocks(n: int, rows: int):
  """Yields (start, stop, indices [rows]) over n rows; the last row pads the last block."""
  for start in range(0, n, rows):
    yield start, min(start + rows, n), np.minimum(np.arange(start, start + rows), n - 1)


def nearest(x, y, *, k: int, same: bool = False):
  """Squared distances [N, k] and indices [N, k] of the k nearest rows of y for each row of x.

  x [N, d] and y [M, d] are compared as float32; distances are float64, ascending. Ties go to the
  lower index. same: x is y, and a point is not its own neighbour (by index, so duplicates count).
  Raises BadInput if y has fewer than k candidates.
  """
  x = np.ascontiguousarray(x, np.float32)
  y = x if same else np.ascontiguousarray(y, np.float32)
  if not 0 < k <= len(y) - same:
    raise BadInput(f'k={k!r} neighbours among {len(y)} points; allowed: 1 to {len(y) - same}')
  # only the first k of equal rows, apart from the point itself, can be neighbours
  rows, row_of = _first_copies(x, k + 1)
  picked, _ = (rows, row_of) if same else _first_copies(y, k + 1)
  columns = place(y if len(picked) == len(y) else y[picked], x)
  distances, indices = np.empty((len(rows), k)), np.empty((len(rows), k), np.int64)
  for start, stop, index in blocks(len(rows), height(len(rows), len(picked))):
    own = index if same else np.full_like(index, -1)
    near = np.asarray(_near(x[rows[index]], own, columns, k=k))[:stop - start]
    i, j = np.nonzero(near)
    d2 = exact(x, y, rows[index[i]], picked[j])
    order = np.lexsort((j, d2, i))
    first = order[np.searchsorted(i, np.arange(stop - start))[:, None] + np.arange(k)]
    distances[start:stop], indices[start:stop] = d2[first], picked[j[first]]
  return distances[row_of], indices[row_of]


@sharding.jit(static_argnames='k')
def _near(rows, own, columns, k):
  """bool [B, M]: whether a column may be among the k nearest of a row, excluding column `own`.

  The k-th smallest of the groups' least upper bounds is an upper bound of the k-th distance.
  """
  lower, upper = bounds(rows, columns)
  own = jnp.arange(upper.shape[1])[None, :] == own[:, None]
  upper = jnp.where(own, jnp.inf, upper)
  least = in_groups(upper, 1).min(1) if upper.shape[1] > 4 * k * GROUP else upper
  # masked minima: `lax.top_k` is several times slower on a CPU
  for _ in range(k - 1):
    at = jnp.argmin(least, 1)
    least = jnp.where(jnp.arange(least.shape[1]) == at[:, None], jnp.inf, least)
  return (lower <= least.min(1)[:, None]) & ~own


def _first_copies(x, most: int):
  """Indices of the first `most` copies of each distinct row, and each row's position among these.

  A later copy has the position of the last kept one. Rows are compared by a digest of 128 bits.
  """
  digests = [hashlib.blake2b(row, digest_size=16).digest() for row in x]
  _, group = np.unique(np.array(digests, 'V16'), return_inverse=True)
  order = np.argsort(group, kind='stable')
  start = np.searchsorted(group[order], group[order])
  copy = np.empty(len(x), np.int64)
  copy[order] = np.arange(len(x)) - start
  place_of = np.cumsum(copy < most) - 1
  last = order[start + np.minimum(copy[order], most - 1)]
  place_of[order] = place_of[last]
  return np.flatnonzero(copy < most), place_of
