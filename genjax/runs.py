"""Run directories as models: load one, evaluate one."""

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import config_dict

from genjax import build, data, sharding
from genjax.tables import identity
from genjax.train import checkpoint, hosts, record, rundir, writer
from genjax.types import BadInput, Model, Objective

PICTURE = 64  # samples in the picture of a run


class Loaded(NamedTuple):
  """A run directory as a model: what `experiments` and `genjax.load` start from."""

  config: config_dict.ConfigDict
  dataset: data.Dataset
  objective: Objective
  model: Model
  params: dict  # of the model, averaged if the run keeps an average
  step: int
  selected: bool  # the step is the one with the best validation figure
  skipped: int  # steps up to this one whose loss or gradient was not finite
  made: build.Run  # the training that it is a state of


def on_mesh(workdir):
  """The context in which a run is loaded on all devices of this job, split as it was trained.

  Where fewer devices share the parameters than at training, as many as can.
  """
  fsdp = rundir.read(workdir)['config']['mesh']['fsdp']
  hosts.meet('the devices')
  return sharding.on(sharding.make_mesh(math.gcd(fsdp, jax.device_count())))


def load(workdir, step: int | None = None, ema: bool = True, sampler: Mapping | None = None,
         with_data: bool = False):
  """Reads a run directory; step None: the best by validation where the run selects, else the last.

  ema: the averaged parameters where the run keeps them. sampler: {'name', 'kw', 'guidance'} in
  place of the config's, each where it is given; with guidance['autoguidance'], the directory of a
  worse run of the same task, the parameters are those of `sample`, {'model', 'guide'}. with_data:
  the data set is read; without, it is what the directory says of it, shapes in place of arrays.
  Raises BadInput for a directory that is no run, has no such step, or is damaged, for a sampler of
  a model that needs none, for a guide on other data or another path, and for data that have moved
  or changed.
  """
  recorded = rundir.read(workdir)
  config = config_dict.ConfigDict(recorded['config'])
  if sampler:
    config.sampler = {**config.sampler.to_dict(), **sampler}
  made = build.run(config, (_real_data if with_data else _known_data)(workdir, config, recorded))
  if sampler and (made.model.denoise, made.model.flow_map) == (None, None):
    raise BadInput(f'sampler {config.sampler.name!r}: a {config.model.family} trained by '
                   f'{config.objective.name} does not denoise; allowed: no sampler')
  like = build.abstract_state(config, made, sharding.current_mesh())
  state, step, selected = _restored(workdir, like, step)
  params = state.ema if ema and config.ema else state.params['model']
  skipped = int(state.skipped[0]) if config.nan_steps_allowed else 0
  model = made.model
  if sampler and sampler.get('guidance', {}).get('autoguidance'):
    model, params = _autoguided(config, made, params, ema)
  hosts.meet('a loaded run')
  return Loaded(config, made.dataset, made.objective, model, params, step, selected, skipped, made)


def _restored(workdir, like, step: int | None) -> tuple:
  """(state, step, whether it was selected) of a step, or of the best, else the newest."""
  directory, gone = rundir.checkpoints(workdir), None
  if step is not None:
    return checkpoint.restore(directory, like, step)[0], step, False
  while True:
    newest = checkpoint.restore(directory, like)
    if newest is None:
      raise BadInput(f'{workdir} holds no checkpoint yet; allowed: a directory that '
                     '`python -m experiments.train` has saved to')
    state, meta, step, warnings = newest
    for warning in warnings:
      logging.warning('warning: %s', warning)
    best = meta.get('best')
    if not best or best['step'] == step:
      return state, step, bool(best)
    try:
      return checkpoint.restore(directory, like, best['step'])[0], best['step'], True
    except checkpoint.Pruned:  # its training goes on, and has found a better one
      if best == gone:
        raise
      gone = best


