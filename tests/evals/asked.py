"""Evaluators as the caller runs them, in one call and without a cache."""

from genjax import data
from genjax.evals import caller, kinds


def task(dataset, num_samples=1024, split='test', **kw) -> kinds.Task:
  """What an evaluator is asked; kw: further fields of a Task."""
  prepare = lambda batch, rng=None: data.prepare(batch, dataset.spec, rng)
  return kinds.Task(dataset, split, num_samples, prepare=prepare, **kw)


def of_samples(module, dataset, *, split='test', num_samples=1024, encoder=None, pixels=None,
               keep=lambda part, compute: compute(), **kw):
  """run(draw) -> {metric: Value} of an evaluator of samples with one estimator; kw: of its make."""
  [(estimator, of)] = module.ESTIMATORS.items()
  name = module.__name__.rpartition('.')[2]
  return caller.of_samples(
      name, estimator, module, of.make(**kw),
      task(dataset, num_samples, split, encoder=encoder, pixels=pixels), keep)


def of_model(module, estimator, model, asked_of: kinds.Task, **kw):
  """run(params, draw) -> {metric: Value} of an evaluator of a model; kw: of its make."""
  return caller.evaluator('mine', estimator, {'mine': module}, kw, asked_of, model)
