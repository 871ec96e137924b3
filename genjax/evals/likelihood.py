"""Negative log-likelihood of a split, by kind: exact, or a bound; never one column for both."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob, sharding
from genjax.evals import card as cards
from genjax.types import BadInput

CELL_TERM = 'log_cell_volume'  # what `prob.dequantise` adds to the terms of an `elbo`

METRICS = ('nll_exact_bpd', 'nll_bound_bpd', 'nll_exact_nats', 'nll_bound_nats')
NEEDS = {
    'exact': ('log_prob',),
    'bound': ('elbo',),
    'importance_weighted': ('log_weight',),
}


def make(model, *, estimator, spec, dataset, split, prepare, seed, num_repeats=8, num_weights=64,
         batch_size=256, tick=lambda: None):
  """run(params, draw) -> nll_exact_* or nll_bound_*, in bits per dimension or nats per example.

  Data with levels: `_bpd`, of the probability mass of the integers; continuous data: `_nats`.
  bound: mean over num_repeats draws of the sum of the `elbo` terms (each under 'terms' in the
  card's detail, in the metric's unit). importance_weighted: -log (1/K) sum_k w_k with
  K = num_weights, a bound as well (IWAE, 1509.00519, Eq. 8). Codes of an autoencoder are drawn
  anew from their moments for each repeat, as in training. The cards say whether the integers were
  dequantised (`prob.dequantise`). Interval: from the per-example values, which carry the noise of
  the estimator too. An example that is not finite makes the value None. tick() is called before
  each batch. Raises BadInput for counts below 1.
  """
  for name, value in {'num_repeats': num_repeats, 'num_weights': num_weights,
                      'batch_size': batch_size}.items():
    if value < 1:
      raise BadInput(f'evaluator likelihood: {name}={value!r}; allowed: integers from 1')
  kind = 'exact' if estimator == 'exact' else 'bound'
  unit = 'nats' if spec.levels is None else 'bpd'
  metric = f'nll_{kind}_{unit}'
  per_example = sharding.jit(_terms_fn(model, estimator, prepare, num_weights))
  repeats = num_repeats if estimator == 'bound' else 1
  protocol = {
      'exact': {},
      'bound': {'num_repeats': num_repeats},
      'importance_weighted': {'num_weights': num_weights},
  }[estimator]
  if 'std' in dataset.splits[split]:  # codes of an autoencoder
    protocol['of'] = 'draws of N(mean, std^2)'

  def to_unit(nats):
    return np.asarray(nats, np.float64) if unit == 'nats' else prob.bits_per_dim(nats, spec)

  def run(params, draw):
    del draw
    arrays = dataset.splits[split]
    terms = _over_split(per_example, params, arrays, jax.random.key(seed), repeats, batch_size,
                        tick)
    names = set(terms)
    if estimator == 'importance_weighted' and model.elbo is not None:
      names = _elbo_terms(model, prepare, params, arrays)
    total = to_unit(-sum(terms.values()))
    detail = {'terms': {name: float(np.mean(to_unit(-v))) for name, v in terms.items()}}
    card = cards.make_card(
        metric, estimator=estimator, kind=kind, split=split, n_reference=len(total),
        unit='bits per dimension' if unit == 'bpd' else 'nats per example',
        dequantisation='uniform' if CELL_TERM in names else 'none',
        detail=detail if estimator == 'bound' and np.all(np.isfinite(total)) else {}, **protocol)
    estimand = {'exact': 'population mean', 'bound': 'population mean of the bound',
                'importance_weighted': f'population mean of the bound at {num_weights} weights'}
    return {metric: cards.of_mean(total, card, estimand[estimator])}

  return run


def _terms_fn(model, estimator, prepare, num_weights):
  """(params, integer batch, rng) -> {term: [B] nats}, whose sum is log p(x) or a bound on it."""

  def exact(params, batch, rng):
    return {'log_prob': model.log_prob(params, prepare(batch, rng), None)}

  def bound(params, batch, rng):
    return model.elbo(params, prepare(batch, jax.random.fold_in(rng, 0)), rng)

  def importance_weighted(params, batch, rng):
    batch = prepare(batch, jax.random.fold_in(rng, 0))

    def add(total, key):
      return jnp.logaddexp(total, model.log_weight(params, batch, key)), None

    start = jnp.full(batch['x'].shape[0], -jnp.inf, jnp.float32)
    total, _ = jax.lax.scan(add, start, jax.random.split(rng, num_weights))
    return {'log_mean_weight': total - jnp.log(num_weights)}

  return {'exact': exact, 'bound': bound, 'importance_weighted': importance_weighted}[estimator]


def _elbo_terms(model, prepare, params, arrays) -> set[str]:
  """Names of the terms of the model's bound; nothing is computed."""
  def elbo(params, batch, rng):
    return model.elbo(params, prepare(batch, rng), rng)

  batch = {k: v[np.arange(1)] for k, v in arrays.items()} | {'mask': np.ones(1, bool)}
  return set(jax.eval_shape(elbo, params, batch, jax.random.key(0)))


def _over_split(per_example, params, arrays, rng, repeats, batch_size, tick):
  """{term: float64 [N]}, averaged over the repeats; batches of one shape, so traced once."""
  n = len(arrays['x'])
  size = min(batch_size, n)
  total = {}
  for start in range(0, n, size):
    index = np.arange(start, start + size)
    mask = index < n
    batch = {k: v[np.minimum(index, n - 1)] for k, v in arrays.items()} | {'mask': mask}
    for repeat in range(repeats):
      tick()
      key = jax.random.fold_in(jax.random.fold_in(rng, start // size), repeat)
      terms = per_example(params, batch, key)
      for name, value in terms.items():
        rows = np.asarray(value, np.float64)[mask]
        total.setdefault(name, np.zeros(n))[index[mask]] += rows / repeats
  return total
