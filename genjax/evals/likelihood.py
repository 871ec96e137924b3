"""Negative log-likelihood of a split by kind (exact, bound, estimate), a column for each.

Metrics are nll_exact_*, nll_bound_* and nll_estimate_*. Data with levels have `_bpd`, bits per
dimension of the probability mass of the integers; continuous data have `_nats` per example; data
of two levels have both, since papers on binary images print nats.
Standardised data are measured in the units of the file: the log-volume of their scales is a term.
Codes of an autoencoder are drawn anew from their moments for each repeat, as in training. The cards
say how the integers were dequantised, and what the model is conditioned on: 'label' means
log p(x | label), which is no estimate of log p(x). The interval comes from per-example values, so
it includes the noise of the estimator. A non-finite example makes the value None. The card of a
flow has `inverse_error` in its detail (`evals.inverse_error`).

All estimators have batch_size and num_examples, drawn from the split by subset_seed (None: all, for
importance weights at most 1,000).
They raise BadInput for counts below 1, for more examples than the split has, and for a requested
metric that they do not measure, naming the keyword that would measure it.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat, prob, sharding
from genjax.evals import card as cards
from genjax.evals import inverse_error, likelihood_ode, over_split, two_sample
from genjax.evals.kinds import Task
from genjax.evals.likelihood_kinds import KINDS, in_unit, metrics_of
from genjax.numerics import streams
from genjax.types import BadInput, Estimator, Model

METRICS = ('nll_exact_bpd', 'nll_bound_bpd', 'nll_estimate_bpd', 'nll_exact_nats',
           'nll_bound_nats', 'nll_estimate_nats')
AT_ONCE = 100  # weights per call: signs of life come between calls
NUM_EXAMPLES = 1000  # for importance weights, which cost a pass each


def exact(model: Model, task: Task, *, batch_size: int = 256, num_examples=None,
          subset_seed: int = 0) -> Callable:
  """evaluate(params, draw) -> nll_exact_*, by `log_prob`."""
  def terms(params, batch, rng):
    del rng
    return {'log_prob': model.log_prob(params, batch, None)}

  return _evaluator(model, task, 'exact', terms, 'population mean', batch_size=batch_size,
                    num_examples=num_examples, subset_seed=subset_seed)


def bound(model: Model, task: Task, *, num_repeats: int = 8, batch_size: int = 256,
          num_examples=None, subset_seed: int = 0) -> Callable:
  """evaluate(params, draw) -> nll_bound_*: minus the sum of `elbo`'s terms, mean of num_repeats.

  The card's detail has each term under 'terms', in the metric's unit.
  """
  _check_counts(num_repeats=num_repeats)
  return _evaluator(model, task, 'bound', model.elbo, 'population mean of the bound',
                    {'num_repeats': num_repeats}, repeats=num_repeats, batch_size=batch_size,
                    num_examples=num_examples, subset_seed=subset_seed)


def importance_weighted(model: Model, task: Task, *, num_weights: int = 100, batch_size: int = 256,
                        num_examples=None, subset_seed: int = 0) -> Callable:
  """evaluate(params, draw) -> nll_bound_*: -log (1/K) sum_k w_k, K = num_weights.

  It is a bound as well (IWAE, 1509.00519, Eq. 8). num_weights: up to 100, or a multiple of 100;
  weights are computed one by one, so the memory does not depend on it. num_examples: None: 1,000,
  or all of a smaller split.
  """
  _check_counts(num_weights=num_weights)
  if num_weights > AT_ONCE and num_weights % AT_ONCE:
    raise BadInput(f'evaluator likelihood: num_weights={num_weights}; allowed: 1 to {AT_ONCE}, or '
                   f'a multiple of {AT_ONCE}')
  repeats = max(1, num_weights // AT_ONCE)
  num_examples = chosen_examples('importance_weighted', num_examples,
                                 len(task.dataset.splits[task.split]['x']))

  def terms(params, batch, rng):
    def add(total, key):
      return jnp.logaddexp(total, model.log_weight(params, batch, key)), None

    start = jnp.full(batch['x'].shape[0], -jnp.inf, jnp.float32)
    total, _ = jax.lax.scan(add, start, jax.random.split(rng, num_weights // repeats))
    return {'log_mean_weight': total - jnp.log(num_weights)}

  return _evaluator(model, task, 'importance_weighted', terms,
                    f'population mean of the bound at {num_weights} weights',
                    {'num_weights': num_weights}, repeats=repeats, batch_size=batch_size,
                    num_examples=num_examples, subset_seed=subset_seed)


def estimate(model: Model, task: Task, *, num_repeats: int = 8, batch_size: int = 256,
             num_examples=None, subset_seed: int = 0) -> Callable:
  """evaluate(params, draw) -> nll_estimate_*: by `log_prob_estimate`, mean of num_repeats."""
  _check_counts(num_repeats=num_repeats)
  return _evaluator(model, task, 'estimate', model.log_prob_estimate,
                    'population mean of the estimate', {'num_repeats': num_repeats},
                    repeats=num_repeats, batch_size=batch_size, num_examples=num_examples,
                    subset_seed=subset_seed)


def ode(model: Model, task: Task, *, num_steps: int = 32, num_probes: int = 4, t_min: float = 1e-3,
        dequantisation: str = 'gaussian', batch_size: int = 256, num_examples=None,
        subset_seed: int = 0) -> Callable:
  """evaluate(params, draw) -> nll_estimate_*: by the probability-flow ODE (2011.13456, D.2).

  It is an estimate: solver and trace err in both directions. The card's detail has the spread of
  num_probes probes, and the change at half of num_steps. dequantisation: noise on data with levels,
  'gaussian' (that of the path at t_min) or 'uniform' in their cell (`likelihood_ode.continuous`).
  """
  _check_counts(num_steps=num_steps, num_probes=num_probes)
  if dequantisation not in likelihood_ode.DEQUANTISATIONS:
    raise BadInput(f'evaluator likelihood: dequantisation={dequantisation!r}; allowed: '
                   f'{", ".join(likelihood_ode.DEQUANTISATIONS)}')
  if num_steps < 2:
    raise BadInput(f'evaluator likelihood: num_steps={num_steps}; allowed: integers from 2')
  terms = likelihood_ode.terms(model, task.dataset.spec, num_steps=num_steps, num_probes=num_probes,
                               t_min=t_min, dequantisation=dequantisation)
  return _evaluator(model, task, 'ode', terms,
                    f'population mean of the estimate at {num_steps} steps',
                    {'solver': f'rk4({num_steps})', 'num_probes': num_probes, 't_min': t_min},
                    batch_size=batch_size, num_examples=num_examples, subset_seed=subset_seed)


ESTIMATORS = {
    'exact': Estimator(('log_prob',), exact),
    'bound': Estimator(('elbo',), bound),
    'importance_weighted': Estimator(('log_weight',), importance_weighted),
    'estimate': Estimator(('log_prob_estimate',), estimate),
    'ode': Estimator(('denoise',), ode),
}
# estimator -> {keyword: field of the card that it decides}, as far as known before training
DECIDES = {
    'exact': {}, 'bound': {'num_repeats': 'num_repeats'},
    'estimate': {'num_repeats': 'num_repeats'},
    'importance_weighted': {'num_weights': 'num_weights'},
    'ode': {'num_steps': 'solver', 'num_probes': 'num_probes', 't_min': 't_min',
            'dequantisation': 'dequantisation'}}


def _evaluator(model, task: Task, estimator: str, terms: Callable, estimand: str,
               protocol: Mapping | None = None, *, batch_size, num_examples, subset_seed,
               repeats: int = 1) -> Callable:
  """evaluate(params, draw) -> {metric: Value}; terms(params, prepared batch, rng) sum to log p."""
  dataset, split, spec = task.dataset, task.split, task.dataset.spec
  _check_rows(batch_size, num_examples, len(dataset.splits[split]['x']), split)
  metrics = metrics_of(estimator, spec)
  _check_asked(task.asked, metrics, model, spec)
  of_batch = sharding.jit(over_split.per_example(terms, task.prepare),
                          what=f'likelihood of {batch_size} examples at once')
  protocol = {**(protocol or {}), **_of_data(dataset, split),
              **({} if num_examples is None else {'subset_seed': subset_seed})}

  def evaluate(params, draw):
    del draw
    arrays = dataset.splits[split]
    if num_examples is not None:
      arrays = {k: two_sample.subset(v, num_examples, subset_seed) for k, v in arrays.items()}
    weights = estimator == 'importance_weighted'  # a sum over all repeats, of the same codes
    values = over_split.values(
        of_batch, params, arrays, over_split.keys(
            task.seed, split, streams.Purpose.LIKELIHOOD, weights), repeats, batch_size, task.tick,
        *((np.logaddexp, -np.inf) if weights else ()))
    values = values if weights else {name: total / repeats for name, total in values.items()}
    names = set(values)
    if weights and model.elbo is not None:
      names = _elbo_terms(model, task.prepare, params, arrays)
    extra = {name: values.pop(name) for name in likelihood_ode.DIAGNOSTICS if name in values}
    if dataset.standardised is not None:
      values['log_scale_volume'] = np.full(len(arrays['x']),
                                           -prob.log_scale_volume(dataset.standardised))
    noise = (how for term, how in likelihood_ode.NOISE_TERMS.items() if term in names)
    shared = {'kind': KINDS[estimator], 'dequantisation': next(noise, 'none'),
              'conditioned_on': conditioned_on(task, arrays), **protocol}
    more = inverse_error.detail(model, task.prepare, params, arrays)
    measured = {}
    for metric in metrics:
      total = in_unit(-sum(values.values()), metric, spec)
      detail = {}
      if estimator in ('bound', 'estimate', 'ode') and np.all(np.isfinite(total)):
        detail['terms'] = {name: float(np.mean(in_unit(-v, metric, spec)))
                           for name, v in values.items()}
        detail.update({name: float(np.mean(in_unit(v, metric, spec)))
                       for name, v in extra.items()})
      card = task.card(
          metric, n_reference=len(total), detail={**detail, **more},
          unit='bits per dimension' if metric.endswith('_bpd') else 'nats per example', **shared)
      measured[metric] = cards.of_mean(total, card, estimand)
    return measured

  return evaluate


def chosen_examples(estimator: str, num_examples: int | None, size: int) -> int | None:
  """The number of examples that are measured of a split of that size; None: all of them."""
  few = estimator == 'importance_weighted' and num_examples is None and size > NUM_EXAMPLES
  return NUM_EXAMPLES if few else num_examples


def conditioned_on(task: Task, arrays: Mapping) -> str | None:
  """What the likelihood is conditioned on: 'label' (log p(x | label)), 'vector' or None."""
  if not (task.conditional and 'cond' in arrays):
    return None
  return 'label' if task.dataset.spec.context is None else 'vector'


def _of_data(dataset, split: str) -> dict:
  """The card's entry about the transformation of the data; {} if there is none."""
  if dataset.standardised is not None:
    return {'of': 'raw values; the model sees them standardised'}
  if 'std' in dataset.splits[split]:  # codes of an autoencoder
    return {'of': 'draws of N(mean, std^2)'}
  return {}


