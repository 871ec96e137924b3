"""Do samples lie nearer to the training set than fresh data do? C_T and authenticity."""

from typing import NamedTuple

import numpy as np

from genjax import disk
from genjax.evals import card as cards
from genjax.evals import neighbours, planted, two_sample
from genjax.evals.kinds import COPIES, Floor, OfSamples
from genjax.types import Estimator

METRICS = ('c_t', 'authpct')
Z_LEVEL = -1.6448536269514722  # normal quantile of planted.LEVEL
NUM_DIMS = 64  # principal components; this, 3 cells and AT_LEAST as C_T is commonly computed
AT_LEAST = 20  # a cell counts if it has more samples than this
FLOORS = (COPIES, Floor('_data', 'split', ('authpct',)))
ESTIMAND = 'share among independent samples, given the training set'
STATISTIC = ('a test statistic: standard normal over samples and held-out sets, given the training '
             'set, where samples are fresh draws of the data')


class Cells(NamedTuple):
  """A partition of the space by the training set, in which distances to it are taken."""

  mean: np.ndarray  # [d]
  components: np.ndarray | None  # [d, NUM_DIMS]; None: the space as it is
  centres: np.ndarray  # [K, .]
  train: np.ndarray  # [M, .]
  cell: np.ndarray  # int [M]


class Placed(NamedTuple):
  """The cell of each point [N], and its squared distance to the nearest training point there."""

  cell: np.ndarray
  distance: np.ndarray


class DataCopying(NamedTuple):
  """C_T, and the index, z and weight of each cell that counts."""

  value: float
  average: float  # the paper's weighted average
  cell: np.ndarray
  z: np.ndarray
  weight: np.ndarray


