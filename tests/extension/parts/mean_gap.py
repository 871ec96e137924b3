"""An evaluator of a user's own: how far the mean of the samples lies from that of the data."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals.kinds import OfSamples
from genjax.types import Estimator

METRICS = ('mean_gap',)


def distance(exponent: float = 1.0):
  """mean_gap: the distance of the two means, to the exponent; of the first examples next to it."""

  def measure(x, reference, card):
    gap = np.linalg.norm(np.float64(x).mean(0) - np.float64(reference).mean(0)) ** exponent
    return {'mean_gap': cards.plain(gap, card('mean_gap', unit='', exponent=exponent),
                                    'none is calibrated')}

  return OfSamples(measure)


ESTIMATORS = {'distance': Estimator(('sample',), distance, of='samples')}
