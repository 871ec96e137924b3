"""What measures a run: encoder, evaluators, samples for them, validation."""

import inspect
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from genjax import compat, data, encoders, extension
from genjax.compat import pick
from genjax.encoders import Encoder
from genjax.evals import EVALS, caller, draw, kinds
from genjax.evals.kinds import Task
from genjax.numerics import conditions, streams
from genjax.numerics.samplers import SAMPLERS
from genjax.numerics.streams import Purpose
from genjax.pod import flops
from genjax.types import BadInput, DataSpec, Model, Objective
from genjax.wiring.parts import SAMPLER_ARGS, choose, plain, provided, suited
from genjax.wiring.training import Run, abstract_rows, abstract_state

LITTLE = 1e10  # FLOPs that samples may always cost: about a second of one processor


def encoder(config, spec: DataSpec):
  """The encoder of config.evals.encoder for these data, or None."""
  return encoders.load(config.evals.encoder, spec) if config.evals.encoder else None


def evaluator(name: str, eval_kw: Mapping, *, model: Model | None, family: str, dataset, split: str,
              encoder: Encoder | None, num_samples: int, seed: int, conditional: bool = False,
              asked: tuple[str, ...] = (), samples: Mapping | None = None,
              tick: Callable = lambda: None) -> Callable:
  """run(params, draw) -> {metric: Value} of one evaluator; BadInput where it cannot answer.

  model: None where samples are all that there is; evaluators of samples can answer then.
  family: the name of the model, or of the samples, in a refusal.
  conditional: whether the model is conditioned on the labels of the data.
  asked: metrics that must be among those of run; (): whatever it gives.
  samples: plain data that identify what draw returns; then all figures are kept, by them too.
  tick() is called within what takes long.
  """
  given = dict(eval_kw)
  estimator = estimator_of(name, model, family, dataset, given.pop('estimator', None))
  task = Task(dataset, split, num_samples, seed, encoder, encoders.load('identity', dataset.spec),
              conditional, asked, tick=tick,
              prepare=lambda batch, rng=None: data.prepare(batch, dataset.spec, rng))
  return caller.evaluator(name, estimator, EVALS, given, task, model, samples)


def estimator_of(name: str, model: Model | None, family: str, dataset, asked: str | None) -> str:
  """The estimator of an evaluator: `asked`, or the first legal one; or the teaching refusal."""
  if model is not None:
    return choose('evaluator', name, EVALS, model, family, dataset, asked)
  tables = {other: kinds.that_see_samples(module.ESTIMATORS) for other, module in EVALS.items()}
  if not pick('evaluator', name, tables):
    raise BadInput(f'evaluator {name!r} measures a model, and here are {family} alone; allowed: '
                   f'{", ".join(other for other, estimators in tables.items() if estimators)}')
  return compat.choose('evaluator', name, pick('evaluator', name, tables), samples_provide(dataset),
                       asked, model=family, data=dataset.name, others=tables,
                       models=lambda: provided(dataset.spec))


def samples_provide(dataset) -> frozenset[str]:
  """What is there for evaluators where samples are all that there is, as `compat.provides` says."""
  return frozenset({'sample', *(f'data.{name}' for name in data.properties(dataset))})


