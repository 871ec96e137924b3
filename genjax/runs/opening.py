"""Opens a run directory, to start or resume its training or to use its model."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import config_dict

from genjax import data, identity, sharding, wiring
from genjax.cluster import checkpoint, hosts
from genjax.identity import PLACES
from genjax.runs import origins, rundir
from genjax.types import BadInput, Model, Objective


class Start(NamedTuple):
  """Where a training starts or resumes, before anything is written or a fresh state is created."""

  record: dict | None  # new content of config.json; None: unchanged
  step: int
  meta: dict  # of the checkpoint
  restored: bool  # from a checkpoint of this directory
  state: Callable  # () -> the state at that step
  warnings: tuple[str, ...]  # about newer, damaged checkpoints


def start(config, training: wiring.Run, workdir, like) -> Start:
  """The Start of the training that `config` describes; only this function opens it.

  training: its parts; like: shapes and shardings of its state (`wiring.abstract_state`).
  Raises BadInput for a workdir that holds another run, is damaged, or is beyond config.steps.
  """
  # 1. The config: its training keys must equal those of an existing run.
  # 2. The data, and the run in init_from: their content must equal that of an existing run.
  begins = origins.origin(config, training.dataset, workdir)
  _, record = rundir.agree(workdir, config.to_dict(), training.dataset.identity, begins,
                           facts(training.dataset))
  # 3. A checkpoint: the newest undamaged one is the whole state, and the rest is skipped.
  directory = rundir.checkpoints(workdir)
  restored = checkpoint.restore(directory, like)
  if restored is not None:
    state, meta, step, warnings = restored
    if step > config.steps:
      raise BadInput(f'steps={config.steps}, but {directory} is at step {step} already; allowed: '
                     f'{step} or more, or another --workdir')
    return Start(record, step, meta, True, lambda: state, tuple(warnings))

  def first():
    # 4. A fresh state: parameters from config.seed and the rows of the first step.
    state = origins.fresh(config, training, like)
    # 5. init_from: the model and the teacher of that state get another run's parameters. Without
    #    it a model with actnorm adapts to the first batch.
    if begins:
      given = load(config.init_from, begins['step']).params
      return origins.started_from(config, state, given)
    return origins.adapted(config, training, state)

  return Start(record, 0, {}, False, first, ())


class Loaded(NamedTuple):
  """A run directory as a model, for programs and `genjax.load`."""

  config: config_dict.ConfigDict
  dataset: data.Dataset
  objective: Objective
  model: Model
  params: dict  # of the model; averaged if the run has an average
  step: int
  selected: bool  # the step is the one with the best validation figure
  skipped: int  # steps up to this one whose loss or gradient was not finite
  training: wiring.Run  # the parts of its training


def on_mesh(workdir):
  """The context in which a run is loaded on all devices of this job, sharded as in its training.

  On another number of devices, parameters are sharded over as many as possible.
  """
  fsdp = rundir.read(workdir)['config']['mesh']['fsdp']
  hosts.meet('the devices')
  return sharding.on(sharding.make_mesh(math.gcd(fsdp, jax.device_count())))


def is_conditioned_on_vectors(workdir) -> bool:
  """Whether the model of a run is conditioned on vectors, which its directory does not hold."""
  recorded = rundir.read(workdir)
  return bool(recorded['config']['conditional'] and recorded['facts'].get('context'))


def load(workdir, step: int | None = None, ema: bool = True, sampler: Mapping | None = None,
         with_data: bool = False):
  """Returns `Loaded`: a run directory as a model.

  step: of the checkpoint; None: the best by validation if the run selects, else the last.
  ema: use the averaged parameters if the run has them.
  sampler: entries of {'name', 'kw', 'guidance'} that replace the config's. With
    guidance['autoguidance'], the directory of a worse run of the same task, params are
    {'model', 'guide'}, as `sample` takes them.
  with_data: read the data set; otherwise it has the recorded facts, and shapes for arrays.
  Raises BadInput for a directory that is no run, has no such step or is damaged, and for data that
  have moved or changed. It does so for a sampler if the model needs none, and for a guide on other
  data or another path.
  """
  recorded = rundir.read(workdir)
  config = config_dict.ConfigDict(recorded['config'])
  if sampler:
    config.sampler = {**config.sampler.to_dict(), **sampler}
  read = _real_data if with_data else _known_data
  training = wiring.run(config, read(workdir, config, recorded))
  if sampler and training.model.diffusion is None:
    raise BadInput(f'sampler {config.sampler.name!r}: a '
                   f'{identity.title(config, "trained by")} does not denoise; allowed: no '
                   'sampler')
  like = wiring.abstract_state(config, training, sharding.current_mesh())
  state, step, selected = _restored(workdir, like, step)
  params = state.ema if ema and config.ema else state.params['model']
  skipped = int(state.skipped[0]) if config.nan_steps_allowed else 0
  model = training.model
  if sampler and sampler.get('guidance', {}).get('autoguidance'):
    model, params = _autoguided(config, training, params, ema)
  hosts.meet('a loaded run')
  return Loaded(config, training.dataset, training.objective, model, params, step, selected,
                skipped, training)


def _restored(workdir, like, step: int | None) -> tuple:
  """(state, step, whether it was selected); step None: the best, else the newest."""
  directory, gone = rundir.checkpoints(workdir), None
  if step is not None:
    return checkpoint.restore(directory, like, step)[0], step, False
  while True:
    newest = checkpoint.restore(directory, like)
    if newest is None:
      raise BadInput(f'{workdir} holds no checkpoint yet; allowed: a directory that '
                     '`python -m genjax train` has saved to')
    state, meta, step, warnings = newest
    for warning in warnings:
      logging.warning('warning: %s', warning)
    best = meta.get('best')
    if not best or best['step'] == step:
      return state, step, bool(best)
    try:
      return checkpoint.restore(directory, like, best['step'])[0], best['step'], True
    except checkpoint.Pruned:  # its training continues, and a better one has replaced it
      if best == gone:
        raise
      gone = best


def facts(dataset: data.Dataset) -> dict:
  """The facts about the data for config.json, which let a run be loaded without its data."""
  columns = {key: [np.dtype(array.dtype).str, list(array.shape)]
             for key, array in dataset.splits.get('train', {}).items()}
  return {**data.describe(dataset), 'columns': columns,
          'by_code': dataset.log_density is not None}


def _known_data(workdir, config, recorded: Mapping) -> data.Dataset:
  """The data set of a run as its directory describes it.

  A data set with a known density is defined by code, and is created again.
  """
  known = recorded['facts']
  if known['by_code']:
    return _real_data(workdir, config, recorded)
  train = {key: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
           for key, (dtype, shape) in known['columns'].items()}
  return data.described(known, recorded['data'])._replace(splits={'train': train})


def _real_data(workdir, config, recorded: Mapping) -> data.Dataset:
  """The data set of a run, read again. Raises BadInput if it has moved or changed."""
  try:
    dataset = wiring.dataset(config)
  except BadInput as error:
    raise BadInput(f'{workdir}: the data of this run are needed, but: {error}') from None
  was, now = (identity.get('sha256', {}) for identity in (recorded['data'], dataset.identity))
  changed = [split for split in was if now.get(split) != was[split]]
  if changed:
    place = next((config.data.kw[key] for key in PLACES if config.data.kw.get(key)), '')
    raise BadInput(
        f'{workdir}: the data of this run have changed since its training: {dataset.name} '
        f'{place}: {", ".join(changed)} (sha256 {was[changed[0]][:12]} there, '
        f'{str(now.get(changed[0]))[:12]} now); allowed: the data as they were')
  return dataset


def _autoguided(config, training, params, ema):
  """(model with a sampler that another run guides, parameters of both)."""
  workdir = config.sampler.guidance.autoguidance
  guide = load(workdir, None, ema)
  spec, t = training.dataset.spec, jnp.linspace(0.0, 1.0, 9)
  own, other = training.model.diffusion, guide.model.diffusion
  if other is None or other.denoise is None or guide.dataset.spec != spec:
    raise BadInput(f'autoguidance={workdir}: a {guide.config.model.family} on '
                   f'{guide.dataset.name}; allowed: a run that denoises {spec}')
  if not np.allclose(own.path(params, t), other.path(guide.params, t), atol=1e-5):
    raise BadInput(f'autoguidance={workdir}: its path has other alpha and sigma; allowed: a run '
                   'with the same schedule')
  return (wiring.autoguided(config, spec, training.objective, training.model, guide.model),
          {'model': params, 'guide': guide.params})
