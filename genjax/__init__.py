"""genjax: what is modelled, which divergence is minimised, on which data; numbers that compare."""


def load(workdir, step=None, ema=True):
  """The model, its parameters and the DataSpec of a run directory; see `genjax.runs.load`."""
  from genjax import runs  # the contract can be imported without the rest

  run = runs.load(workdir, step, ema)
  return run.model, run.params, run.dataset.spec
