"""The two kinds of evaluators: of samples of any origin, and of a model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from genjax.types import Estimator


class Floor(NamedTuple):
  """Known examples that are measured like the samples, for comparison."""

  suffix: str  # of the metrics' names
  # 'other': the same number of examples of another split; 'split': the split itself; 'single': its
  # first example, repeated; 'copies': training examples
  examples: str
  metrics: tuple[str, ...] = ()  # to measure; (): all METRICS that the samples have


DATA, SINGLE = Floor('_data', 'other'), Floor('_single', 'single')
COPIES = Floor('_copies', 'copies')


class OfSamples(NamedTuple):
  """An evaluator of samples, as its `make` returns it and `caller.of_samples` runs it.

  measure: returns {metric: Value}. It gets those of these arguments that its signature names:
    x [N, ...]: the samples, or a floor's examples; integer levels, or float32
    cond: labels [N] on which the samples are conditioned, or None
    reference [M, ...]: examples of the split
    train: training examples, or None
    encoder: an Encoder for such data
    card: (metric, *, unit, detail={}, power=None, further protocol) -> dict, the metric's card. It
      already has the estimator, split, encoder, both numbers of examples, seed of subsets and
      origin of x; a keyword replaces an entry. power(plant) -> dict is added to the detail of the
      samples only; plant(rule, signals, num_copies) -> dict is `planted.detail`
  floors: known examples that are measured as well.
  equal: use the same N on both sides: at most num_samples, and the sizes of the splits.
  at_least: least number of examples on each side.
  classifies: the encoder must have class probabilities.
  compares: the figures depend on the reference.
  num_train: largest number of training examples, a fixed random subset; None: all.
  subset_seed: of the random subsets.
  num_plantings: number of repetitions that estimate the power; 0: no power.
  """

  measure: Callable
  floors: tuple[Floor, ...] = (SINGLE, DATA)
  equal: bool = False
  at_least: int = 1
  classifies: bool = False
  compares: bool = True
  num_train: int | None = None
  subset_seed: int = 0
  num_plantings: int = 0


class Task(NamedTuple):
  """The task of an evaluator: the data, the number of samples, the random seed."""

  dataset: Any
  split: str
  num_samples: int  # for evaluators without a number of their own
  seed: int = 0
  encoder: Any = None  # an Encoder, or None if the data have none
  pixels: Any = None  # the Encoder 'identity'
  conditional: bool = False  # whether the model is conditioned on the labels of the data
  asked: tuple[str, ...] = ()  # metrics that the evaluator must return; (): any
  prepare: Callable | None = None  # (raw batch, rng=None) -> batch on the grid
  tick: Callable = lambda: None  # called during long computations
  # (metric, *, unit, further protocol) -> dict, a card with the estimator and the split
  card: Callable | None = None


def that_see_samples(estimators: Mapping[str, Estimator]) -> dict[str, Estimator]:
  """The estimators that need samples only, not a model."""
  return {name: estimator for name, estimator in estimators.items() if estimator.of == 'samples'}
