"""Kernel density estimate: one Gaussian bandwidth around training rows, chosen by held-out rows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.models.gaussian import flatten
from genjax.types import BadInput, DataSpec, Model

ABSENT = -1e30  # log weight of a centre that does not count; finite, so that gradients are
EXPLICIT = 16  # up to this dimension distances are sums of squared differences
BLOCK = 2**22  # numbers of a block of distances
VALIDATED = 2048  # held-out rows that choose the bandwidth
DECADES, NUM_GRID, NUM_GRIDS = (-3.0, 1.0), 17, 3  # of the search, around Scott's bandwidth


def make(spec: DataSpec, *, num_points: int = 2048, bandwidth: float | None = None,
         folds: int | None = None, init_scale: float = 1.0) -> Model:
  """Returns p(x) = 1 / N sum_i N(x; c_i, h^2 I) over x flattened to [B, D]; `cond` is ignored.

  num_points: places for centres. The parameters of a checkpoint have one shape, known before the
    data are read, so the number of places is a keyword: of a larger training split `fit` draws as
    many rows without replacement, and a smaller one leaves places empty, with weight 0.
  bandwidth: h, in units of x; None: `fit` chooses the h of the largest cross-validated likelihood.
  folds: None: exact leave-one-out; k: k folds of the centres.
  init_scale: for training by gradient: centres init_scale z, and Scott's bandwidth for that scale.

  The search is over log h: NUM_GRID points in DECADES around Scott's bandwidth, refined twice
  between the neighbours of the best (to 1 %), on at most VALIDATED held-out rows. Data with levels
  are a dequantised density: centres stay on the grid, held-out rows get the noise of their cell.
  Draws are a row plus noise. Rows are drawn with fixed weights, so `rsample` has the exact gradient
  in centres and bandwidth. Raises BadInput for fewer than 2 folds, and in `fit` for fewer rows than
  folds, or repeated rows, whose likelihood grows without bound as h shrinks.
  """
  if folds is not None and not 2 <= folds <= num_points:
    raise BadInput(f'folds={folds}; allowed: 2 to num_points={num_points}, or None for leave-one-'
                   'out')
  dim = int(np.prod(spec.shape))

  def init(rng, batch):
    del batch
    h = bandwidth or max(init_scale, 1e-6) * num_points ** (-1 / (dim + 4))
    return {'centres': init_scale * jax.random.normal(rng, (num_points, dim)),
            'weights': jnp.ones(num_points), 'log_bandwidth': jnp.log(jnp.float32(h))}

  def rsample(params, rng, n, cond):
    del cond
    return draw(params, rng, n).reshape(n, *spec.shape)

  def sample_and_log_prob(params, rng, n, cond):
    x = rsample(params, rng, n, cond)
    return x, log_density(params, flatten(x))

  def fit(rng, x_train):
    rng_rows, rng_noise = jax.random.split(rng)
    x = np.asarray(flatten(x_train), np.float32)
    rows = x[np.asarray(jax.random.permutation(rng_rows, len(x)))[:num_points]]
    log_h = np.log(bandwidth) if bandwidth else choose_log_bandwidth(
        rows, np.asarray(prob.cell_noise(rng_noise, jnp.asarray(rows), spec.levels)), folds)
    empty = num_points - len(rows)
    return {'centres': jnp.asarray(np.pad(rows, ((0, empty), (0, 0)))),
            'weights': jnp.asarray(np.pad(np.ones(len(rows), np.float32), (0, empty))),
            'log_bandwidth': jnp.float32(log_h)}

  return prob.dequantise(Model(
      init=init,
      # no network is evaluated
      sample=lambda params, rng, n, cond: (rsample(params, rng, n, cond), 0),
      rsample=rsample,
      log_prob=lambda params, batch, rng: log_density(params, flatten(batch['x'])),
      sample_and_log_prob=sample_and_log_prob,
      energy=lambda params, x, cond: -log_density(params, flatten(x)),
      fit=fit), spec)


def draw(params: dict, rng, n: int) -> jax.Array:
  """n draws [n, D]: a centre by its weight, plus h z; differentiable in centres and bandwidth."""
  rng_row, rng_z = jax.random.split(rng)
  centres = params['centres']
  cumulative = jnp.cumsum(jax.lax.stop_gradient(params['weights']))
  u = jax.random.uniform(rng_row, (n,)) * cumulative[-1]
  row = jnp.clip(jnp.searchsorted(cumulative, u, side='right'), 0, len(centres) - 1)
  return centres[row] + jnp.exp(params['log_bandwidth']) * jax.random.normal(
      rng_z, (n, centres.shape[1]))


def log_density(params: dict, x) -> jax.Array:
  """log p(x) [B] in nats of x [B, D], a block of centres at a time."""
  return log_densities(x, params['centres'], params['weights'], params['log_bandwidth'][None])[0]


def log_densities(x, centres, weights, log_bandwidths, folds=None) -> jax.Array:
  """log sum_j w_j N(x; c_j, h^2 I) / sum_j w_j of x [B, D] for each of [G] bandwidths: [G, B].

  folds: (fold of x [B], fold of the centres [P]), both int: leaves out the centres in x's fold.
  """
  (batch, dim), num = x.shape, len(centres)
  weights = jax.lax.stop_gradient(weights)
  # the mean is taken off: products of large coordinates would lose the digits of a distance
  shift = jax.lax.stop_gradient(weights @ centres / weights.sum())
  x, centres = x - shift, centres - shift
  of_x, of_centres = folds or (jnp.zeros(batch, int), jnp.ones(num, int))
  size = int(np.clip(BLOCK // (batch * (dim if dim <= EXPLICIT else 1)), 1, num))

  def blocks(a):
    return jnp.pad(a, [(0, -num % size)] + [(0, 0)] * (a.ndim - 1)).reshape(-1, size, *a.shape[1:])

  def add(state, block):
    total, mass = state
    c, w, fold = block
    present = (w > 0) & (of_x[:, None] != fold)
    log_w = jnp.where(present, jnp.log(jnp.where(w > 0, w, 1.0)), ABSENT)
    d2 = squared_distances(x, c)
    part = jax.lax.map(lambda log_h: jax.nn.logsumexp(
        log_w - 0.5 * d2 * jnp.exp(-2 * log_h), axis=-1), log_bandwidths)
    return (jnp.logaddexp(total, part), mass + jnp.where(present, w, 0.0).sum(-1)), None

  start = jnp.full((len(log_bandwidths), batch), ABSENT), jnp.zeros(batch)
  # a gradient computes a block's distances again instead of keeping those of all blocks
  (total, mass), _ = jax.lax.scan(jax.checkpoint(add), start, (
      blocks(centres), blocks(weights), blocks(of_centres)))
  return total - jnp.log(mass) - dim * (log_bandwidths[:, None] + 0.5 * prob.LOG_2PI)


def squared_distances(x, centres) -> jax.Array:
  """|x_i - c_j|^2 [B, C] of x [B, D] and centres [C, D].

  In high dimension by products: distances between neighbours are then as large as |x|^2.
  """
  if x.shape[1] <= EXPLICIT:
    return ((x[:, None] - centres) ** 2).sum(-1)
  products = jnp.matmul(x, centres.T, precision='highest')
  return jnp.maximum((x**2).sum(-1)[:, None] - 2 * products + (centres**2).sum(-1), 0.0)


@partial(jax.jit, static_argnames='folds')
def cross_validated(rows, held, log_bandwidths, folds: int | None = None) -> jax.Array:
  """The mean held-out log density of each bandwidth, [G] nats per row.

  held [V, D]: the first V of rows [N, D], with noise or without, each under the density of the rows
  in other folds. folds: k contiguous ones, the first N % k of them longer by one, as in
  scikit-learn's KFold; None: leave-one-out.
  """
  num = len(rows)
  fold = np.repeat(np.arange(folds or num), [len(part) for part in np.array_split(
      np.arange(num), folds or num)])
  return log_densities(held, rows, jnp.ones(num), log_bandwidths,
                       (jnp.asarray(fold[:len(held)]), jnp.asarray(fold))).mean(-1)


def choose_log_bandwidth(rows: np.ndarray, held: np.ndarray, folds: int | None) -> float:
  """log h of the largest `cross_validated` likelihood of rows [N, D]."""
  num, dim = rows.shape
  if num < (folds or 2):
    raise BadInput(f'{num} training rows are too few to choose a bandwidth by '
                   f'{"leave-one-out" if folds is None else f"{folds} folds"}; allowed: at least '
                   f'{folds or 2}, or model.bandwidth=NUMBER')
  scale = max(float(np.sqrt(rows.var(0).mean())), 1e-6)
  start = np.log(scale) - np.log(num) / (dim + 4)  # Scott 1992
  grid = start + np.log(10) * np.linspace(*DECADES, NUM_GRID)
  for refinement in range(NUM_GRIDS):
    scores = np.asarray(cross_validated(rows, held[:VALIDATED], jnp.asarray(grid, jnp.float32),
                                        folds))
    best = int(np.argmax(scores))
    if refinement == 0 and best == 0:
      raise BadInput('the cross-validated likelihood still grows at bandwidth '
                     f'{np.exp(grid[0]):.2g}, a thousandth of the usual one: most training rows '
                     'are repeated. Allowed: model.bandwidth=NUMBER, or data without repetitions')
    step = grid[1] - grid[0]
    grid = grid[best] + step * np.linspace(-1, 1, NUM_GRID)
  return float(grid[NUM_GRID // 2])