def facts(dataset: data.Dataset) -> dict:
  """What config.json says of the data, so that a run can be loaded without them."""
  columns = {key: [np.dtype(array.dtype).str, list(array.shape)]
             for key, array in dataset.splits.get('train', {}).items()}
  return {**data.describe(dataset), 'columns': columns,
          'by_code': dataset.log_density is not None}


def _known_data(workdir, config, recorded: Mapping) -> data.Dataset:
  """The data set of a run as its directory describes it.

  One with a known density is made by code alone, and is made again.
  """
  there = recorded.get('facts')
  if there is None or there['by_code']:
    return _real_data(workdir, config, recorded)
  train = {key: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
           for key, (dtype, shape) in there['columns'].items()}
  return data.described(there, recorded['data'])._replace(splits={'train': train})


def _real_data(workdir, config, recorded: Mapping) -> data.Dataset:
  """The data set of a run, read again. Raises BadInput where it has moved or changed."""
  try:
    dataset = build.dataset(config)
  except BadInput as error:
    raise BadInput(f'{workdir}: the data of this run are needed, but: {error}') from None
  was, now = (identity.get('sha256', {}) for identity in (recorded['data'], dataset.identity))
  changed = [split for split in was if now.get(split) != was[split]]
  if changed:
    place = next((config.data.kw[key] for key in rundir.PLACES if config.data.kw.get(key)), '')
    raise BadInput(
        f'{workdir}: the data of this run have changed since its training: {dataset.name} '
        f'{place}: {", ".join(changed)} (sha256 {was[changed[0]][:12]} there, '
        f'{str(now.get(changed[0]))[:12]} now); allowed: the data as they were')
  return dataset


def _autoguided(config, made, params, ema):
  """The model with a sampler that another run guides, and the parameters of both."""
  workdir = config.sampler.guidance.autoguidance
  guide = load(workdir, None, ema)
  spec, t = made.dataset.spec, jnp.linspace(0.0, 1.0, 9)
  if guide.model.denoise is None or guide.dataset.spec != spec:
    raise BadInput(f'autoguidance={workdir}: a {guide.config.model.family} on '
                   f'{guide.dataset.name}; allowed: a run that denoises {spec}')
  if not np.allclose(made.model.path(params, t), guide.model.path(guide.params, t), atol=1e-5):
    raise BadInput(f'autoguidance={workdir}: its path has other alpha and sigma; allowed: a run '
                   'with the same schedule')
  return (build.autoguided(config, spec, made.model, guide.model),
          {'model': params, 'guide': guide.params})


