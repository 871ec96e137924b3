"""A whole training run: its parts, its step on a mesh, the rows of its steps."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from genjax import configs, data, extension, memory, ranges, sharding
from genjax.numerics import streams
from genjax.pod import flops
from genjax.train import step
from genjax.types import BadInput, Model, Objective
from genjax.wiring import networks, parts

# keys that every config must have, in addition to those of ranges.BY_KEY
KEYS = ('data.name', 'data.kw', 'model.family', 'model.kw', 'objective.name',
        'objective.kw', 'networks', 'conditional', 'sampler.name', 'sampler.kw',
        'sampler.guidance', 'augment', 'init_from', 'optim', 'optim_by_player', 'select.metric',
        'evals.names', 'evals.kw', 'evals.labels', 'evals.encoder', 'log.mfu')

LABELS = ('data', 'uniform')  # distributions of the labels of samples
TRIES = 3  # settings tried for each kind of remedy, mildest first


class Run(NamedTuple):
  """The parts of one training run, ready for the loop; only the data are allocated."""

  dataset: data.Dataset
  prepare: Callable  # (raw batch, rng) -> batch on the grid; rng None: without random draws
  objective: Objective
  estimator: str
  model: Model  # the objective's model, with its sampler
  optimizers: dict
  source: data.BatchSource | None  # item i: the raw rows of step i; None for a fit
  init: Callable  # (rng, raw rows of one step) -> TrainState; traceable
  step: Callable | None  # (state, raw rows of one step) -> state, metrics


def run(config, known: data.Dataset | None = None) -> Run:
  """All parts of the run that a config describes. Raises BadInput for any mistake in it.

  known: a data set to use instead of reading one, possibly with shapes only. Such a run can be
  compiled and loaded, but not trained.
  """
  check(config)
  source_data = known or parts.dataset(config)
  spec = source_data.spec
  objective, estimator = parts.objective(config, source_data)
  optimizers = parts.optimizers(config, objective)

  name = config.augment
  augment = data.augmentation(name, source_data) if name else None
  if augment and not objective.players:
    raise BadInput(f'augment={name!r}, but {extension.stem(config.objective.name)!r} is fitted in '
                   "one step to the data as they are; allowed: ''")

  def prepare(batch, rng=None):
    batch = {k: v for k, v in batch.items() if config.conditional or k != 'cond'}
    rng_codes, rng_augment = (None, None) if rng is None else jax.random.split(rng)
    batch = data.prepare(batch, spec, rng_codes)
    return batch if rng is None or not augment else {
        **batch, 'x': augment(rng_augment, batch['x'])}

  def init(rng, rows):
    batch = jax.tree.map(lambda a: a[:config.batch_size], prepare(rows))
    params, carry = objective.init(rng, batch)
    return step.init_state(objective, optimizers, params, carry, config.ema,
                           config.nan_steps_allowed)

  num_slices = sum(p.num_updates for p in objective.players)
  if config.accumulate > 1 and (objective.couples or not num_slices):
    raise BadInput(f'accumulate={config.accumulate}, but the loss of '
                   f'{extension.stem(config.objective.name)!r} is no mean over examples: '
                   f'{objective.couples or "it is fitted in one step"}; '
                   'allowed: accumulate=1')
  source = num_slices and not known and data.batches(
      source_data.splits['train'], config.batch_size * num_slices, config.seed)
  train_step = num_slices and step.make_step(
      objective, optimizers, seed=config.seed, ema=config.ema, prepare=prepare,
      accumulate=config.accumulate, nan_steps_allowed=config.nan_steps_allowed)
  return Run(source_data, prepare, objective, estimator, objective.model, optimizers,
             source or None, init, train_step or None)


def check(config) -> None:
  """Raises BadInput for missing keys, numbers out of range, and intervals that do not divide."""
  for key in KEYS:
    _at(config, key)
  for key, interval in ranges.BY_KEY.items():
    ranges.check(key, _at(config, key), interval)
  if config.evals.labels not in LABELS:
    raise BadInput(f'evals.labels={config.evals.labels!r}; allowed: {", ".join(LABELS)}')
  if config.select.every and not config.select.metric:
    raise BadInput(f'select.every={config.select.every}, but select.metric is empty; allowed: '
                   'select.every=0, or a metric such as nll')
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


def mesh(config) -> Mesh:
  """The mesh of a training run on this job's devices. Raises BadInput if sizes do not divide."""
  fsdp, devices, slices = config.mesh.fsdp, jax.device_count(), config.accumulate
  if devices % fsdp:
    raise BadInput(f'mesh.fsdp={fsdp} does not divide the {devices} device(s) of this job')
  if config.batch_size % (devices * slices):
    raise BadInput(f'batch_size={config.batch_size} cannot be shared alike by {devices} devices in '
                   f'{slices} part(s); allowed: multiples of {devices * slices}')
  return sharding.make_mesh(fsdp)


def first_rows(config, training: Run) -> dict:
  """The raw rows of the first step, with which parameters are initialised."""
  if training.source is not None:
    return training.source[0]
  train = training.dataset.splits['train']
  return {k: v[:config.batch_size] for k, v in train.items()}


