"""Selects the checkpoint that is a run's result: the best on the validation split, if cheap."""

import math
from collections.abc import Callable
from typing import NamedTuple

from genjax import compat
from genjax.compat import pick
from genjax.evals import EVALS
from genjax.numerics.streams import Purpose
from genjax.wiring.evaluation import answering, drawer, estimator_of, evaluators
from genjax.wiring.training import Run

LIKELIHOOD = 'nll'  # the metric for the likelihood that trained the model
# of objectives that train by likelihood
ESTIMATORS = ('exact', 'bound', 'estimate', 'importance_weighted', 'doubly_reparametrised')
TIMES = 10  # default number of validations per run
SHARE = 0.05  # largest cost of all validations, as a share of the training's
FORWARD = 3  # cost of a training example, in forward passes of a validation example
LEAST = 100  # least number of validation examples; fewer make the choice random
FEWEST = 5  # least number of validations; fewer leave little to choose from
REPEATS = 8  # largest number of draws of a bound's noise


class Selection(NamedTuple):
  """The metric on the validation split that selects a checkpoint, and how often it is measured."""

  metric: str
  every: int  # steps
  likelihood: dict  # keyword arguments of the evaluator, for the metric LIKELIHOOD


def selection(config, training: Run) -> Selection | None:
  """The Selection by config.select; None: the last checkpoint is the result.

  The default metric 'nll' applies if a likelihood trains the model and there is a validation split.
  Draws and examples are reduced until all cost at most SHARE of the training; config.select.every
  lifts this limit. A run too short for LEAST examples or FEWEST validations takes its last step.
  """
  metric, every, k = config.select.metric, config.select.every, config.steps_per_dispatch
  if not metric or training.step is None:
    return None
  often = every or k * math.ceil(config.steps / (TIMES * k))
  if metric != LIKELIHOOD:
    return Selection(metric, often, {})
  if training.estimator not in ESTIMATORS or 'validation' not in training.dataset.splits:
    return None
  available = len(training.dataset.splits['validation']['x'])
  rows = config.batch_size * sum(player.num_updates for player in training.objective.players)
  passes = available * REPEATS if every else int(SHARE * FORWARD * often * rows)
  count = min(available, passes)
  if not every and (count < min(available, LEAST) or config.steps // often < FEWEST):
    return None
  return Selection(metric, often, {'num_examples': count,
                                   'num_repeats': min(REPEATS, passes // count)})


def validator(config, training: Run, tick: Callable = lambda: None) -> Callable | None:
  """validate(state) -> the metric of `selection`, lower is better; None without a selection."""
  chosen = selection(config, training)
  if chosen is None:
    return None
  by_likelihood = chosen.metric == LIKELIHOOD
  if by_likelihood:
    config = config.copy_and_resolve_references()
    config.evals.kw = {'likelihood': _keywords(config, training, chosen.likelihood)}
  asked = {'likelihood': ()} if by_likelihood else answering([chosen.metric], config.evals.names)
  # the inverse pass of a flow, which may be slow, is measured with the result only
  model = training.model._replace(bijection=None)
  [(name, evaluate)] = evaluators(config, training.dataset, model, 'validation', tuple(asked),
                                  asked=asked, tick=tick).items()
  draw_from = drawer(config, training, config.seed, purpose=Purpose.VALIDATION_DRAWS, tick=tick)

  def validate(state):
    params = state.ema if config.ema else state.params['model']
    values = evaluate(params, draw_from(params))
    metric = next(iter(values)) if by_likelihood else chosen.metric
    value = pick(f'metric of evaluator {name!r} here', metric, values).value
    return math.inf if value is None else value

  return validate


def _keywords(config, training: Run, likelihood: dict) -> dict:
  """The keyword arguments among `likelihood` that the estimator for this model takes."""
  estimator = estimator_of('likelihood', training.model, config.model.family, training.dataset,
                           None)
  taken = compat.arguments(EVALS['likelihood'].ESTIMATORS[estimator].make, {})
  return {key: value for key, value in likelihood.items() if key in taken}