def evaluate(workdir, split: str = 'test', step: int | None = None, names=None, progress=iter,
             measured: Mapping | None = None, chunk: int | None = None,
             tick: Callable = lambda: None) -> dict:
  """Runs the evaluators, writes their record and the samples it is of; {metric: Value}.

  chunk: samples drawn at once; None: config.mesh.chunk.
  measured: a config of the same training (a plain dict) whose sampler, evaluators and encoder take
  the place of the run's own. The record of the run's own config is eval.json with
  samples/final.npz and final.png; of another one evals/HASH.json with samples/HASH.*. Another split
  or step has a record of its own (`train.record`), and some of the metrics are added to the record
  of the others. Evaluators of the config that the model cannot answer are left out; those of
  `names`, which are metrics or evaluators, are refused in the teaching lines (BadInput), and so is
  a config of another training. progress(names) iterates over them; tick() is called before each
  batch and each chunk of samples.
  """
  own = rundir.read(workdir)['config']
  asked = measured or own
  _check_trained(workdir, own, asked)
  changed = asked.get('sampler') != own.get('sampler')
  run = load(workdir, step, sampler=asked['sampler'] if changed else None, with_data=True)
  config = run.config
  config.encoder, config.evals = asked['encoder'], config_dict.ConfigDict(asked['evals'])
  wished = config.evals.num_samples
  config.evals.num_samples = build.affordable(config, run.made, run.model, run.params)
  key = {'config': identity.config_hash(asked), 'split': split, 'step': run.step}
  path, drawn = record.place(workdir, key, key['config'] == identity.config_hash(own),
                             standing=step is None and split == 'test')
  wanted = build.answering(names) if names else dict.fromkeys(config.evals.names, ())
  evals = build.evaluators(config, run.dataset, run.model, split, tuple(wanted), asked=wanted,
                           optional=() if names else tuple(wanted), tick=tick)
  if config.evals.num_samples < wished:  # said once nothing is refused any more
    logging.warning('warning: %d samples in place of %d, which would cost more than %g times the '
                    'training (config.evals.budget)', config.evals.num_samples, wished,
                    config.evals.budget)
  drawer = lambda model: build.drawer(config, run.dataset, model, config.seed, chunk=chunk,
                                      tick=tick)(run.params)
  draw = drawer(run.model)
  metrics = {}
  for name in progress(evals):
    metrics.update(evals[name](run.params, draw))
  if config.nan_steps_allowed:
    for value in metrics.values():
      value.card['detail']['skipped_steps'] = run.skipped
  x, labels, pictures = None, None, None
  if run.model.sample is not None:
    x, info = draw(max(config.evals.num_samples, PICTURE))
    labels = info['cond']
    if build.draws_pixels(run.model) and writer.is_image(run.dataset.spec):
      pictures = drawer(build.pictured(run.model))(PICTURE)[0]
  if hosts.is_lead():
    # part of it, or another checkpoint or split than the config's, is no measurement of the config
    whole = not names and step is None and split == 'test'
    _write_samples(pathlib.Path(workdir), run, split, x, labels, pictures, drawn)
    record.write(workdir, path, {
        **key, 'selected': run.selected,
        'metrics': {name: value._asdict() for name, value in metrics.items()},
        'provenance': {**rundir.provenance(workdir), **cost(run),
                       'config_hash': key['config'] if whole else None}}, whole)
  return metrics


def _check_trained(workdir, own: Mapping, asked: Mapping) -> None:
  """Refuses a measurement whose config is of another training, or of one that has not ended."""
  if asked is own:
    return
  if identity.run_hash(own) != identity.run_hash(asked):
    lines = rundir.differences(own, asked, identity.UNSEEN + identity.MEASURED)
    raise BadInput('\n'.join([f'{workdir} holds another training than this --config:', *lines,
                              'allowed: differences in sampler, evals and encoder']))
  if not (rundir.checkpoints(workdir) / str(asked['steps'])).is_dir():
    raise BadInput(f'{workdir} is not trained to step {asked["steps"]} yet; allowed: a run that '
                   'has ended')


def _write_samples(workdir: pathlib.Path, run: Loaded, split: str, x, labels, pictures,
                   name: str) -> None:
  """Writes the samples that were drawn for a measurement, and as many test examples beside them."""
  spec = run.dataset.spec
  if x is None:
    return
  # a run may have a hundred measurements: of those beside its own the picture is kept
  count = len(x) if name == 'final' or not writer.is_image(spec) else PICTURE
  writer.write_samples(workdir / 'samples' / name, data.to_raw(run.dataset, x[:count]), spec,
                       PICTURE, None if labels is None else labels[:count], run.dataset.classes,
                       pictures)
  if split == 'test':
    # of points as many as were drawn: a cloud shows its density by them
    real = run.dataset.splits[split]['x'][:PICTURE if writer.is_image(spec) else len(x)]
    writer.write_sample_file(workdir / 'samples' / 'reference.npz',
                             data.to_raw(run.dataset, real), spec)


def cost(run: Loaded) -> dict:
  """What the whole run took, beyond the seconds: steps, examples seen, parameters of the model."""
  slices = sum(player.num_updates for player in run.objective.players)
  seen = (run.config.steps * run.config.batch_size * slices if slices
          else len(run.dataset.splits['train']['x']))
  return {'steps': run.config.steps if slices else 1, 'examples': seen,
          'parameters': sum(leaf.size for leaf in jax.tree.leaves(run.params))}
