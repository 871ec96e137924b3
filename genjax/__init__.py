"""genjax: what is modelled, which divergence is minimised, on which data; numbers that compare.

  import genjax
  config = genjax.config('configs/digits.py:family=vae,objective=kl', {'steps': 500})
  metrics = genjax.train(config, 'runs/vae')
  samples = genjax.sample('runs/vae', num=16, seed=7)
  model, params, spec = genjax.load('runs/vae')
"""

import types

from genjax import train as _room  # which is empty but for its modules

# the contract can be imported without the rest: each function imports what it needs


def config(text, overrides=None):
  """The config that `FILE.py:ARGUMENT` describes; see `genjax.configs`.

  overrides: {dotted key: value}, as flags set them. Raises BadInput.
  """
  from genjax import configs

  made = configs.load(text)
  configs.override(made, overrides or {})
  return made


class _Train(types.ModuleType):
  """`genjax.train`: a verb when it is called, and the room of that name."""

  def __call__(self, config, workdir, **options):
    """Trains a config, or resumes it, and measures it: {metric: Value}.

    config: a ConfigDict of `genjax.config`, or your own; options: see `genjax.runs.training`.
    """
    from genjax import runs

    return runs.train(config, workdir, **options)


_room.__class__ = _Train


def evaluate(workdir, split='test', step=None, metrics=None, config=None, **options):
  """Measures a run directory and records it: {metric: Value}; see `genjax.runs.measuring`.

  metrics: names of metrics or evaluators; None: those of the config. config: a ConfigDict of the
  same training with other sampler, evaluators or encoder; None: the run's own.
  """
  from genjax import runs

  measured = None if config is None else config.to_dict()
  with runs.on_mesh(workdir):
    return runs.evaluate(workdir, split, step, metrics, measured=measured, **options)


def sample(workdir, num=64, seed=0, **options):
  """Samples of a run directory, with their labels; see `genjax.runs.sampling`."""
  from genjax import runs

  return runs.sample(workdir, num, seed, **options)


def load(workdir, step=None, ema=True):
  """The model, its parameters and the DataSpec of a run directory; see `genjax.runs.load`."""
  from genjax import runs

  run = runs.load(workdir, step, ema)
  return run.model, run.params, run.dataset.spec
