"""True divergences between data of known density and a model: quadrature, or honest estimates."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import divergence_estimates as estimates
from genjax.evals import quadrature
from genjax.numerics import streams
from genjax.types import BadInput, Estimator

METRICS = ('kl_data_model', 'kl_model_data', 'js', 'tv', 'modes_covered', 'high_quality')
NAMES = ('kl_data_model', 'kl_model_data', 'js', 'tv')
UNITS = {'kl_data_model': 'nats', 'kl_model_data': 'nats', 'js': 'nats', 'tv': 'share'}
NUM_STD = 3.0  # a sample within so many standard deviations of a mode is of high quality


def make(model, *, estimator, spec, dataset, split, seed, num_samples=4096, grid=256, outer=48,
         reach=8.0, num_histogram=32768, bins=32):
  """run(params, draw) -> kl_*, js, tv, modes_covered, high_quality.

  kl_data_model is KL(p_data, p_model) in nats; js = (KL(p, m) + KL(q, m)) / 2 with m the mean of
  both, in nats; tv = int |p - q| / 2. quadrature: `grid` midpoints a side on the data's box, and
  `outer` cells a side that stretch to `reach` half widths, so that the tails of the model count;
  a density that does not integrate to 1 within 1 % gives no number. quadrature_energy:
  normalised on that grid. monte_carlo: means over exact data and model samples, any dimension.
  histogram: bins x bins cells from num_histogram samples, with the same estimate for exact
  samples in the card. Raises BadInput where the data are not 2-D and the estimator is.
  """
  if estimator != 'monte_carlo' and tuple(spec.shape) != (2,):
    raise BadInput(f'evaluator true_divergence: estimator {estimator!r} is for 2-D data, and '
                   f'{dataset.name!r} has shape {tuple(spec.shape)}; allowed: monte_carlo')
  rng = streams.stream(seed, streams.Purpose.EXACT_SAMPLES, streams.SPLITS.index(split))
  shared = {'split': split, 'dataset': dataset.name}
  on_samples = estimator in ('monte_carlo', 'histogram')
  if not on_samples:
    nodes = quadrature.stretched_grid(dataset.box, grid, outer, reach)
    divergences = quadrature.make(model, estimator, dataset, nodes)

  def run(params, draw):
    if estimator == 'histogram':
      figures = estimates.histogram(draw(num_histogram)[0], dataset, rng, bins)
      shared_here = {**shared, 'n_generated': num_histogram, 'bins': bins}
    elif estimator == 'monte_carlo':
      figures = estimates.monte_carlo(model, params, draw(num_samples)[0], dataset, rng)
      shared_here = {**shared, 'n_generated': num_samples, 'n_reference': num_samples}
    else:
      figures = divergences(params)
      shared_here = {**shared, 'grid': grid, 'outer': outer, 'reach': reach}
    kind = 'estimate' if on_samples else 'quadrature'
    out = {name: _value(name, figures[name], {'estimator': estimator, 'kind': kind, **shared_here})
           for name in NAMES}
    return {**out, **samples_figures(model, draw, dataset, num_samples, split)}

  return run


ESTIMATORS = {
    'quadrature': Estimator(('log_prob', 'data.log_density'), make),
    'quadrature_energy': Estimator(('energy', 'data.log_density'), make),
    'monte_carlo': Estimator(('log_prob', 'data.log_density', 'sample'), make),
    'histogram': Estimator(('sample', 'data.log_density'), make),
}


def _value(name, figure, protocol):
  card = cards.make_card(name, unit=UNITS[name], detail=figure.detail, **protocol)
  if figure.value is None:
    return cards.absent(card, figure.reason)
  if figure.half is None:
    return cards.plain(figure.value, card, figure.reason)
  return cards.with_interval(figure.value, figure.value - figure.half, figure.value + figure.half,
                             card, 'the divergence itself', figure.reason)


def samples_figures(model, draw, dataset, num_samples, split):
  """modes_covered and high_quality of num_samples samples."""
  shared = {'estimator': 'samples', 'split': split, 'dataset': dataset.name,
            'n_generated': num_samples}
  covered = cards.make_card('modes_covered', unit='modes', num_std=NUM_STD, **shared,
                            rule='at least one sample within num_std')
  quality = cards.make_card('high_quality', unit='share', num_std=NUM_STD, **shared)
  made = {'modes_covered': covered, 'high_quality': quality}
  if model.sample is None:
    return {name: cards.absent(card, 'the model does not sample') for name, card in made.items()}
  x = np.asarray(draw(num_samples)[0], np.float64).reshape(num_samples, -1)
  if not np.all(np.isfinite(x)):
    return {name: cards.absent(card, 'samples are not finite') for name, card in made.items()}
  return _modes(x, dataset, covered, quality)


def _modes(x, dataset, covered, quality):
  if dataset.modes is None or dataset.mode_std is None:
    reason = 'the data have no modes of known width'
    return {'modes_covered': cards.absent(covered, reason),
            'high_quality': cards.absent(quality, reason)}
  modes = np.asarray(dataset.modes, np.float64).reshape(len(dataset.modes), -1)
  counts = estimates.mode_counts(x, modes, NUM_STD * dataset.mode_std)
  perfect = estimates.perfect_sampler(len(modes), x.shape[1], len(x), NUM_STD)
  covered = {**covered, 'num_modes': len(modes),
             'detail': {'counts': counts.tolist(), 'perfect_sampler': perfect['modes_covered']}}
  quality = {**quality, 'detail': {'perfect_sampler': perfect['high_quality']}}
  return {'modes_covered': cards.plain(np.sum(counts > 0), covered, 'a count'),
          'high_quality': cards.of_share(int(counts.sum()), len(x), quality,
                                         'share among independent samples')}
