"""The measurement of a run: encoder, evaluators, and samples for them."""

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

LITTLE = 1e10  # FLOPs that samples may always cost, about a second of one processor


def encoder(config, spec: DataSpec):
  """The encoder that config.evals.encoder names, for data of this spec; None without a name."""
  return encoders.load(config.evals.encoder, spec) if config.evals.encoder else None


def evaluator(name: str, eval_kw: Mapping, *, model: Model | None, family: str, dataset, split: str,
              encoder: Encoder | None, num_samples: int, seed: int, conditional: bool = False,
              asked: tuple[str, ...] = (), samples: Mapping | None = None,
              tick: Callable = lambda: None) -> Callable:
  """Returns evaluate(params, draw) -> {metric: Value} of one evaluator.

  name, eval_kw: of the evaluator, with its estimator and keyword arguments.
  model: None if there are samples only; then only evaluators of samples work.
  family: name of the model, or of the samples, for messages.
  dataset, split, encoder, num_samples, seed: of the measurement, see `kinds.Task`.
  conditional: whether the model is conditioned on the labels of the data.
  asked: metrics that evaluate must return; (): any.
  samples: plain data that identify the samples of draw, for the key of kept figures.
  tick: called during long computations.
  Raises BadInput if the evaluator cannot measure this model on these data.
  """
  given = dict(eval_kw)
  estimator = estimator_of(name, model, family, dataset, given.pop('estimator', None))
  task = Task(dataset, split, num_samples, seed, encoder, encoders.load('identity', dataset.spec),
              conditional, asked, tick=tick,
              prepare=lambda batch, rng=None: data.prepare(batch, dataset.spec, rng))
  return caller.evaluator(name, estimator, EVALS, given, task, model, samples)


def estimator_of(name: str, model: Model | None, family: str, dataset, asked: str | None) -> str:
  """The name of an evaluator's estimator: `asked`, or the first legal one; BadInput if none is.

  model: None if there are samples only; family: name of either, for messages.
  """
  if model is not None:
    return choose('evaluator', name, EVALS, model, family, dataset, asked)
  tables = {other: kinds.that_see_samples(module.ESTIMATORS) for other, module in EVALS.items()}
  if not pick('evaluator', name, tables):
    raise BadInput(f'evaluator {name!r} measures a model, and here are only {family}; allowed: '
                   f'{", ".join(other for other, estimators in tables.items() if estimators)}')
  return compat.choose('evaluator', name, pick('evaluator', name, tables), samples_provide(dataset),
                       asked, model=family, data=dataset.name, others=tables,
                       models=lambda: provided(dataset.spec))


def samples_provide(dataset) -> frozenset[str]:
  """What evaluators may need, as in `compat.provides`, if there are samples of a model only."""
  return frozenset({'sample', *(f'data.{name}' for name in data.properties(dataset))})


def answering(names: Iterable[str],
              known: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
  """{evaluator: requested metrics}, for names of evaluators (no metric) or of metrics.

  known: evaluators of the config, which may be in a user's own files. Raises BadInput for unknown
  names.
  """
  names = [extension.pinned(name) for name in names]
  modules = {**EVALS, **{name: pick('evaluator', name, EVALS) for name in (*known, *names)
                         if extension.is_path(name)}}
  owners = {metric: name for name, module in modules.items() for metric in (*module.METRICS, name)}
  by_evaluator = {}
  for name in names:
    owner = pick('metric', name, owners)
    metrics = (name,) if name in modules[owner].METRICS else ()
    by_evaluator[owner] = by_evaluator.get(owner, ()) + metrics
  return by_evaluator


def evaluators(config, dataset, model: Model, split: str, names, *, optional=(),
               asked: Mapping[str, tuple[str, ...]] | None = None,
               tick: Callable = lambda: None) -> dict:
  """{name: evaluate(params, draw)} for the names that can measure this model on these data.

  dataset, model, split: what is measured; names: of evaluators.
  optional: names that are skipped if they cannot; for others BadInput is raised.
  asked: {name: metrics that the evaluator must return}, see `answering`. tick: see `evaluator`.
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
  """Raises BadInput for a user's own evaluator with a metric that another evaluator has."""
  owners = {metric: name for name, module in EVALS.items() for metric in module.METRICS}
  for name in own:
    for metric in pick('evaluator', name, EVALS).METRICS:
      if owners.setdefault(metric, name) != name:
        raise BadInput(f'{extension.place(name)}: metric {metric!r} is that of evaluator '
                       f'{extension.stem(owners[metric])!r}; allowed: other names')


def sampler_of(config, objective: Objective) -> str:
  """The sampler as cards show it: all arguments, including defaults, and the guidance."""
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
  """The sampler's entry in a card: `sampler_of` if the model denoises, else 'direct'."""
  return sampler_of(config, objective) if objective.model.diffusion else 'direct'


def affordable(config, training: Run, model: Model, params) -> int:
  """The number of samples for evaluators: config.evals.num_samples, or fewer.

  After a short training, samples may cost config.evals.budget times its FLOPs, or LITTLE, rounded
  to whole chunks, at least one. The number depends on the config only, not on the machine.
  params: those of `sample`, or their shapes.
  """
  n, budget = config.evals.num_samples, config.evals.budget
  if not budget or n <= draw.CHUNK or training.step is None or model.sample is None:
    return n
  cond = None
  if config.conditional:
    cond = jax.eval_shape(lambda: conditions.null(training.dataset.spec)(draw.CHUNK))
  key = jax.eval_shape(lambda: streams.stream(0, Purpose.TEST_DRAWS))
  chunk = flops.of(lambda *args: model.sample(*args[:2], draw.CHUNK, args[2])[0], params, key, cond)
  training_flops = config.steps * flops.of(
      training.step, abstract_state(config, training), abstract_rows(config, training))
  chunks = max(1, int(max(LITTLE, budget * training_flops) / chunk)) if chunk else n
  return min(n, draw.CHUNK * chunks)


def draws_pixels(model: Model) -> bool:
  """Whether samples may contain pixel noise that `rsample` does not have.

  It is true for a VAE, and for densities with a bound such as a flow, whose two draws look alike.
  """
  return model.rsample is not None and model.elbo is not None


def pictured(model: Model) -> Model:
  """The model whose samples a picture shows: means of pixels instead of noisy draws.

  Sample i has the same latent as sample i of `model`. Models other than a VAE use `rsample`.
  """
  if model.rsample is None:
    return model
  return model._replace(sample=lambda params, rng, n, cond: (
      model.rsample(params, rng, n, cond), 1))


def drawer(config, run: Run, seed: int, *, model: Model | None = None, cond=None,
           purpose: Purpose = Purpose.TEST_DRAWS, chunk: int | None = None,
           tick: Callable = lambda: None) -> Callable:
  """draw_from(params) -> draw(n) of `evals.draw`, with the sampler and labels of the config.

  model, chunk: replace those of the run and config.mesh.chunk. seed, cond, purpose, tick: see
  `draw.make`.
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
  """The vectors [N, C] of the training examples; None if they have none or are not loaded."""
  vectors = dataset.splits.get('train', {}).get('cond') if dataset.spec.context else None
  return vectors if isinstance(vectors, np.ndarray) else None
