"""An evaluator of a user's own: how far the mean of the samples lies from that of the data."""

import numpy as np

from genjax.evals import card
from genjax.types import Estimator

METRICS = ('mean_gap',)


def distance(model, *, dataset, split, num_samples, power: float = 1.0):
  """run(params, draw) -> mean_gap, the distance of the two means to that power."""
  real = np.asarray(dataset.splits[split]['x'], np.float64)

  def run(params, draw):
    x, info = draw(num_samples)
    gap = np.linalg.norm(np.asarray(x, np.float64).mean(0) - real.mean(0)) ** power
    return {'mean_gap': card.plain(gap, card.make_card(
        'mean_gap', estimator='distance', unit='', split=split, n_generated=len(x),
        n_reference=len(real), sampler=info['sampler'], power=power), 'none is calibrated')}

  return run


ESTIMATORS = {'distance': Estimator(('sample',), distance)}