def _check_counts(**counts: int) -> None:
  for name, value in counts.items():
    if value < 1:
      raise BadInput(f'evaluator likelihood: {name}={value!r}; allowed: integers from 1')


def _check_rows(batch_size: int, num_examples: int | None, size: int, split: str) -> None:
  _check_counts(batch_size=batch_size,
                **({} if num_examples is None else {'num_examples': num_examples}))
  if num_examples is not None and num_examples > size:
    raise BadInput(f'evaluator likelihood: num_examples={num_examples}; allowed: at most {size}, '
                   f'all of {split}')


def _check_asked(asked, metrics: tuple[str, ...], model, spec) -> None:
  """Raises BadInput for a requested metric not in `metrics`, naming what would measure it."""
  allowed, units = ', '.join(metrics), {name.rpartition('_')[2] for name in metrics}
  for other in asked:
    _, kind, unit = other.split('_')
    if other in metrics:
      continue
    if unit not in units:
      values = 'continuous data' if spec.levels is None else f'data with {spec.levels} levels'
      raise BadInput(f'metric {other!r}: the likelihood of {values} is in '
                     f'{" or ".join(sorted(units))}; allowed: {allowed}')
    of_kind = [e for e, its_kind in KINDS.items() if its_kind == kind]
    able = [e for e in of_kind if not compat.missing(ESTIMATORS[e].needs, compat.provides(model))]
    if not able:
      needed = ' or '.join(' and '.join(ESTIMATORS[e].needs) for e in of_kind)
      raise BadInput(f'metric {other!r} needs {needed}, which this model does not provide; '
                     f'allowed: {allowed}')
    raise BadInput(f'metric {other!r} is not what this config measures; allowed: {allowed}, or '
                   f'--config=... with evals.kw.likelihood.estimator={" or ".join(able)}')


def _elbo_terms(model, prepare, params, arrays) -> set[str]:
  """Names of the terms of the model's bound, by tracing alone."""
  def elbo(params, batch, rng):
    rng_codes, rng = jax.random.split(rng)
    return model.elbo(params, prepare(batch, rng_codes), rng)

  batch = {k: v[np.arange(1)] for k, v in arrays.items()} | {'mask': np.ones(1, bool)}
  return set(jax.eval_shape(elbo, params, batch, streams.stream(
      0, streams.Purpose.LIKELIHOOD, 0, 0, 0)))
