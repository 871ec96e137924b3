"""What measures a run: encoder, evaluators, samples for them, validation."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping

import jax

from genjax import compat, data, disk, encoders
from genjax.build.parts import SAMPLER_ARGS, choose, plain, suited, without_estimator
from genjax.build.training import Run
from genjax.compat import bind, pick
from genjax.encoders import Encoder
from genjax.evals import EVALS, draw
from genjax.evals.card import Value
from genjax.numerics.samplers import SAMPLERS
from genjax.types import DataSpec, Model


def encoder(config, spec: DataSpec):
  """The encoder of config.encoder for these data, or None."""
  return encoders.load(config.encoder, spec) if config.encoder else None


def keep(key: dict, make: Callable[[], dict]) -> dict:
  """{metric: Value} of make(), or what it gave before: figures that the key determines.

  Of a job of several hosts they are made again: one that found them would leave the others alone.
  """
  if jax.process_count() > 1:
    return make()
  found = disk.kept_json('figures', {**key, 'source': disk.source_digest()}, lambda: {
      name: value._asdict() for name, value in make().items()})
  return {name: Value(**value) for name, value in found.items()}


def evaluator(name: str, eval_kw: Mapping, *, model: Model, family: str, dataset, split: str,
              encoder: Encoder | None, num_samples: int, seed: int,
              tick: Callable = lambda: None) -> Callable:
  """run(params, draw) -> {metric: Value} of one evaluator; BadInput where it cannot answer.

  family: the name of the model in a refusal. tick() is called within what takes long.
  """
  spec, module = dataset.spec, pick('evaluator', name, EVALS)
  offered = {
      'model': model, 'spec': spec, 'dataset': dataset, 'split': split, 'encoder': encoder,
      'pixels': encoders.load('identity', spec), 'keep': keep, 'seed': seed,
      'num_samples': num_samples, 'tick': tick,
      'prepare': lambda batch, rng=None: data.prepare(batch, spec, rng),
      'estimator': choose('evaluator', name, EVALS, model, family, dataset, eval_kw)}
  return bind('evaluator', name, module.make, offered, without_estimator(eval_kw), EVALS)


def answering(names: Iterable[str]) -> tuple[str, ...]:
  """The evaluators of these names, or whose metrics they are. Raises BadInput for another name."""
  owners = {metric: name for name, module in EVALS.items() for metric in (*module.METRICS, name)}
  return tuple(dict.fromkeys(pick('metric', name, owners) for name in names))


def evaluators(config, dataset, model: Model, split: str, names, *, optional=(),
               tick: Callable = lambda: None) -> dict:
  """{name: evaluator} of those that this model can answer.

  Names in `optional` that the model or the data cannot answer are left out; others are refused.
  """
  read = encoder(config, dataset.spec)
  have = compat.provides(model, data.properties(dataset))
  return {
      name: evaluator(name, plain(config.evals.kw.get(name, {})), model=model,
                      family=config.model.family, dataset=dataset, split=split, encoder=read,
                      num_samples=config.evals.num_samples, seed=config.seed, tick=tick)
      for name in names
      if name not in optional or compat.legal(pick('evaluator', name, EVALS).NEEDS, have)}


def sampler_of(config, model: Model) -> str:
  """The sampler as the cards print it: every argument, given or its default, and the guidance."""
  name, given = suited(model, config.sampler.name, plain(config.sampler.kw))
  parameters = inspect.signature(pick('sampler', name, SAMPLERS)).parameters
  values = {key: given.get(key, parameter.default) for key, parameter in parameters.items()
            if key not in SAMPLER_ARGS}
  shown = ', '.join(f'{k}={v}' for k, v in sorted(values.items()) if v is not None)
  guided = plain(config.sampler.get('guidance', {}))
  weight, interval = guided.get('weight', 1.0), tuple(guided.get('interval', ()))
  if weight == 1.0:
    return f'{name}({shown})'
  parts = [f'weight={float(weight)}', *([f'interval={interval}'] if interval else []),
           *([f'autoguidance={guided["autoguidance"]}'] if guided.get('autoguidance') else [])]
  return f'{name}({shown}), guidance({", ".join(parts)})'


def drawer(config, spec: DataSpec, model: Model, seed: int, cond: int | None = None,
           tick: Callable = lambda: None):
  """draw_from(params) -> draw(n) of `evals.draw`, conditional as the config says."""
  sampler = sampler_of(config, model) if model.denoise or model.flow_map else 'direct'
  return draw.make(model, spec, seed=seed, cond=cond, sampler=sampler, tick=tick,
                   conditional=bool(config.model.kw.get('conditional', False)))


def validator(config, made: Run, tick: Callable = lambda: None) -> Callable | None:
  """validate(state) -> config.select.metric on the validation split; None without selection."""
  if not config.select.metric or not config.select.every or made.step is None:
    return None
  [name] = answering([config.select.metric])
  evaluate = evaluators(config, made.dataset, made.model, 'validation', (name,), tick=tick)[name]
  draw_from = drawer(config, made.dataset.spec, made.model, config.seed, tick=tick)

  def validate(state):
    params = state.ema if config.ema else state.params['model']
    found = evaluate(params, draw_from(params))
    metric = pick(f'metric of evaluator {name!r} here', config.select.metric, found)
    return math.inf if found and metric.value is None else metric.value

  return validate
