"""Histograms: joint where the cells can be counted, else a product of one-dimensional ones.

Exact masses for data with levels, one cell per level. Continuous x: the cells fill the box of the
training values, and beyond it the density would be 0. So it is (1 - outside) times the histogram
plus outside times a Gaussian on the middle of the box, of half its width as standard deviation (a
product: in each dimension). Both integrate to 1, hence so does their sum, and log_prob is finite.
Masses and edges are parameters, on the finest cells that may be chosen; fewer bins are equal masses
of neighbours. Edges are not trained.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logit

from genjax import prob
from genjax.models.gaussian import flatten
from genjax.types import BadInput, DataSpec, Model

MAX_CELLS = 2**16  # of a joint histogram
MAX_BINS = 2**8  # per dimension, where cross-validation chooses
LEAST_BINS = 8  # per dimension, that a joint histogram must have room for, unless it is asked for
SMOOTHINGS = np.logspace(-3, 2, 26)  # pseudo-counts that cross-validation chooses from
INIT_SIDE, INIT_OUTSIDE = 4.0, 1e-3  # before a fit
# ascending numbers [D, K], values [B, D] -> how many of the numbers each reaches, int [B, D]
_PLACE = jax.vmap(partial(jnp.searchsorted, side='right'), (0, 1), 1)


def make(spec: DataSpec, *, num_bins: int | None = None, joint: bool | None = None,
         smoothing: float | None = None, outside: float | None = None,
         init_scale: float = 1.0) -> Model:
  """Returns a histogram over x flattened to [B, D]; `cond` is ignored.

  num_bins: cells of equal width per dimension; None: the power of 2, at most MAX_BINS, of the
    largest leave-one-out likelihood of the training split. Data with levels: each is a cell.
  joint: one histogram of at most MAX_CELLS cells; False: p(x) = prod_d p_d(x_d). None: joint if
    num_bins^D (levels^D) fits; where num_bins is chosen, if 8^D fits (D <= 5).
  smoothing: pseudo-count of every cell, above 0; None: by leave-one-out likelihood, one for all.
  outside: share of the floor, see below; None: 2 / (N + 1) per dimension, the expected mass outside
    the range of N exchangeable rows.
  init_scale: for training by gradient: equal masses, cells from -4 to 4 init_scale.

  The density is constant within a cell: no energy, no differentiable sample. Raises BadInput for
  keywords of other data, too many cells, smoothing 0, a fit of fewer than 2 rows.
  """
  with_levels = spec.levels is not None
  _check(spec, num_bins, smoothing, outside)
  cells = layout(int(np.prod(spec.shape)), spec.levels or num_bins, joint)
  bins = cells.bins

  def init(rng, batch):
    del rng, batch
    params = {'log_mass': jnp.zeros((cells.groups, cells.num)), 'chosen': {
        'num_bins': jnp.float32(bins), 'smoothing': jnp.float32(smoothing or 0.0)}}
    if with_levels:
      return params
    side = jnp.full(cells.dim, INIT_SIDE * init_scale)
    return {**params, 'edges': edges_of(-side, side, bins),
            'outside_logit': logit(jnp.float32(outside or INIT_OUTSIDE))}

  def log_prob(params, batch, rng):
    del rng
    if not with_levels:
      return log_density(cells, params, flatten(batch['x']))
    index = cells.index(prob.to_levels(flatten(batch['x']), bins))
    return log_mass(cells, params, index).sum(-1)

  def sample(params, rng, n, cond):
    del cond
    rng_cell, rng_x = jax.random.split(rng)
    per_dim = cells.bins_of(draw_cells(cells, params, rng_cell, n))
    x = prob.from_levels(per_dim, bins) if with_levels else place(cells, params, rng_x, per_dim)
    return x.reshape(n, *spec.shape), 0  # no network is evaluated

  def fit(rng, x_train):
    del rng
    x = np.asarray(flatten(x_train), np.float32)
    if with_levels:
      return fit_masses(cells, np.asarray(prob.to_levels(x, bins)), (bins,), smoothing)
    edges = edges_of(*box_of(x), bins)
    candidates = (bins,) if num_bins else tuple(2**i for i in range(bins.bit_length()))
    per_dim = np.asarray(jax.jit(bins_in)(edges, x))
    share = outside or min(2 * cells.axes / (len(x) + 1), 0.5)
    return {**fit_masses(cells, per_dim, candidates, smoothing), 'edges': edges,
            'outside_logit': logit(jnp.float32(share))}

  return Model(init=init, sample=sample, log_prob=log_prob, fit=fit)


def _check(spec: DataSpec, num_bins, smoothing, outside) -> None:
  if spec.levels is not None and (num_bins is not None or outside is not None):
    name = 'outside' if num_bins is None else 'num_bins'
    raise BadInput(f'{name} belongs to continuous data; these have {spec.levels} levels, of which '
                   f'each is a cell: leave {name} out')
  if smoothing == 0:
    raise BadInput('smoothing=0 gives cells without training rows the mass 0, and their likelihood '
                   'is infinitely bad; allowed: numbers > 0, or None for cross-validation')


def layout(dim: int, bins: int | None, joint: bool | None) -> 'Cells':
  """The cells, where the user leaves open whether they are joint, or their number."""
  if joint is None:
    joint = (bins or LEAST_BINS) ** dim <= MAX_CELLS
  if joint and (bins or 2) ** dim > MAX_CELLS:
    raise BadInput(f'joint=True: {bins or 2} bins in each of {dim} dimensions are more than '
                   f'{MAX_CELLS} cells; allowed: joint=False, a product of one-dimensional '
                   'histograms, or fewer bins')
  if bins is None:
    bins = MAX_BINS
    while joint and bins**dim > MAX_CELLS:
      bins //= 2
  return Cells(dim, bins, joint)


class Cells(NamedTuple):
  """How the bins of D dimensions are cells: `groups` independent histograms of `num` cells."""

  dim: int
  bins: int  # per dimension
  joint: bool

  @property
  def axes(self) -> int:
    """Dimensions of one histogram."""
    return self.dim if self.joint else 1

  @property
  def groups(self) -> int:
    """Histograms whose densities multiply."""
    return self.dim // self.axes

  @property
  def num(self) -> int:
    """Cells of one histogram."""
    return self.bins**self.axes

  @property
  def strides(self) -> np.ndarray:
    """By how many cells the next bin of each dimension of a histogram lies further."""
    return self.bins ** np.arange(self.axes)[::-1]

  def index(self, per_dim):
    """Bins [B, D] -> cells [B, groups]."""
    return self.by_group(per_dim * np.tile(self.strides, self.groups))

  def bins_of(self, index):
    """Cells [B, groups] -> bins [B, D]."""
    return (index[..., None] // self.strides % self.bins).reshape(-1, self.dim)

  def by_group(self, values):
    """The sum over the dimensions of each histogram: [B, D] -> [B, groups]."""
    return values.reshape(-1, self.groups, self.axes).sum(-1)


def box_of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Least and largest value [D] of each dimension of x [N, D]; 1 apart where it is constant."""
  low, high = x.min(0), x.max(0)
  middle, flat = (low + high) / 2, high - low <= 1e-6 * np.maximum(np.abs(high), 1e-30)
  return np.where(flat, middle - 0.5, low), np.where(flat, middle + 0.5, high)


