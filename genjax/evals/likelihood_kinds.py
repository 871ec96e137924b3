"""The likelihoods that an estimator measures, by kind and unit."""

import numpy as np

from genjax import prob

KINDS = {'exact': 'exact', 'bound': 'bound', 'importance_weighted': 'bound', 'estimate': 'estimate',
         'ode': 'estimate'}


def metrics_of(estimator: str, spec) -> tuple[str, ...]:
  """The names of what an estimator measures on data of this spec: one figure, by unit."""
  units = ('nats',) if spec.levels is None else ('bpd', 'nats') if spec.levels == 2 else ('bpd',)
  return tuple(f'nll_{KINDS[estimator]}_{unit}' for unit in units)


def in_unit(nats, metric: str, spec):
  """Nats per example in the unit of a metric, float64."""
  nats = np.asarray(nats, np.float64)
  return prob.bits_per_dim(nats, spec) if metric.endswith('_bpd') else nats
