"""From a config to the parts of a run: the only reader of a ConfigDict.

Every make(...) gets what its signature names: what build offers (spec, critic, ...) and the
config's kw. A kw that the signature does not know is refused before an array exists.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from genjax import compat, data, encoders, sharding
from genjax.compat import bind, check_kw, pick
from genjax.evals import EVALS, draw
from genjax.models import FAMILIES
from genjax.nn import NETWORKS
from genjax.numerics.samplers import SAMPLERS
from genjax.objectives import OBJECTIVES
from genjax.train import flops, optim, step
from genjax.types import BadInput, Critic, DataSpec, Model, Objective

# beside the numbers that `check` looks at
KEYS = ('seed', 'ema', 'data.name', 'data.kw', 'model.family', 'model.kw', 'objective.name',
        'objective.kw', 'critic.network', 'critic.kw', 'sampler.name', 'sampler.kw', 'optim',
        'optim_by_player', 'select.metric', 'evals.names', 'evals.kw', 'encoder', 'log.mfu')
SAMPLER_ARGS = ('denoise', 'path', 'rng', 'x_T', 'cond')


class Run(NamedTuple):
  """The parts of one training run, ready for the loop; nothing is allocated yet but the data."""

  dataset: data.Dataset
  prepare: Callable  # (raw batch, rng) -> batch on the grid
  objective: Objective
  estimator: str
  model: Model  # what the objective leaves meaningful, with its sampler
  optimizers: dict
  source: data.BatchSource | None  # item i: the raw rows of step i; None for a fit
  init: Callable  # (rng, raw rows of one step) -> TrainState; traceable
  step: Callable | None  # (state, raw rows of one step) -> state, metrics


def plain(section) -> dict:
  """A config's kw as plain Python."""
  return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}


def without_estimator(given: Mapping) -> dict:
  """The kw beside 'estimator', which `choose` has read and build offers."""
  return {k: v for k, v in given.items() if k != 'estimator'}


def dataset(config) -> data.Dataset:
  """The data set that config.data names, in memory or memory-mapped."""
  return data.load(config.data.name, **plain(config.data.kw))


def family(name: str, spec: DataSpec, family_kw: Mapping) -> Model:
  """models/NAME.make(spec, **kw), before a sampler is added."""
  make = pick('model family', name, FAMILIES).make
  return bind('model', name, make, {'spec': spec}, family_kw, FAMILIES)


def with_sampler(model: Model, spec: DataSpec, name: str, sampler_kw: Mapping) -> Model:
  """Adds `sample` to a model that denoises: the only place where a sampler meets a model."""
  sampler = pick('sampler', name, SAMPLERS)
  check_kw('sampler', name, sampler, SAMPLER_ARGS, sampler_kw, SAMPLERS)
  if model.denoise is None or model.sample is not None:
    return model

  def sample(params, rng, n, cond):
    rng_T, rng = jax.random.split(rng)

    def denoise(x_t, t, cond, rng):
      return model.denoise(params, x_t, t, cond, rng)

    def path(t):
      return model.path(params, t)

    _, sigma = path(jnp.ones((n,)))
    x_T = sigma.reshape(-1, *[1] * len(spec.shape)) * jax.random.normal(rng_T, (n, *spec.shape))
    return sampler(denoise, path, rng, x_T, cond, **sampler_kw)

  return model._replace(sample=sample)


def model(config, spec: DataSpec) -> Model:
  """The family of config.model on this data, with the sampler of config.sampler."""
  made = family(config.model.family, spec, plain(config.model.kw))
  return with_sampler(made, spec, config.sampler.name, plain(config.sampler.kw))


def critic(config, spec: DataSpec) -> Critic:
  """The network of config.critic as a function of x and the label (one-hot, beside x)."""
  name = config.critic.network
  network = bind('critic network', name, pick('critic network', name, NETWORKS), {'out': 1},
                 plain(config.critic.kw), NETWORKS)

  def inputs(x, cond):
    x = x.reshape(x.shape[0], -1)
    if cond is None:
      return x
    return jnp.concatenate([x, jax.nn.one_hot(cond, spec.num_classes)], -1)

  def init(rng, x, cond):
    return network.init(rng, inputs(x, cond))['params']

  def apply(params, x, cond, rng):
    del rng
    return network.apply({'params': params}, inputs(x, cond))[:, 0], {}

  return Critic(init, apply)


def provided(spec: DataSpec) -> dict[str, frozenset[str]]:
  """What each family provides on such data with its default kw; families that refuse are absent."""
  found = {}
  for name in FAMILIES:
    try:
      made = with_sampler(family(name, spec, {}), spec, 'ddim', {})
    except BadInput:
      continue
    found[name] = compat.provides(made)
  return found