def edges_of(low, high, bins: int) -> jax.Array:
  """bins cells of equal width from low to high [D]: [D, bins + 1]."""
  return jnp.linspace(jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32), bins + 1,
                      axis=-1)


def bins_in(edges, x) -> jax.Array:
  """The bin of each x [B, D] in its dimension, int [B, D]; beyond the edges the nearest."""
  return _PLACE(edges[:, 1:-1], x)


def log_mass(cells: Cells, params: dict, index) -> jax.Array:
  """log masses [B, groups] of cells [B, groups]."""
  normalised = jax.nn.log_softmax(params['log_mass'], axis=-1)
  return normalised[jnp.arange(cells.groups), index]


def log_density(cells: Cells, params: dict, x) -> jax.Array:
  """log p(x) [B] in nats of continuous x [B, D], the floor included."""
  edges = jax.lax.stop_gradient(params['edges'])
  per_dim, widths = bins_in(edges, x), jnp.diff(edges)
  inside = cells.by_group((x < edges[:, 0]) | (x > edges[:, -1])) == 0
  log_width = jnp.log(widths[jnp.arange(cells.dim), per_dim])
  log_p = log_mass(cells, params, cells.index(per_dim)) - cells.by_group(log_width)
  log_floor = cells.by_group(prob.normal_log_prob(x, *_floor(edges)))
  log_floor += jax.nn.log_sigmoid(params['outside_logit'])
  log_p += jax.nn.log_sigmoid(-params['outside_logit'])
  return jnp.where(inside, jnp.logaddexp(log_floor, log_p), log_floor).sum(-1)


