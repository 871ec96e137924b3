"""What measures a run: encoder, evaluators, samples for them, validation."""

import inspect
import math
from collections.abc import Callable

from genjax import compat, data, encoders
from genjax.build.parts import SAMPLER_ARGS, choose, plain, without_estimator
from genjax.build.training import Run
from genjax.compat import bind, pick
from genjax.evals import EVALS, draw
from genjax.numerics.samplers import SAMPLERS
from genjax.types import DataSpec, Model


def encoder(config):
  """The encoder of config.encoder, or None."""
  return encoders.load(config.encoder) if config.encoder else None


def evaluators(config, dataset, model: Model, split: str, names, *, optional=(),
               tick: Callable = lambda: None) -> dict:
  """{name: run(params, draw) -> {metric: Value}} of the evaluators that this model can answer.

  Names in `optional` that the model or the data cannot answer are left out; others are refused.
  tick() is called within what takes long.
  """
  spec, offered_encoder = dataset.spec, encoder(config)
  made = {}
  for name in names:
    module, eval_kw = pick('evaluator', name, EVALS), plain(config.evals.kw.get(name, {}))
    have = compat.provides(model, data.properties(dataset))
    if name in optional and not compat.legal(module.NEEDS, have):
      continue
    estimator = choose('evaluator', name, EVALS, model, config, dataset, eval_kw)
    offered = {'model': model, 'spec': spec, 'estimator': estimator, 'dataset': dataset,
               'split': split, 'prepare': lambda batch, rng=None: data.prepare(batch, spec, rng),
               'encoder': offered_encoder, 'seed': config.seed,
               'num_samples': config.evals.num_samples, 'tick': tick}
    made[name] = bind('evaluator', name, module.make, offered, without_estimator(eval_kw), EVALS)
  return made


def sampler_of(config) -> str:
  """The sampler as the cards print it: every argument, given or its default, and the guidance."""
  name, given = config.sampler.name, plain(config.sampler.kw)
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
  sampler = sampler_of(config) if model.denoise else 'direct'
  return draw.make(model, spec, seed=seed, cond=cond, sampler=sampler, tick=tick,
                   conditional=bool(config.model.kw.get('conditional', False)))


def validator(config, made: Run, tick: Callable = lambda: None) -> Callable | None:
  """validate(state) -> config.select.metric on the validation split; None without selection."""
  if not config.select.metric or not config.select.every or made.step is None:
    return None
  owners = {metric: name for name, module in EVALS.items() for metric in module.METRICS}
  name = pick('metric', config.select.metric, owners)
  evaluate = evaluators(config, made.dataset, made.model, 'validation', (name,), tick=tick)[name]
  draw_from = drawer(config, made.dataset.spec, made.model, config.seed, tick=tick)

  def validate(state):
    params = state.ema if config.ema else state.params['model']
    found = evaluate(params, draw_from(params))
    metric = pick(f'metric of evaluator {name!r} here', config.select.metric, found)
    return math.inf if found and metric.value is None else metric.value

  return validate