def make(*, num_cells: int = 3, num_plantings: int = 20, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of c_t, authpct, c_t_copies, authpct_copies and authpct_data.

  c_t: see `c_t`; << 0: copies, >> 0: samples lie farther from the training set than held-out data.
  authpct: per cent of `authentic` samples (2102.08921, as it is commonly computed). `_copies`:
  training examples instead of the samples; `_data`: held-out ones. Distances are Euclidean in
  `two_sample.space`.
  """
  def measure(x, reference, train, encoder, card):
    x, fresh, train = (np.asarray(encoder.features(a), np.float32).reshape(len(a), -1)
                       for a in (x, reference, train))

    def of_metric(metric, **extra):
      rule = ({'unit': 'z', 'num_cells': num_cells, 'n_held_out': len(fresh),
               'combined': 'sum w z / sqrt(sum w^2)'} if metric == 'c_t' else
              {'unit': 'per cent', 'ties': 'equal distances are not authentic'})
      return card(metric, n_reference=len(train), **rule, **extra)

    def values(x, fresh, of_metric):
      return _values(x, fresh, train, partition(train, num_cells, subset_seed), of_metric)

    return two_sample.checked(METRICS, values, x, fresh, of_metric)

  return OfSamples(measure, floors=FLOORS, subset_seed=subset_seed, num_plantings=num_plantings)


ESTIMATORS = {'features': Estimator(('sample', 'data.training_set'), make, 'samples')}


def _values(x, fresh, train, cells, card) -> dict[str, cards.Value]:
  """{metric: Value} of c_t and authpct with their power, from features of the three sets."""
  placed, of_fresh, true = place(x, cells), place(fresh, cells), authentic(x, train)

  def power_of_c_t(plant):
    def signals(rows, which):
      mixed = c_t(Placed(planted.replace(placed.cell, rows, cells.cell[which]),
                         planted.replace(placed.distance, rows, 0.0)), of_fresh)
      return mixed is not None and mixed.value < Z_LEVEL

    return plant(f'c_t < {Z_LEVEL:.3f}', signals, len(train))

  def power_of_authpct(plant):
    true_fresh = authentic(fresh, train)
    signals = lambda rows, which: z_of_shares(
        planted.replace(true, rows, False), true_fresh) < Z_LEVEL
    return {'held_out': 100 * float(true_fresh.mean()), 'z': z_of_shares(true, true_fresh),
            **plant(f'z < {Z_LEVEL:.3f}, z of the shares of samples and of held-out examples',
                    signals, len(train))}

  return {'c_t': _c_t_value(c_t(placed, of_fresh), card, power_of_c_t),
          'authpct': _authpct_value(true, card('authpct', power=power_of_authpct))}


def _c_t_value(test: DataCopying | None, card, power) -> cards.Value:
  if test is None:
    return cards.absent(card('c_t'),
                        f'no cell with held-out examples has more than {AT_LEAST} samples')
  return cards.plain(test.value, card('c_t', power=power, detail={
      'weighted_average': test.average, 'cells': test.cell.tolist(),
      'z': test.z.round(4).tolist(), 'weights': test.weight.round(4).tolist()}), STATISTIC)


def _authpct_value(true, card) -> cards.Value:
  share = cards.of_share(int(true.sum()), len(true), card, ESTIMAND)
  return share._replace(value=100 * share.value, low=100 * share.low, high=100 * share.high)


def partition(train, num_cells: int = 3, seed: int = 0) -> Cells:
  """Cells around k-means centres (10 starts) of train [M, d], on its first NUM_DIMS components.

  Data of at most NUM_DIMS dimensions stay as they are: all principal components only rotate them.
  """
  mean, components = train.mean(0, dtype=np.float64), None
  if train.shape[1] > NUM_DIMS < len(train):
    components = _kept(_components, train, NUM_DIMS, seed)
  projected = _project(train, mean, components)
  centres = _kept(_centres, projected, min(num_cells, len(train)), seed)
  return Cells(mean, components, centres, projected,
               neighbours.nearest(projected, centres, k=1)[1][:, 0])


def _kept(make, x, number: int, seed: int) -> np.ndarray:
  """make(x, number, seed), or its kept result: scikit-learn alone takes a second to import."""
  key = {'made': make.__name__, 'of': disk.digest({'x': x}), 'number': number, 'seed': seed,
         'source': disk.source_digest()}
  return disk.kept_array('features', key, lambda: make(x, number, seed))


def _components(x, number: int, seed: int) -> np.ndarray:
  """[d, number]: the first principal components."""
  from sklearn.decomposition import PCA
  return PCA(number, random_state=seed).fit(x).components_.T


def _centres(x, number: int, seed: int) -> np.ndarray:
  """[number, d] float32: the means of k-means, the best of 10 starts."""
  from sklearn.cluster import KMeans
  means = KMeans(number, n_init=10, random_state=seed).fit(x)
  return means.cluster_centers_.astype(np.float32)


def _project(x, mean, components):
  x = x - mean.astype(np.float32)
  return x if components is None else (x @ components).astype(np.float32)


def place(x, cells: Cells) -> Placed:
  """The cell of each point of x [N, d] (the nearest centre's), and its nearest training point."""
  x = _project(x, cells.mean, cells.components)
  cell = neighbours.nearest(x, cells.centres, k=1)[1][:, 0]
  # one more coordinate, equal within a cell, moves cells apart by more than any distance
  far = 2.0 * max(np.linalg.norm(a, axis=1).max() for a in (x, cells.train)) + 1.0
  apart = lambda a, cell: np.concatenate([a, np.float32(far) * cell[:, None]], 1)
  distance, _ = neighbours.nearest(apart(x, cell), apart(cells.train, cells.cell), k=1)
  return Placed(cell, distance[:, 0])


def c_t(samples: Placed, held_out: Placed) -> DataCopying | None:
  """The data-copying statistic C_T (2004.05675): < 0 if samples are nearer to train than held-out.

  It combines the Mann-Whitney z of each cell, samples' distances against held-out ones, with the
  cell's share w of the held-out examples. Cells with at most AT_LEAST samples do not count; None if
  no cell counts. The z of cells are independent, so that sum w z / sqrt(sum w^2) is standard normal
  for fresh draws. The paper's weighted average, sum w z / sum w, has a smaller variance.
  """
  cells = [i for i in np.unique(held_out.cell) if np.sum(samples.cell == i) > AT_LEAST]
  if not cells:
    return None
  z = np.array([mann_whitney(samples.distance[samples.cell == i],
                             held_out.distance[held_out.cell == i]) for i in cells])
  w = np.array([np.mean(held_out.cell == i) for i in cells])
  return DataCopying(float(w @ z / np.sqrt(w @ w)), float(w @ z / w.sum()), np.array(cells), z, w)


def mann_whitney(a, b) -> float:
  """z of the Mann-Whitney U of a [N] against b [M], corrected for ties; < 0 if a is smaller."""
  n, m = len(a), len(b)
  _, index, alike = np.unique(np.concatenate([a, b]), return_inverse=True, return_counts=True)
  rank = (np.cumsum(alike) - (alike - 1) / 2)[index]
  u = rank[:n].sum() - n * (n + 1) / 2
  ties = np.sum(alike.astype(np.float64)**3 - alike) / ((n + m) * (n + m - 1))
  variance = n * m / 12 * (n + m + 1 - ties)
  return float((u - n * m / 2) / np.sqrt(variance)) if variance > 0 else 0.0


def authentic(x, train) -> np.ndarray:
  """bool [N]: is x farther from its nearest training point t than t is from its nearest neighbour?

  Equal distances are not authentic, hence no copy is. t is excluded by its index.
  """
  distance, index = neighbours.nearest(x, train, k=1)
  t = index[:, 0]
  around, index = neighbours.nearest(train[t], train, k=2)
  return distance[:, 0] > np.where(index[:, 0] == t, around[:, 1], around[:, 0])


def z_of_shares(a, b) -> float:
  """Pooled z of the difference of the shares of True in a [N] and in b [M]; 0 if constant.

  For independent draws from one distribution it is nearly standard normal.
  """
  share = (np.sum(a) + np.sum(b)) / (len(a) + len(b))
  variance = share * (1 - share) * (1 / len(a) + 1 / len(b))
  return float((np.mean(a) - np.mean(b)) / np.sqrt(variance)) if variance > 0 else 0.0