def choose(kind: str, name: str, table: Mapping, model: Model, config, dataset,
           given: Mapping) -> str:
  """The estimator of an objective or evaluator on this model and data, or the teaching refusal."""
  return compat.choose(
      kind, name, pick(kind, name, table).NEEDS,
      compat.provides(model, data.properties(dataset)), given, model=config.model.family,
      data=dataset.name, others={n: m.NEEDS for n, m in table.items()},
      models=lambda: provided(dataset.spec))


def objective(config, dataset: data.Dataset) -> tuple[Objective, str]:
  """The objective of config on its model and data, and the estimator that was chosen."""
  made, name = model(config, dataset.spec), config.objective.name
  objective_kw = plain(config.objective.kw)
  estimator = choose('objective', name, OBJECTIVES, made, config, dataset, objective_kw)
  offered = {'model': made, 'spec': dataset.spec, 'estimator': estimator,
             'log_density': dataset.log_density, 'critic': critic(config, dataset.spec)}
  return bind('objective', name, OBJECTIVES[name].make, offered,
              without_estimator(objective_kw), OBJECTIVES), estimator


def optimizers(config, objective: Objective) -> dict:
  """{player: optimizer}: config.optim, overridden by config.optim_by_player.NAME."""
  players = {p.name: p for p in objective.players}
  for name, override in config.optim_by_player.items():
    stray = {k for k, v in override.items() if v is not None}
    if stray and objective.players and name not in players:
      raise BadInput(f'optim_by_player.{name}.{sorted(stray)[0]} is set, but the players of '
                     f'{config.objective.name!r} are: {", ".join(players)}')
  made = {}
  for name, player in players.items():
    override = config.optim_by_player.get(name, {})
    settings = {**config.optim, **{k: v for k, v in override.items() if v is not None}}
    made[name] = optim.make(**settings, num_updates=config.steps * player.num_updates)
  return made


def run(config, declared: data.Dataset | None = None) -> Run:
  """All parts of the run that a config describes. Raises BadInput for any mistake in it.

  declared: a data set whose arrays are shapes alone, in place of reading the data; then the run
  can be compiled, not trained.
  """
  check(config)
  source_data = declared or dataset(config)
  spec = source_data.spec
  goal, estimator = objective(config, source_data)
  rules = optimizers(config, goal)
  conditional = bool(config.model.kw.get('conditional', False))

  def prepare(batch, rng=None):
    return data.prepare({k: v for k, v in batch.items() if conditional or k != 'cond'}, spec, rng)

  def init(rng, rows):
    batch = jax.tree.map(lambda a: a[:config.batch_size], prepare(rows))
    params, carry = goal.init(rng, batch)
    return step.init_state(goal, rules, params, carry, config.ema, config.nan_steps_allowed)

  num_slices = sum(p.num_updates for p in goal.players)
  if config.accumulate > 1 and (goal.couples or not num_slices):
    raise BadInput(f'accumulate={config.accumulate}, but the loss of {config.objective.name!r} is '
                   f'no mean over examples: {goal.couples or "it is fitted in one step"}; '
                   'allowed: accumulate=1')
  source = num_slices and not declared and data.batches(
      source_data.splits['train'], config.batch_size * num_slices, config.seed)
  train_step = num_slices and step.make_step(
      goal, rules, seed=config.seed, ema=config.ema, prepare=prepare,
      accumulate=config.accumulate, nan_steps_allowed=config.nan_steps_allowed)
  return Run(source_data, prepare, goal, estimator, goal.model, rules, source or None, init,
             train_step or None)


def check(config) -> None:
  """Refuses what a config lacks, numbers that no run can have, and intervals that straddle."""
  for key in KEYS:
    _at(config, key)
  for key in ('steps', 'batch_size', 'steps_per_dispatch', 'accumulate', 'mesh.fsdp',
              'mesh.heartbeat', 'log.every', 'checkpoint.every', 'evals.num_samples'):
    value = _at(config, key)
    if value < 1:
      raise BadInput(f'{key}={value}; allowed: integers >= 1')
  for key in ('select.every', 'checkpoint.keep_last', 'checkpoint.keep_every',
              'nan_steps_allowed'):
    if _at(config, key) < 0:
      raise BadInput(f'{key}={_at(config, key)}; allowed: integers >= 0')
  if not 0 <= config.seed < 2**32:  # of a larger one the generator would drop the upper bits
    raise BadInput(f'seed={config.seed}; allowed: integers from 0 to 2^32 - 1')
  if not 0 <= config.ema < 1:
    raise BadInput(f'ema={config.ema}; allowed: 0 (no average) <= ema < 1')
  if config.batch_size % config.accumulate:
    raise BadInput(f'accumulate={config.accumulate} does not divide '
                   f'batch_size={config.batch_size}')
  k = config.steps_per_dispatch
  for key in ('steps', 'log.every', 'checkpoint.every', 'select.every'):
    if _at(config, key) % k:
      raise BadInput(f'steps_per_dispatch={k} does not divide {key}={_at(config, key)}')