def _floor(edges):
  """Mean and standard deviation [D] of the Gaussian that reaches beyond the edges."""
  return (edges[:, 0] + edges[:, -1]) / 2, (edges[:, -1] - edges[:, 0]) / 2


def draw_cells(cells: Cells, params: dict, rng, n: int) -> jax.Array:
  """n cells of each histogram by their masses, int [n, groups]."""
  cumulative = jnp.cumsum(jax.nn.softmax(params['log_mass'], axis=-1), axis=-1)
  u = jax.random.uniform(rng, (n, cells.groups)) * cumulative[:, -1]
  return jnp.clip(_PLACE(cumulative, u), 0, cells.num - 1)


def place(cells: Cells, params: dict, rng, per_dim) -> jax.Array:
  """Points [n, D]: uniform in the cells of bins [n, D], or by its share a draw of the floor."""
  edges, (n, dim) = params['edges'], per_dim.shape
  rng_u, rng_floor, rng_z = jax.random.split(rng, 3)
  left = edges[jnp.arange(dim), per_dim]
  x = left + jax.random.uniform(rng_u, (n, dim)) * jnp.diff(edges)[jnp.arange(dim), per_dim]
  middle, half = _floor(edges)
  share = jax.nn.sigmoid(params['outside_logit'])
  beyond = jax.random.uniform(rng_floor, (n, cells.groups)) < share
  return jnp.where(jnp.repeat(beyond, cells.axes, axis=1),
                   middle + half * jax.random.normal(rng_z, (n, dim)), x)


def fit_masses(cells: Cells, per_dim: np.ndarray, candidates: tuple[int, ...],
               smoothing: float | None) -> dict:
  """{'log_mass', 'chosen'} from bins [N, D]: those bins and that smoothing of the largest score.

  candidates: numbers of bins per dimension, each a divisor of cells.bins.
  """
  if len(per_dim) < 2:
    raise BadInput(f'a histogram of {len(per_dim)} training rows; allowed: at least 2')
  index, shape = cells.index(per_dim), (cells.groups, *[cells.bins] * cells.axes)
  counts = np.stack([np.bincount(index[:, g], minlength=cells.num)
                     for g in range(cells.groups)]).reshape(shape)
  smoothings = SMOOTHINGS if smoothing is None else np.array([smoothing])
  coarse = {bins: coarsened(counts, bins) for bins in candidates}
  scores = {bins: leave_one_out(coarse[bins].reshape(cells.groups, -1), smoothings)
            for bins in candidates}
  bins = max(candidates, key=lambda bins: scores[bins].max())
  smoothing = smoothings[np.argmax(scores[bins])]
  mass = (coarse[bins] + smoothing) / (len(index) + smoothing * bins**cells.axes)
  for axis in range(1, cells.axes + 1):
    mass = np.repeat(mass, cells.bins // bins, axis) * bins / cells.bins
  return {'log_mass': jnp.asarray(np.log(mass).reshape(cells.groups, -1), jnp.float32),
          'chosen': {'num_bins': jnp.float32(bins), 'smoothing': jnp.float32(smoothing)}}


def coarsened(counts: np.ndarray, bins: int) -> np.ndarray:
  """Counts [groups, K, ..., K] of K bins per dimension as those of `bins`, a divisor of K."""
  groups, axes, fine = len(counts), counts.ndim - 1, counts.shape[-1]
  return counts.reshape(groups, *[bins, fine // bins] * axes).sum(tuple(range(2, 2 * axes + 1, 2)))


def leave_one_out(counts: np.ndarray, smoothings: np.ndarray) -> np.ndarray:
  """The leave-one-out log-likelihood of counts [groups, B] for each smoothing [S], nats per row.

  Summed over the groups: 1 / N sum_c n_c log((n_c - 1 + a) / (N - 1 + a B)) + log B, where log B
  makes equal cells of one box comparable between numbers of cells.
  """
  groups, num_cells = counts.shape
  total = counts[0].sum()
  value, multiplicity = np.unique(counts[counts > 0], return_counts=True)
  held = (multiplicity * value * np.log(value - 1 + smoothings[:, None])).sum(-1) / total
  return held + groups * (np.log(num_cells) - np.log(total - 1 + smoothings * num_cells))
