"""The two kinds of evaluators: of samples, whoever made them, and of a model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from genjax.types import Estimator


class Floor(NamedTuple):
  """Known examples in place of the samples; their figures stand next to those of the samples."""

  suffix: str  # of the metrics' names
  # 'other': as many examples of another split; 'split': the split itself; 'single': its first
  # example, repeated; 'copies': training examples
  examples: str
  metrics: tuple[str, ...] = ()  # of these alone; (): of all METRICS that the samples have


DATA, SINGLE = Floor('_data', 'other'), Floor('_single', 'single')
COPIES = Floor('_copies', 'copies')


class OfSamples(NamedTuple):
  """An evaluator of samples, as its `make` returns it and `caller.of_samples` runs it.

  measure: returns {metric: Value}. It gets those of these arguments that its signature names:
    x [N, ...]: the samples, or a floor's examples; integer levels, or float32
    cond: labels [N] that were asked for, or None
    reference [M, ...]: examples of the split
    train: training examples, or None
    encoder: an Encoder of such data
    card: (metric, *, unit, detail={}, power=None, further protocol) -> dict, the metric's card. It
      has the estimator, the split, the encoder, both numbers of examples, the seed of subsets and
      what made x already; a keyword replaces an entry. power: plant -> dict, added to the detail of
      the samples alone, with plant(rule, signals, num_copies) -> dict of `planted.detail`
  floors: what stands next to the figures of the samples.
  equal: whether N is the same on both sides: at most num_samples, and the sizes of the splits.
  at_least: examples that each side must have.
  classifies: whether the encoder must give class probabilities.
  compares: whether the figures depend on the reference.
  num_train: training examples that are used at most, fixed random ones; None: all.
  subset_seed: which examples a subset has.
  num_plantings: repetitions that tell the power; 0: it is not told.
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
  """What an evaluator is asked: about which data, how many samples, by which random numbers."""

  dataset: Any
  split: str
  num_samples: int  # of the samples, where an evaluator has no number of its own
  seed: int = 0
  encoder: Any = None  # an Encoder, or None where the data have none
  pixels: Any = None  # the Encoder that changes nothing
  conditional: bool = False  # whether the model is conditioned on the labels of the data
  asked: tuple[str, ...] = ()  # metrics that must be among the evaluator's; (): whatever it gives
  prepare: Callable | None = None  # (batch as the data hold it, rng=None) -> batch as models see it
  tick: Callable = lambda: None  # to be called within what takes long
  # (metric, *, unit, further protocol) -> dict, a card with the estimator and the split
  card: Callable | None = None


def that_see_samples(estimators: Mapping[str, Estimator]) -> dict[str, Estimator]:
  """Those of the estimators that see samples alone."""
  return {name: estimator for name, estimator in estimators.items() if estimator.of == 'samples'}