def _at(config, key: str):
  for name in key.split('.'):
    if name not in config:
      raise BadInput(f'the config has no {key}; allowed: one made by this version of genjax')
    config = config[name]
  return config


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


def compiled_step(config, made: Run, on_mesh) -> Callable:
  """The train step of a run, config.steps_per_dispatch in one dispatch: (state, rows) -> same."""
  return step.compile_step(made.step, config.steps_per_dispatch, on_mesh,
                           abstract_state(config, made, on_mesh), abstract_rows(config, made))


def batches(source: data.BatchSource, start: int, k: int, on_mesh: Mesh | None = None):
  """Iterates the raw rows of steps start.. : [R, ...] for k = 1, else k steps as [k, R, ...].

  On several devices they are global arrays, of which each host reads the rows of its devices.
  """
  of_step = source if k == 1 else data.stack(source, k)
  if on_mesh is None or on_mesh.size == 1:
    return data.loader(of_step, start // k)
  mine = data.of_host(of_step, sharding.local_rows(on_mesh, source.batch_size))
  return (sharding.to_global(on_mesh, rows, source.batch_size, leading_axes=int(k > 1))
          for rows in data.loader(mine, start // k))


def mesh(config) -> Mesh:
  """The mesh of a training run on this job's devices. Raises BadInput if they cannot share it."""
  fsdp, devices, parts = config.mesh.fsdp, jax.device_count(), config.accumulate
  if devices % fsdp:
    raise BadInput(f'mesh.fsdp={fsdp} does not divide the {devices} device(s) of this job')
  if config.batch_size % (devices * parts):
    raise BadInput(f'batch_size={config.batch_size} cannot be shared alike by {devices} devices in '
                   f'{parts} part(s); allowed: multiples of {devices * parts}')
  return sharding.make_mesh(fsdp)


def fit(config, made: Run):
  """Parameters by the objective's closed form or EM, on the whole train split."""
  batch = data.prepare({'x': made.dataset.splits['train']['x']}, made.dataset.spec)
  return made.objective.fit(jax.random.key(config.seed), np.asarray(batch['x']))


def drawer(config, spec: DataSpec, model: Model, seed: int, cond: int | None = None,
           tick: Callable = lambda: None):
  """draw_from(params) -> draw(n) of `evals.draw`, conditional as the config says."""
  arguments = ', '.join(f'{k}={v}' for k, v in sorted(plain(config.sampler.kw).items()))
  sampler = f'{config.sampler.name}({arguments})' if model.denoise else 'direct'
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


def abstract_state(config, made: Run, on_mesh=None):
  """Shapes and dtypes of the state, and where it lies on a mesh: allocates nothing."""
  like = jax.eval_shape(made.init, jax.random.key(config.seed), abstract_rows(config, made))
  if on_mesh is None or on_mesh.size == 1:
    return like
  return jax.tree.map(lambda leaf, of: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=of),
                      like, sharding.state_sharding(on_mesh, like))


def model_flops(config, made: Run) -> int:
  """FLOPs in products of one step, without what rematerialisation computes a second time."""
  if config.model.kw.get('remat'):
    config = config.copy_and_resolve_references()
    config.model.kw.remat = False
    made = run(config, declared=made.dataset)
  return flops.of(made.step, abstract_state(config, made), abstract_rows(config, made))


def product_dtype(config):
  """The dtype that the products of the model's network have."""
  return jnp.dtype(config.model.kw.get('dtype') or 'float32')


def abstract_rows(config, made: Run) -> dict:
  """Shapes and dtypes of the raw rows of one step, of data that may be declared only."""
  slices = max(1, sum(p.num_updates for p in made.objective.players))
  return {key: jax.ShapeDtypeStruct((config.batch_size * slices, *array.shape[1:]), array.dtype)
          for key, array in made.dataset.splits['train'].items()}


def first_rows(config, made: Run) -> dict:
  """Rows that parameters may be initialised from: those of the first step."""
  if made.source is not None:
    return made.source[0]
  train = made.dataset.splits['train']
  return {k: v[:config.batch_size] for k, v in train.items()}