def answering(names: Iterable[str],
              known: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
  """{evaluator: metrics asked of it}: of names of evaluators (no metric) and of metrics.

  known: evaluators of the config; those in a file of their own are no entries of EVALS. Raises
  BadInput for another name.
  """
  names = [extension.pinned(name) for name in names]
  there = {**EVALS, **{name: pick('evaluator', name, EVALS) for name in (*known, *names)
                       if extension.is_path(name)}}
  owners = {metric: name for name, module in there.items() for metric in (*module.METRICS, name)}
  found = {}
  for name in names:
    owner = pick('metric', name, owners)
    found[owner] = (*found.get(owner, ()), *([name] if name in there[owner].METRICS else []))
  return found


def evaluators(config, dataset, model: Model, split: str, names, *, optional=(),
               asked: Mapping[str, tuple[str, ...]] | None = None,
               tick: Callable = lambda: None) -> dict:
  """{name: evaluator} of those that this model can answer.

  Names in `optional` that the model or the data cannot answer are left out; others are refused.
  asked: of `answering`, the metrics that an evaluator must give.
  """
  own = {extension.stem(name): name for name in (*config.evals.names, *names)
         if extension.is_path(name)}
  for name in set(config.evals.kw) - set(own):
    pick('evaluator', name, EVALS)
  _check_metrics(own.values())
  read = encoder(config, dataset.spec)
  have = compat.provides(model, data.properties(dataset))
  return {
      name: evaluator(name, plain(config.evals.kw.get(extension.stem(name), {})), model=model,
                      family=config.model.family, dataset=dataset, split=split, encoder=read,
                      num_samples=config.evals.num_samples, seed=config.seed, tick=tick,
                      conditional=config.conditional,
                      asked=(asked or {}).get(name, ()))
      for name in names
      if name not in optional or compat.legal(pick('evaluator', name, EVALS).ESTIMATORS, have)}


def _check_metrics(own: Iterable[str]) -> None:
  """Refuses evaluators in files of their own whose metrics another evaluator has."""
  owners = {metric: name for name, module in EVALS.items() for metric in module.METRICS}
  for name in own:
    for metric in pick('evaluator', name, EVALS).METRICS:
      if owners.setdefault(metric, name) != name:
        raise BadInput(f'{extension.place(name)}: metric {metric!r} is that of evaluator '
                       f'{extension.stem(owners[metric])!r}; allowed: other names')


def sampler_of(config, objective: Objective) -> str:
  """The sampler as the cards print it: every argument, given or its default, and the guidance."""
  name, given = suited(objective.sampler, config.sampler.name, plain(config.sampler.kw))
  parameters = inspect.signature(pick('sampler', name, SAMPLERS)).parameters
  values = {key: given.get(key, parameter.default) for key, parameter in parameters.items()
            if key not in SAMPLER_ARGS}
  shown = ', '.join(f'{k}={v}' for k, v in sorted(values.items()) if v is not None)
  name = extension.label(name)
  guided = plain(config.sampler.guidance)
  weight, interval = guided.get('weight', 1.0), tuple(guided.get('interval', ()))
  if weight == 1.0:
    return f'{name}({shown})'
  parts = [f'weight={float(weight)}', *([f'interval={interval}'] if interval else []),
           *([f'autoguidance={guided["autoguidance"]}'] if guided.get('autoguidance') else [])]
  return f'{name}({shown}), guidance({", ".join(parts)})'


def sampler_name(config, objective: Objective) -> str:
  """How the cards name what draws the samples: `sampler_of` where the model denoises."""
  return sampler_of(config, objective) if objective.model.diffusion else 'direct'


def affordable(config, made: Run, model: Model, params) -> int:
  """How many samples are drawn for evaluators: config.evals.num_samples, or fewer.

  After a short training as many as cost config.evals.budget of its FLOPs, or LITTLE, in whole
  chunks of 256 and at least one. The number follows from the config alone, whatever the machine.
  params: those of `sample`, or their shapes.
  """
  n, budget = config.evals.num_samples, config.evals.budget
  if not budget or n <= draw.CHUNK or made.step is None or model.sample is None:
    return n
  cond = None
  if config.conditional:
    cond = jax.eval_shape(lambda: conditions.null(made.dataset.spec)(draw.CHUNK))
  key = jax.eval_shape(lambda: streams.stream(0, Purpose.TEST_DRAWS))
  chunk = flops.of(lambda *args: model.sample(*args[:2], draw.CHUNK, args[2])[0], params, key, cond)
  training = config.steps * flops.of(
      made.step, abstract_state(config, made), abstract_rows(config, made))
  chunks = max(1, int(max(LITTLE, budget * training) / chunk)) if chunk else n
  return min(n, draw.CHUNK * chunks)


def draws_pixels(model: Model) -> bool:
  """Whether samples may have a noise of single pixels that `rsample` has not.

  True for a VAE. Also for densities with a bound, as a flow, whose two draws look alike.
  """
  return model.rsample is not None and model.elbo is not None


def pictured(model: Model) -> Model:
  """The model whose samples a picture shows: the mean of the pixels, where a draw adds their noise.

  Sample i is that of the same latent; models other than a VAE draw what their `rsample` gives.
  """
  if model.rsample is None:
    return model
  return model._replace(sample=lambda params, rng, n, cond: (
      model.rsample(params, rng, n, cond), 1))


def drawer(config, run: Run, seed: int, *, model: Model | None = None, cond=None,
           purpose: Purpose = Purpose.TEST_DRAWS, chunk: int | None = None,
           tick: Callable = lambda: None) -> Callable:
  """draw_from(params) -> draw(n) of `evals.draw`, conditional as the config says.

  model: in place of the run's own; chunk: of config.mesh.chunk.
  """
  by_data = config.evals.labels == 'data'
  return draw.make(
      model or run.model, run.dataset.spec, seed=seed, cond=cond, purpose=purpose, tick=tick,
      sampler=sampler_name(config, run.objective),
      conditional=config.conditional,
      label_counts=run.dataset.label_counts if by_data else None,
      contexts=_contexts(run.dataset),
      chunk=config.mesh.chunk if chunk is None else chunk)


def _contexts(dataset) -> np.ndarray | None:
  """The vectors [N, C] of the training examples that are here, if they have any."""
  vectors = dataset.splits.get('train', {}).get('cond') if dataset.spec.context else None
  return vectors if isinstance(vectors, np.ndarray) else None