def abstract_rows(config, training: Run) -> dict:
  """Shapes and dtypes of the raw rows of one step; the data may be shapes only."""
  slices = max(1, sum(p.num_updates for p in training.objective.players))
  return {key: jax.ShapeDtypeStruct((config.batch_size * slices, *array.shape[1:]), array.dtype)
          for key, array in training.dataset.splits['train'].items()}


def abstract_state(config, training: Run, on_mesh=None):
  """Shapes and dtypes of the state, with shardings if there is a mesh; nothing is allocated."""
  like = jax.eval_shape(training.init, streams.stream(config.seed, streams.Purpose.INIT),
                        abstract_rows(config, training))
  if on_mesh is None or on_mesh.size == 1:
    return like
  return jax.tree.map(lambda leaf, of: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=of),
                      like, sharding.state_sharding(on_mesh, like))


def compiled_step(config, training: Run, on_mesh, k: int | None = None) -> Callable:
  """(state, rows) -> state, metrics: k train steps in one dispatch, compiled.

  k: None: config.steps_per_dispatch; on_mesh: the mesh. Raises BadInput, with settings that would
  fit, if the step needs more memory than the devices have.
  """
  function, all_steps, *shapes = dispatched(config, training, on_mesh)
  return step.compile_step(function, k or all_steps, *shapes,
                           remedies=functools.partial(lighter, config, training, on_mesh))


def lighter(config, training: Run, on_mesh, need: memory.Memory, has: int) -> str:
  """Flags of settings with which a step fits into `has` bytes; each was compiled.

  need: memory of the step that does not fit. The first settings tried assume that temporaries are
  proportional to the rows computed at once.
  """
  def fits(settings: dict) -> bool:
    other = changed(config, settings)
    try:
      other_run = run(other, training.dataset)
    except BadInput:
      return False
    lowered = step.lower_step(*dispatched(other, other_run, on_mesh))
    return memory.of(lowered.compile()).total <= has

  free = max(has - need.arguments - need.results, 1)
  first = math.ceil(math.log2(max(need.temporaries / free, 2)))
  divisors = [2**n for n in range(first, first + TRIES) if config.batch_size % 2**n == 0]
  remat = remat_settings(config, training.dataset.spec, True)
  ways = [[remat] if remat else [],
          [{'accumulate': config.accumulate * n} for n in divisors],
          [{'batch_size': config.batch_size // n} for n in divisors]]
  fitting = [next(filter(fits, settings), None) for settings in ways]
  return ' or '.join(' '.join(f'--config.{key}={value}' for key, value in settings.items())
                     for settings in fitting if settings) or (
                         'a smaller model, or more devices with mesh.fsdp')


def changed(config, settings: dict):
  """A copy of the config with the dotted keys of settings set; keys of a `kw` may be new."""
  other = config.copy_and_resolve_references()
  with other.unlocked():
    for key, value in settings.items():
      section, last = configs.section_of(other, key)
      section[last] = value
  return other


def remat_settings(config, spec, value: bool) -> dict[str, bool]:
  """{dotted key: value} for all networks of the run whose rematerialisation is not `value`."""
  used = networks.of_run(config.model.family, config.model.kw, config.objective.name,
                         config.objective.kw.get('estimator'))
  return {f'networks.{role}.kw.remat': value
          for role in networks.taking('remat', parts.sections(config), spec, used)
          if bool(config.networks[role].kw.get('remat')) != value}


def dispatched(config, training: Run, on_mesh) -> tuple:
  """(step, number of steps, mesh, shapes of state, shapes of rows) of one dispatch.

  The devices of the mesh need not exist.
  """
  return (training.step, config.steps_per_dispatch, on_mesh, abstract_state(config, training),
          abstract_rows(config, training))


def batches(source: data.BatchSource, start: int, k: int, on_mesh: Mesh | None = None):
  """An iterator over the raw rows of steps start, start + k, ...: [R, ...] if k = 1, [k, R, ...].

  source: of one step's rows; on_mesh: a mesh. On several devices the rows are global arrays, and
  each host reads those of its own devices.
  """
  of_step = source if k == 1 else data.stack(source, k)
  if on_mesh is None or on_mesh.size == 1:
    return data.loader(of_step, start // k)
  mine = data.of_host(of_step, sharding.local_rows(on_mesh, source.batch_size))
  return (sharding.to_global(on_mesh, rows, source.batch_size, leading_axes=int(k > 1))
          for rows in data.loader(mine, start // k))


def fit(config, training: Run):
  """The parameters by the objective's closed form or EM, on the whole training split."""
  batch = data.prepare({'x': training.dataset.splits['train']['x']}, training.dataset.spec)
  rng = streams.stream(config.seed, streams.Purpose.FIT)
  return training.objective.fit(rng, np.asarray(batch['x']))


def model_flops(config, training: Run) -> int:
  """FLOPs of the products in one step, without those that rematerialisation repeats."""
  if off := remat_settings(config, training.dataset.spec, False):
    config = changed(config, off)
    training = run(config, known=training.dataset)
  return flops.of(training.step, abstract_state(config, training), abstract_rows(config, training))


def model_dtype(config):
  """The dtype of the products in the model's networks: that of the first role that sets one."""
  names = [config.networks[role].kw.get('dtype') for role in parts.model_roles(config)]
  return jnp.dtype(next(filter(None, names), 'float32'))
