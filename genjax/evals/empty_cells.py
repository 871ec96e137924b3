"""How empty space is: the share of the cells of a grid that hold no sample."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.evals.kinds import DATA, OfSamples
from genjax.types import BadInput, Estimator

METRICS = ('empty_cells',)


def make(*, num_bins: int = 4, edge: float = 3.0, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of empty_cells, empty_cells_data: shares of num_bins^D cells.

  num_bins: of equal width on (-edge, edge) per dimension of the features; the outer ones are open
    to infinity, so every sample is in a cell. The card's detail has dim and the number of cells.

  For N independent draws whose cells have the masses p_c it is the mean of (1 - p_c)^N over the
  cells. It is of the samples alone: `_data` is the share of as many examples. Raises BadInput for
  an edge that is not positive.
  """
  if edge <= 0:
    raise BadInput(f"evaluator 'empty_cells': edge={edge!r}; allowed: numbers > 0")

  def measure(x, y, card):
    del y  # nothing is compared
    own = card('empty_cells', unit='share', n_reference=None)
    share, num = empty(x, num_bins, edge)
    own = {**own, 'detail': {'dim': x.shape[1], 'cells': num}}
    return {'empty_cells': cards.plain(share, own, 'no calibrated interval: cells are not '
                                       'independent')}

  return two_sample.of_features(METRICS, measure, equal=True, floors=(DATA,),
                                subset_seed=subset_seed,
                                protocol={'num_bins': num_bins, 'edge': edge})


def empty(x, num_bins: int, edge: float) -> tuple[float, float]:
  """The share of empty cells, and the number of cells, for rows [N, D]."""
  bins = np.floor((np.asarray(x, np.float64) / edge + 1) / 2 * num_bins)
  occupied = len(np.unique(np.clip(bins, 0, num_bins - 1), axis=0))
  num = float(num_bins) ** x.shape[1]
  return 1.0 - occupied / num, num


ESTIMATORS = {'features': Estimator(two_sample.NEEDS, make, 'samples')}
