"""genjax: generative models, the divergences that train them, and numbers that can be compared.

  import genjax
  config = genjax.config('configs/digits.py:family=vae,objective=kl', {'steps': 500})
  metrics = genjax.train(config, 'runs/vae')
  samples = genjax.sample('runs/vae', num=16, seed=7)
  model, params, spec = genjax.load('runs/vae')
"""

from types import ModuleType

from genjax import train as _train_modules  # the package of step, loop and optimizers

# each function imports what it needs, so that the contract can be imported alone


def config(text, overrides=None):
  """The config that `FILE.py:ARGUMENT` describes; see `genjax.configs`.

  overrides: {dotted key: value}, as flags set them. Raises BadInput.
  """
  from genjax import configs

  loaded = configs.load(text)
  configs.override(loaded, overrides or {})
  return loaded


class _Train(ModuleType):
  """`genjax.train`: a function when it is called, and the package of that name."""

  def __call__(self, config, workdir, **options):
    """Trains a config or resumes its run, and measures it; returns {metric: Value}.

    config: a ConfigDict, from `genjax.config` or your own. workdir: the run directory.
    options: see `genjax.runs.train`.
    """
    from genjax import runs

    return runs.train(config, workdir, **options)


_train_modules.__class__ = _Train


def evaluate(workdir, split='test', step=None, metrics=None, config=None, **options):
  """Measures a run directory and writes the record; returns {metric: Value}.

  split: 'test' or 'validation'.
  step: of the checkpoint; None: the selected one, else the last.
  metrics: names of metrics or evaluators; None: those of the config.
  config: a ConfigDict of the same training with another sampler, other evaluators or another
    encoder; None: the run's own.
  options: see `genjax.runs.evaluate`.
  """
  from genjax import runs

  measured = None if config is None else config.to_dict()
  with runs.on_mesh(workdir):
    return runs.evaluate(workdir, split, step, metrics, measured=measured, **options)


def sample(workdir, num=64, seed=0, **options):
  """Draws `num` samples from a run directory; returns `genjax.runs.Samples`.

  Sample i depends on the run, the seed and i only. options: see `genjax.runs.sample`.
  """
  from genjax import runs

  return runs.sample(workdir, num, seed, **options)


def load(workdir, step=None, ema=True):
  """(model, params, spec) of a run directory.

  step: of the checkpoint; None: the selected one, else the last. ema: use the averaged parameters
  if the run has them.
  """
  from genjax import runs

  run = runs.load(workdir, step, ema)
  return run.model, run.params, run.dataset.spec
