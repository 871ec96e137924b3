"""Precision, recall, density and coverage by k-nearest-neighbour balls in a feature space."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.evals import card as cards
from genjax.evals import neighbours
from genjax.types import BadInput

METRICS = ('precision', 'recall', 'density', 'coverage')
NEEDS = {
    'encoder': ('sample', 'data.image'),
    'raw': ('sample', 'data.coordinates'),
}
NO_INTERVAL = ('no calibrated interval: resampling with replacement makes neighbours at distance '
               '0, and all samples share the reference balls')


def make(model, *, estimator, dataset, split, encoder=None, num_samples=1024, k_ball=3,
         k_density=5, subset_seed=0):
  """run(params, draw) -> precision, recall, density, coverage, and each with `_ceiling`.

  Improved precision and recall (1904.06991; k_ball neighbours, distance <= radius); density and
  coverage (2002.09797; k_density neighbours, distance < radius). A radius is the distance to the
  k-th nearest *other* point. N is the same on both sides: min(num_samples, size of the split).
  The ceilings put as many training examples in the place of the samples. Raises BadInput without
  an encoder, or when N is not above the number of neighbours.
  """
  del model
  features = neighbours.feature_fn('prdc', estimator, encoder, dataset)
  n = min(num_samples, len(dataset.splits[split]['x']), len(dataset.splits['train']['x']))
  if min(k_ball, k_density) < 1 or n <= max(k_ball, k_density):
    raise BadInput(f'evaluator prdc: k_ball={k_ball!r}, k_density={k_density!r} with N={n}; '
                   'allowed: integers from 1, below N')
  rules = {
      'precision': {'k': k_ball, 'ties': 'distance <= radius, self excluded'},
      'recall': {'k': k_ball, 'ties': 'distance <= radius, self excluded'},
      'density': {'k': k_density, 'ties': 'distance < radius, self excluded'},
      'coverage': {'k': k_density, 'ties': 'distance < radius, self excluded'}}

  def run(params, draw):
    del params
    generated, info = draw(n)
    reference = features(neighbours.subset(dataset.splits[split]['x'], n, subset_seed))
    train = features(neighbours.subset(dataset.splits['train']['x'], n, subset_seed))
    return {**values(features(generated), reference, '', sampler=info.get('sampler')),
            **values(train, reference, '_ceiling', generated_are='training examples')}

  def values(x, y, suffix, **protocol):
    finite = np.all(np.isfinite(x)) and np.all(np.isfinite(y))
    figures = prdc(x, y, k_ball, k_density) if finite else dict.fromkeys(rules, np.nan)
    out = {}
    for name, rule in rules.items():
      card = cards.make_card(
          name + suffix, estimator=estimator, unit='share' if name != 'density' else 'ratio',
          split=split, encoder=encoder if estimator == 'encoder' else None, n_generated=n,
          n_reference=n, **rule, **protocol)
      out[name + suffix] = (cards.plain(figures[name], card, NO_INTERVAL) if finite else
                            cards.absent(card, 'features are not finite'))
    return out

  return run


def prdc(generated, reference, k_ball: int = 3, k_density: int = 5) -> dict[str, float]:
  """The four figures for feature sets [N, d] and [M, d]."""
  x, y = jnp.asarray(generated, jnp.float32), jnp.asarray(reference, jnp.float32)
  k = max(k_ball, k_density)
  radii_x = neighbours.nearest(x, x, k=k, same=True)[0]
  radii_y = neighbours.nearest(y, y, k=k, same=True)[0]
  inside_y, number, _ = _inside(x, y, radii_y[:, k_ball - 1], radii_y[:, k_density - 1])
  inside_x, _, closest = _inside(y, x, radii_x[:, k_ball - 1], radii_x[:, k_density - 1])
  covered = np.asarray(closest < radii_y[:, k_density - 1])
  return {
      'precision': float(np.asarray(inside_y).mean()),
      'recall': float(np.asarray(inside_x).mean()),
      'density': float(np.sum(np.asarray(number, np.float64)) / (k_density * len(x))),
      'coverage': float(covered.mean())}


@sharding.jit
def _inside(x, y, radii_closed, radii_open):
  """For each row of x: is it in a closed ball around y, in how many open ones, its nearest y.

  Radii and distances are squared.
  """
  def one(row):
    d2 = neighbours.squared_distances(row[None], y)[0]
    return jnp.any(d2 <= radii_closed), jnp.sum(d2 < radii_open), jnp.min(d2)

  return jax.lax.map(one, x, batch_size=256)
