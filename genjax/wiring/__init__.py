"""From a config to the parts of a run: the only reader of a ConfigDict.

A make(...) receives the arguments in its signature: those that wiring offers (spec, critic, ...)
and the config's keyword arguments. Others are refused before an array exists.
"""

from genjax.wiring.evaluation import (
  affordable,
  answering,
  drawer,
  draws_pixels,
  encoder,
  evaluator,
  evaluators,
  pictured,
  samples_provide,
)
from genjax.wiring.foresight import cards as foreseen_cards
from genjax.wiring.parts import (
  autoguided,
  dataset,
  family,
  model_roles,
  plain,
  provided,
  warmup_beyond_the_run,
)
from genjax.wiring.training import (
  Run,
  abstract_rows,
  abstract_state,
  batches,
  check,
  compiled_step,
  dispatched,
  first_rows,
  fit,
  mesh,
  model_dtype,
  model_flops,
  remat_settings,
  run,
)
from genjax.wiring.validation import Selection, selection, validator

__all__ = ['Run', 'Selection', 'abstract_rows', 'abstract_state', 'affordable', 'answering',
           'autoguided', 'batches', 'check', 'compiled_step', 'dataset', 'dispatched', 'drawer',
           'draws_pixels', 'encoder', 'evaluator', 'evaluators', 'family', 'first_rows', 'fit',
           'foreseen_cards', 'mesh', 'model_dtype', 'model_flops', 'model_roles', 'pictured',
           'plain', 'provided', 'remat_settings', 'run', 'samples_provide', 'selection',
           'validator', 'warmup_beyond_the_run']
