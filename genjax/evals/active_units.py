"""How many latent units of a model are in use: those whose posterior mean depends on x."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.evals import card as cards
from genjax.evals import over_split, two_sample
from genjax.evals.kinds import Task
from genjax.numerics import streams
from genjax.types import BadInput, Estimator, Model

METRICS = ('active_units', 'active_units_share')
THRESHOLD = 0.01  # 1509.00519, Appendix C


def make(model: Model, task: Task, *, threshold: float = THRESHOLD, num_draws: int = 32,
         num_examples: int | None = None, batch_size: int = 256, subset_seed: int = 0) -> Callable:
  """evaluate(params, draw) -> active_units, a count, and active_units_share, of all units.

  A unit u is active if Var_x E[u | x] > threshold, E under q (1509.00519, Sec. 5.2 and Appendix C).
  The variance is estimated without bias from num_draws of u per example, as the variance of their
  means less that of the draws / num_draws, since few posteriors give E[u | x] in closed form.

  num_examples: drawn by subset_seed; None: 1,000, or all of a smaller split. The card's detail has
  the number of units and the quartiles of their variances. Raises BadInput for fewer than two draws
  or examples.
  """
  arrays = task.dataset.splits[task.split]
  size = min(num_examples or 1000, len(arrays['x']))
  if num_draws < 2 or size < 2:
    raise BadInput(f'evaluator active_units: num_draws={num_draws} on {size} examples; allowed: 2 '
                   'or more of both')

  def moments(params, batch, rng):
    def add(carry, key):
      z = model.latents.infer(params, batch, key)
      u = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(z)], -1)
      return jax.tree.map(jnp.add, carry, (u, u**2)), None

    shapes = jax.eval_shape(lambda: add((0.0, 0.0), rng)[0])
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shapes)
    total, _ = jax.lax.scan(add, start, jax.random.split(rng, num_draws))
    mean, square = jax.tree.map(lambda sums: sums / num_draws, total)
    return {'mean': mean, 'within': (square - mean**2) * num_draws / (num_draws - 1)}

  of_batch = sharding.jit(over_split.per_example(moments, task.prepare))

  def evaluate(params, draw):
    del draw
    chosen = {k: two_sample.subset(v, size, subset_seed) for k, v in arrays.items()}
    values = over_split.values(of_batch, params, chosen, over_split.keys(
        task.seed, task.split, streams.Purpose.LATENTS), 1, batch_size, task.tick)
    variance = values['mean'].var(0, ddof=1) - values['within'].mean(0) / num_draws
    count, num = int((variance > threshold).sum()), variance.size
    quartiles = np.quantile(variance, (0.25, 0.5, 0.75)).tolist()
    detail = {'units': num, 'quartiles_of_variance': quartiles}

    def value(metric, figure, unit):
      card = task.card(metric, unit=unit, n_reference=size, threshold=threshold,
                       num_draws=num_draws, subset_seed=subset_seed, detail=detail)
      return cards.plain(figure, card, 'no calibrated interval: a count of units near a threshold')

    return {'active_units': value('active_units', count, 'units'),
            'active_units_share': value('active_units_share', count / num, 'share')}

  return evaluate


ESTIMATORS = {'draws': Estimator(('latents',), make)}
