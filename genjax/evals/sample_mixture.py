"""A mixture of Gaussians around samples, each of its own width: its fit and its likelihood.

The widths are fitted to other rows (2302.04440): if one of these coincides with a sample, its
Gaussian becomes a spike. The constants are those of the published code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import sharding
from genjax.evals import neighbours

LEARNING_RATE = 0.5  # of Adam on the log variances
NUM_EPOCHS = 50
BATCH = 10_000  # training rows per update
ORIGIN = 0.9  # factor on the rows' distances to their mean, for the extra component while fitting
CLIP = -40.0, 20.0  # range of log variances: that of an exact copy has no minimum
BLOCK = 2**24  # pairs processed at once
ROWS = 512
# squared distances below this times d + 8 times the sum of squares may have lost over a hundredth
NEAR = 100 * 2.0**-22  # in the matrix product, and are computed from the differences


class Mixture(NamedTuple):
  """Equally weighted isotropic Gaussians."""

  centres: np.ndarray  # float32 [N, d]
  log_variance: np.ndarray  # float32 [N]


def distances(rows, centres) -> np.ndarray:
  """float32 [M, N]: squared distances of rows [M, d] and centres [N, d]; 0 for equal points."""
  shift = centres.mean(0)
  a, b = rows - shift, centres - shift
  a2, b2 = (np.einsum('nd,nd->n', c, c)[:, None] for c in (a, b))
  out = np.empty((len(rows), len(centres)), np.float32)
  for start in range(0, len(rows), ROWS):
    index = np.minimum(np.arange(start, start + ROWS), len(rows) - 1)
    part = np.asarray(_products(a[index], b))[:len(rows) - start]
    size = a2[start:start + ROWS] + b2.T
    part = np.maximum(size - 2.0 * part, 0.0)
    i, j = np.nonzero(part < NEAR * (a.shape[1] + 8) * size)
    part[i, j] = neighbours.exact(rows, centres, start + i, j)
    out[start:start + ROWS] = part
  return out


@sharding.jit
def _products(a, b):
  return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def fit(centres, rows) -> Mixture:
  """The mixture around centres [N, d] whose variances make rows [M, d] likely.

  Adam starts from the best variance for the nearest row. An extra component at the mean of the
  rows, as heavy as all others together, gives each row some likelihood during the fit.
  """
  m, d2 = len(rows), distances(rows, centres)
  to_mean = ORIGIN**2 * np.sum((rows - rows.mean(0)) ** 2, 1, dtype=np.float32)
  size = min(m, BATCH)
  height = max(min(size, BLOCK // len(centres)), 1)
  # [batches, blocks, height]: a batch is processed in blocks; padding has no weight
  index = np.arange(-(-size // height) * height)[None] + np.arange(0, m, size)[:, None]
  index = index.reshape(len(index), -1, height)
  ends = np.minimum(np.arange(0, m, size) + size, m)[:, None, None]
  weight = np.where(index < ends, 1.0 / np.minimum(size, ends - index[:, :1, :1]), 0.0)
  index = np.minimum(index, m - 1)
  return Mixture(centres, np.asarray(_descend(
      d2.min(0), d2 if index.shape == (1, 1, m) else d2[index], to_mean[index],
      weight.astype(np.float32), rows.shape[1])))


@sharding.jit
def _descend(least, d2, to_mean, weight, dim):
  """float32 [N]: log_variance after NUM_EPOCHS over the batches."""
  d2 = d2.reshape(*weight.shape, len(least))
  optimiser = optax.adam(LEARNING_RATE)
  params = {'samples': jnp.log((least + 1e-3) / dim), 'origin': jnp.zeros(())}

  def update(carry, batch):
    params, state = carry
    add = lambda total, block: (jax.tree.map(jnp.add, total, _gradient(params, *block, dim)), None)
    gradient, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), batch)
    change, state = optimiser.update(gradient, state)
    params = optax.apply_updates(params, change)
    return ({**params, 'samples': jnp.clip(params['samples'], *CLIP)}, state), None

  epoch = lambda carry, _: (jax.lax.scan(update, carry, (d2, to_mean, weight))[0], None)
  carry, _ = jax.lax.scan(epoch, (params, optimiser.init(params)), None, length=NUM_EPOCHS)
  return carry[0]['samples']


def _log_normal(d2, log_variance, dim):
  return -0.5 * (d2 * jnp.exp(-log_variance) + dim * (log_variance + jnp.log(2 * jnp.pi)))


@jax.grad
def _gradient(params, d2, to_mean, weight, dim):
  """The gradient of the weighted mean of the negative log-likelihood per dimension."""
  each = _log_normal(d2, params['samples'], dim) - jnp.log(d2.shape[1])
  origin = _log_normal(to_mean, params['origin'], dim)
  log_p = jnp.logaddexp(jax.scipy.special.logsumexp(each, 1), origin)
  return -jnp.sum(weight * log_p) / dim


@sharding.jit
def _log_sum(d2, log_variance, present, dim):
  each = jnp.where(present, _log_normal(d2, log_variance, dim), -jnp.inf)
  return jax.scipy.special.logsumexp(each, 1) - jnp.log(d2.shape[1])


def log_likelihood(mixture: Mixture, rows, d2=None, present=True) -> np.ndarray:
  """float64 [M]: nats per dimension of rows [M, d], without the extra component of the fit.

  d2: `distances`, if known; present: bool [N], the components that count.
  """
  d2, dim = distances(rows, mixture.centres) if d2 is None else d2, rows.shape[1]
  height = max(BLOCK // d2.shape[1], 1)
  parts = [_log_sum(d2[i:i + height], mixture.log_variance, present, dim)
           for i in range(0, len(d2), height)]
  return np.concatenate(parts).astype(np.float64) / dim
