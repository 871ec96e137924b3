"""True divergences between data of known density and a model: by quadrature, or as estimates.

kl_data_model is KL(p_data, p_model) in nats; js = (KL(p, m) + KL(q, m)) / 2 with m the mean of
both, in nats; tv = int |p - q| / 2. modes_covered and high_quality measure the task's number of
samples. Estimators on a grid raise BadInput if the data are not 2-D.
"""

from collections.abc import Callable

import numpy as np

from genjax.evals import card as cards
from genjax.evals import divergence_estimates as estimates
from genjax.evals import quadrature as plane
from genjax.evals.kinds import Task
from genjax.numerics import streams
from genjax.types import BadInput, Estimator, Model

METRICS = ('kl_data_model', 'kl_model_data', 'js', 'tv', 'modes_covered', 'high_quality')
NAMES = ('kl_data_model', 'kl_model_data', 'js', 'tv')
UNITS = {'kl_data_model': 'nats', 'kl_model_data': 'nats', 'js': 'nats', 'tv': 'share'}
NUM_STD = 3.0  # radius around a mode, in standard deviations, of high-quality samples


def quadrature(model: Model, task: Task, *, grid: int = 256, outer: int = 48,
               reach: float = 8.0) -> Callable:
  """evaluate(params, draw) -> the metrics, for 2-D data and a normalised density.

  grid: midpoints a side on the data's box. outer: cells beyond each edge, which grow until the grid
  has `reach` half widths of the box, so that the tails of the model count. A density that does not
  integrate to 1 within 1 % gives no number.
  """
  return _by_quadrature(model, task, 'quadrature', grid, outer, reach)


def quadrature_energy(model: Model, task: Task, *, grid: int = 256, outer: int = 48,
                      reach: float = 8.0) -> Callable:
  """evaluate(params, draw) -> the metrics, for 2-D data and an energy, normalised on that grid."""
  return _by_quadrature(model, task, 'quadrature_energy', grid, outer, reach)


def _by_quadrature(model, task: Task, estimator: str, grid: int, outer: int, reach: float):
  _check_plane(estimator, task)
  nodes = plane.stretched_grid(task.dataset.box, grid, outer, reach)
  divergences = plane.make(model, estimator, task.dataset, nodes)
  return _evaluator(model, task, lambda params, draw: divergences(params), kind='quadrature',
                    grid=grid, outer=outer, reach=reach)


def monte_carlo(model: Model, task: Task) -> Callable:
  """evaluate(params, draw) -> the metrics: means over exact and model samples, in any dimension."""
  n, rng = task.num_samples, _key(task)
  return _evaluator(
      model, task, lambda params, draw: estimates.monte_carlo(
          model, params, draw(n)[0], task.dataset, rng),
      kind='estimate', n_generated=n, n_reference=n)


def histogram(model: Model, task: Task, *, num_histogram: int = 32768, bins: int = 32) -> Callable:
  """evaluate(params, draw) -> the metrics of 2-D data, from num_histogram samples.

  They are counted in bins x bins cells; the card has the same estimate for exact samples.
  """
  _check_plane('histogram', task)
  rng = _key(task)
  return _evaluator(
      model, task, lambda params, draw: estimates.histogram(
          draw(num_histogram)[0], task.dataset, rng, bins),
      kind='estimate', n_generated=num_histogram, bins=bins)


ESTIMATORS = {
    'quadrature': Estimator(('log_prob', 'data.log_density'), quadrature),
    'quadrature_energy': Estimator(('energy', 'data.log_density'), quadrature_energy),
    'monte_carlo': Estimator(('log_prob', 'data.log_density', 'sample'), monte_carlo),
    'histogram': Estimator(('sample', 'data.log_density'), histogram),
}


def _evaluator(model, task: Task, divergences: Callable, **protocol) -> Callable:
  """evaluate(params, draw) -> {metric: Value}; divergences(params, draw) -> {name: Figure}."""
  def evaluate(params, draw):
    figures = divergences(params, draw)
    out = {name: _value(name, figures[name], task, protocol) for name in NAMES}
    return {**out, **samples_figures(model, draw, task)}

  return evaluate


def _check_plane(estimator: str, task: Task) -> None:
  shape = tuple(task.dataset.spec.shape)
  if shape != (2,):
    raise BadInput(f'evaluator true_divergence: estimator {estimator!r} is for 2-D data, and '
                   f'{task.dataset.name!r} has shape {shape}; allowed: monte_carlo')


def _key(task: Task):
  return streams.stream(task.seed, streams.Purpose.EXACT_SAMPLES, streams.SPLITS.index(task.split))


def _value(name, figure, task: Task, protocol):
  card = task.card(name, unit=UNITS[name], dataset=task.dataset.name, detail=figure.detail,
                   **protocol)
  if figure.value is None:
    return cards.absent(card, figure.reason)
  if figure.half is None:
    return cards.plain(figure.value, card, figure.reason)
  return cards.with_interval(figure.value, figure.value - figure.half, figure.value + figure.half,
                             card, 'the divergence itself', figure.reason)


def samples_figures(model, draw, task: Task) -> dict[str, cards.Value]:
  """{metric: Value} of modes_covered and high_quality, from task.num_samples samples."""
  dataset, num_samples = task.dataset, task.num_samples
  shared = {'estimator': 'samples', 'dataset': dataset.name, 'n_generated': num_samples,
            'num_std': NUM_STD}
  covered = task.card('modes_covered', unit='modes', rule='at least one sample within num_std',
                      **shared)
  quality = task.card('high_quality', unit='share', **shared)
  card_of = {'modes_covered': covered, 'high_quality': quality}
  if model.sample is None:
    return {name: cards.absent(card, 'the model does not sample') for name, card in card_of.items()}
  x = np.asarray(draw(num_samples)[0], np.float64).reshape(num_samples, -1)
  if not np.all(np.isfinite(x)):
    return {name: cards.absent(card, 'samples are not finite') for name, card in card_of.items()}
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
