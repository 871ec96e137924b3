"""Negative log-likelihood of a split by kind: exact, bound, estimate; never one column for two."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat, prob, sharding
from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.numerics import ode_likelihood, streams
from genjax.numerics.path import diffuse, match
from genjax.types import BadInput, Estimator

# terms that noise on the integers adds, the first those of `prob.dequantise` too -> its name
CELL_TERM, GAUSSIAN_TERM = 'log_cell_volume', 'noise'
NOISE_TERMS = {CELL_TERM: 'uniform', GAUSSIAN_TERM: 'gaussian'}

METRICS = ('nll_exact_bpd', 'nll_bound_bpd', 'nll_estimate_bpd', 'nll_exact_nats',
           'nll_bound_nats', 'nll_estimate_nats')
DEQUANTISATIONS = ('gaussian', 'uniform')  # of the ODE
KINDS = {'exact': 'exact', 'bound': 'bound', 'importance_weighted': 'bound', 'ode': 'estimate'}


def make(model, *, estimator, spec, dataset, split, prepare, seed, num_repeats=8, num_weights=64,
         num_steps=32, num_probes=4, t_min=1e-3, batch_size=256, num_examples=None, subset_seed=0,
         dequantisation='gaussian', conditional=False, asked=(), tick=lambda: None):
  """run(params, draw) -> nll_exact_*, nll_bound_* or nll_estimate_*, per dimension or example.

  Data with levels: `_bpd`, of the probability mass of the integers; continuous data: `_nats`.
  bound: mean over num_repeats draws of the sum of the `elbo` terms (each under 'terms' in the
  card's detail, in the metric's unit). importance_weighted: -log (1/K) sum_k w_k with
  K = num_weights, a bound as well (IWAE, 1509.00519, Eq. 8). ode: the density of the
  probability-flow ODE (2011.13456, D.2), an estimate, since solver and trace err on either side;
  its detail gives the spread of num_probes probes and the value at half as many of num_steps
  steps. Standardised data are measured in the units of the file: the log-volume of their scales is
  a term. Data with levels get noise for it by `dequantisation`: 'gaussian', that of the path at
  t_min, or 'uniform' in their cell (`_continuous`). Codes of an autoencoder are drawn anew
  from their moments for each repeat, as in training. The cards say whether and how the integers
  were dequantised, and what the model is conditioned on: 'label' means log p(x | label), which is
  no estimate of log p(x). Interval: from the per-example values, which carry the noise of the
  estimator too. An example that is not finite makes the value None. tick() is called before
  each batch. num_examples: so many of the split, drawn by subset_seed; None: all. Raises BadInput
  for counts below 1, more examples than there are, and a metric among `asked` that this estimator
  does not give, with the keyword that would.
  """
  for name, value in {'num_repeats': num_repeats, 'num_weights': num_weights,
                      'num_steps': num_steps, 'num_probes': num_probes, 'batch_size': batch_size,
                      **({} if num_examples is None else {'num_examples': num_examples})}.items():
    if value < 1:
      raise BadInput(f'evaluator likelihood: {name}={value!r}; allowed: integers from 1')
  if dequantisation not in DEQUANTISATIONS:
    raise BadInput(f'evaluator likelihood: dequantisation={dequantisation!r}; allowed: '
                   f'{", ".join(DEQUANTISATIONS)}')
  if estimator == 'ode' and num_steps < 2:
    raise BadInput(f'evaluator likelihood: num_steps={num_steps}; allowed: integers from 2')
  there = len(dataset.splits[split]['x'])
  if num_examples is not None and num_examples > there:
    raise BadInput(f'evaluator likelihood: num_examples={num_examples}; allowed: at most {there}, '
                   f'all of {split}')
  kind = KINDS[estimator]
  unit = 'nats' if spec.levels is None else 'bpd'
  metric = f'nll_{kind}_{unit}'
  _check_asked(asked, metric, model, spec)
  settings = {'num_weights': num_weights, 'num_steps': num_steps, 'num_probes': num_probes,
              't_min': t_min, 'dequantisation': dequantisation}
  per_example = sharding.jit(_terms_fn(model, estimator, prepare, spec, settings),
                             what=f'likelihood of {batch_size} examples at once')
  repeats = num_repeats if estimator == 'bound' else 1
  protocol = {
      'exact': {},
      'bound': {'num_repeats': num_repeats},
      'importance_weighted': {'num_weights': num_weights},
      'ode': {'solver': f'rk4({num_steps})', 'num_probes': num_probes, 't_min': t_min},
  }[estimator]
  if 'std' in dataset.splits[split]:  # codes of an autoencoder
    protocol['of'] = 'draws of N(mean, std^2)'
  if dataset.standardised is not None:
    protocol['of'] = 'raw values; the model sees them standardised'
  if num_examples is not None:
    protocol['subset_seed'] = subset_seed

  def to_unit(nats):
    return np.asarray(nats, np.float64) if unit == 'nats' else prob.bits_per_dim(nats, spec)

  def run(params, draw):
    del draw
    arrays = dataset.splits[split]
    if num_examples is not None:
      arrays = {k: two_sample.subset(v, num_examples, subset_seed) for k, v in arrays.items()}
    terms = _over_split(per_example, params, arrays, _keys(seed, split), repeats, batch_size, tick)
    names = set(terms)
    if estimator == 'importance_weighted' and model.elbo is not None:
      names = _elbo_terms(model, prepare, params, arrays)
    beside = {name: terms.pop(name) for name in BESIDE if name in terms}
    if dataset.standardised is not None:
      terms['log_scale_volume'] = np.full(len(arrays['x']),
                                          -prob.log_scale_volume(dataset.standardised))
    total = to_unit(-sum(terms.values()))
    detail = {}
    if estimator in ('bound', 'ode') and np.all(np.isfinite(total)):
      detail['terms'] = {name: float(np.mean(to_unit(-v))) for name, v in terms.items()}
      detail.update({name: float(np.mean(to_unit(v))) for name, v in beside.items()})
    card = cards.make_card(
        metric, estimator=estimator, kind=kind, split=split, n_reference=len(total),
        conditioned_on='label' if conditional and 'cond' in arrays else None,
        unit='bits per dimension' if unit == 'bpd' else 'nats per example',
        dequantisation=next((how for term, how in NOISE_TERMS.items() if term in names), 'none'),
        detail=detail, **protocol)
    estimand = {'exact': 'population mean', 'bound': 'population mean of the bound',
                'importance_weighted': f'population mean of the bound at {num_weights} weights',
                'ode': f'population mean of the estimate at {num_steps} steps'}
    return {metric: cards.of_mean(total, card, estimand[estimator])}

  return run


ESTIMATORS = {
    'exact': Estimator(('log_prob',), make),
    'bound': Estimator(('elbo',), make),
    'importance_weighted': Estimator(('log_weight',), make),
    'ode': Estimator(('denoise',), make),
}


def _check_asked(asked, metric: str, model, spec) -> None:
  """Refuses a metric that is asked for and not measured, naming the keyword that measures it."""
  for other in asked:
    _, kind, unit = other.split('_')
    if other == metric:
      continue
    if unit != metric.rpartition('_')[2]:
      values = 'continuous data' if spec.levels is None else f'data with {spec.levels} levels'
      raise BadInput(f'metric {other!r}: the likelihood of {values} is in '
                     f'{metric.rpartition("_")[2]}; allowed: {metric}')
    given = [e for e, its_kind in KINDS.items() if its_kind == kind]
    able = [e for e in given if not compat.missing(ESTIMATORS[e].needs, compat.provides(model))]
    if not able:
      needed = ' or '.join(' and '.join(ESTIMATORS[e].needs) for e in given)
      raise BadInput(f'metric {other!r} needs {needed}, which this model does not provide; '
                     f'allowed: {metric}')
    raise BadInput(f'metric {other!r} is not what this config measures; allowed: {metric}, or '
                   f'--config=... with evals.kw.likelihood.estimator={" or ".join(able)}')


# of the ODE, beside its terms: the value at half the steps less that at all of them, and the
# standard deviation of one example's value between its probes
BESIDE = ('half_the_steps', 'probe_std')


def _continuous(rng, x, spec, dequantisation, alpha, sigma):
  """Noise u on integers x [B, ...], and the terms [B] that make log p(x + u) a bound on log P(x).

  P(x) = int p(y) P(x | y) dy, where P(x | y) is the `reconstruction` of the bound, and Jensen's
  inequality over y = x + u. gaussian: u = sigma / alpha eps, the noise that the model knows; the
  terms are -log q(u) and log P(x | x + u). uniform: in the cell, whose log volume is the term
  (1511.01844); the tighter where p is smooth within a cell, and of no use where the model has
  learned the levels, between which it rightly finds nothing. alpha, sigma [B]: where the ODE
  starts.
  """
  if spec.levels is None:
    return x, {}
  if dequantisation == 'uniform':
    volume = jnp.full(len(x), prob.log_cell_volume(spec))
    return prob.cell_noise(rng, x, spec.levels), {CELL_TERM: volume}
  eps = jax.random.normal(rng, x.shape, x.dtype)
  z = diffuse(x, eps, alpha, sigma)
  log_q = prob.sum_event(prob.normal_log_prob(eps)) - np.prod(spec.shape) * jnp.log(sigma / alpha)
  return z / match(alpha, z), {
      GAUSSIAN_TERM: -log_q, 'reconstruction': prob.level_log_prob(x, z, alpha, sigma, spec.levels)}


def _ode_terms(model, spec, num_steps, num_probes, t_min, dequantisation):
  """(params, batch on the grid, rng) -> the terms of log p(x) by the ODE, and BESIDE, [B] nats."""
  def terms(params, batch, rng):
    rng_u, rng_probe = jax.random.split(rng)
    path = lambda t: model.diffusion.path(params, t)
    x, of_noise = _continuous(rng_u, batch['x'], spec, dequantisation,
                              *path(jnp.full(len(batch['x']), t_min)))

    def at(num_steps):
      return ode_likelihood.log_prob(
          lambda *args: model.diffusion.denoise(params, *args).x_0, path, rng_probe, x,
          batch.get('cond'), num_steps=num_steps, num_probes=num_probes, t_min=t_min)

    found, half = at(num_steps), at(num_steps // 2)
    divergence = found['divergence'].mean(0)
    worse = found['prior'] + divergence - half['prior'] - half['divergence'].mean(0)
    spread = found['divergence'].std(0, ddof=1) if num_probes > 1 else jnp.zeros(len(x))
    return {'prior': found['prior'], 'divergence': divergence, **of_noise,
            'half_the_steps': worse, 'probe_std': spread}

  return terms


def _terms_fn(model, estimator, prepare, spec, settings):
  """(params, integer batch, key of its codes, key) -> {term: [B] nats}, which sum to log p(x), a
  bound or an estimate of it.

  Those of the ODE stand together with BESIDE, which are no terms.
  """
  num_weights = settings.pop('num_weights')

  def exact(params, batch, rng):
    return {'log_prob': model.log_prob(params, batch, None)}

  def bound(params, batch, rng):
    return model.elbo(params, batch, rng)

  def importance_weighted(params, batch, rng):
    def add(total, key):
      return jnp.logaddexp(total, model.log_weight(params, batch, key)), None

    start = jnp.full(batch['x'].shape[0], -jnp.inf, jnp.float32)
    total, _ = jax.lax.scan(add, start, jax.random.split(rng, num_weights))
    return {'log_mean_weight': total - jnp.log(num_weights)}

  terms = {'exact': exact, 'bound': bound, 'importance_weighted': importance_weighted,
           'ode': _ode_terms(model, spec, **settings)}[estimator]

  def per_example(params, batch, rng_codes, rng):
    return terms(params, prepare(batch, rng_codes), rng)

  return per_example


def _elbo_terms(model, prepare, params, arrays) -> set[str]:
  """Names of the terms of the model's bound; nothing is computed."""
  def elbo(params, batch, rng):
    rng_codes, rng = jax.random.split(rng)
    return model.elbo(params, prepare(batch, rng_codes), rng)

  batch = {k: v[np.arange(1)] for k, v in arrays.items()} | {'mask': np.ones(1, bool)}
  return set(jax.eval_shape(elbo, params, batch, streams.stream(
      0, streams.Purpose.LIKELIHOOD, 0, 0, 0)))


def _keys(seed: int, split: str):
  """(batch, repeat) -> the key of its codes, and that of the model's own noise."""
  of_split = streams.SPLITS.index(split)

  def keys(batch: int, repeat: int):
    return tuple(streams.stream(seed, purpose, of_split, batch, repeat)
                 for purpose in (streams.Purpose.CODES, streams.Purpose.LIKELIHOOD))

  return keys


def _over_split(per_example, params, arrays, keys, repeats, batch_size, tick):
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
      terms = per_example(params, batch, *keys(start // size, repeat))
      for name, value in terms.items():
        rows = np.asarray(value, np.float64)[mask]
        total.setdefault(name, np.zeros(n))[index[mask]] += rows / repeats
  return total
