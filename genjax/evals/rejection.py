"""A model as the proposal for data of known density: how many of its samples are of use."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.evals import card as cards
from genjax.evals.kinds import Task
from genjax.numerics import streams
from genjax.types import Estimator, Model

METRICS = ('acceptance', 'effective_share')
GIVEN, SEEN = 'given', 'the largest of the samples'
ROUNDING = 1e-3  # nats by which a ratio may exceed its bound


def make(model: Model, task: Task, *, log_bound: float | None = None) -> Callable:
  """run(params, draw) -> acceptance, effective_share: both 1 where the model is the data.

  acceptance: share of samples x of the model q that rejection sampling keeps as samples of the data
    p: those with u < p(x) / (M q(x)), u uniform, log M = log_bound. Its mean is 1 / M.
  effective_share: (sum w)^2 / (N sum w^2) of the weights w = p(x) / q(x), the share of independent
    samples that importance sampling is worth.
  log_bound: nats; at least sup log p / q, and a sample that exceeds it leaves no number. None: the
    largest ratio of the samples, which lies below the supremum, so that acceptance is too large.
  """
  n, dataset = task.num_samples, task.dataset
  log_q = sharding.jit(lambda params, x: model.log_prob(params, {'x': x}, None))
  log_p = sharding.jit(dataset.log_density)

  def run(params, draw):
    x = jnp.asarray(draw(n)[0], jnp.float32)
    ratio = np.asarray(log_p(x), np.float64) - np.asarray(log_q(params, x), np.float64)
    shared = {'unit': 'share', 'n_generated': n, 'dataset': dataset.name}
    accepted = task.card('acceptance', bound=SEEN if log_bound is None else GIVEN, **shared)
    effective = task.card('effective_share', **shared)
    if np.any(np.isnan(ratio) | (ratio == np.inf)):
      reason = 'a density ratio is not finite'
      return {'acceptance': cards.absent(accepted, reason),
              'effective_share': cards.absent(effective, reason)}
    w = np.exp(ratio - ratio.max())
    return {'acceptance': _acceptance(ratio, log_bound, accepted, task),
            'effective_share': cards.plain(w.sum() ** 2 / (n * (w**2).sum()), effective,
                                           'no calibrated interval: a ratio of heavy-tailed means')}

  return run


def _acceptance(ratio, log_bound, card, task: Task) -> cards.Value:
  largest = float(ratio.max())
  bound = largest if log_bound is None else log_bound
  card = {**card, 'detail': {'log_bound': bound, 'largest': largest}}
  if largest > bound + ROUNDING:
    return cards.absent(card, f'log p / q is {largest:.4f} at a sample, above the bound '
                              f'{bound:.4f}')
  key = streams.stream(task.seed, streams.Purpose.ACCEPTANCE, streams.SPLITS.index(task.split))
  kept = int(np.sum(np.log(np.asarray(jax.random.uniform(key, ratio.shape))) < ratio - bound))
  if log_bound is None:
    return cards.plain(kept / len(ratio), card, 'no interval: the bound is of the same samples')
  return cards.of_share(kept, len(ratio), card, 'share among independent samples')


ESTIMATORS = {'log_prob': Estimator(('sample', 'log_prob', 'data.log_density'), make)}
