"""Run directories as models: load one, evaluate one."""

import math
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import config_dict

from genjax import build, data, disk, sharding
from genjax.tables import identity
from genjax.train import checkpoint, hosts, rundir, writer
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


def on_mesh(workdir):
  """The context in which a run is loaded on all devices of this job, split as it was trained.

  Where fewer devices share the parameters than at training, as many as can.
  """
  fsdp = rundir.read(workdir)['config']['mesh']['fsdp']
  return sharding.on(sharding.make_mesh(math.gcd(fsdp, jax.device_count())))


def load(workdir, step: int | None = None, ema: bool = True, sampler: Mapping | None = None):
  """Reads a run directory; step None: the best by validation where the run selects, else the last.

  ema: the averaged parameters where the run keeps them. sampler: {'name', 'kw', 'guidance'} in
  place of the config's, each where it is given; with guidance['autoguidance'], the directory of a
  worse run of the same task, the parameters are those of `sample`, {'model', 'guide'}. Raises
  BadInput for a directory that is no run, has no such step, or is damaged, for a sampler of a
  model that needs none, and for a guide on other data or another path.
  """
  recorded = rundir.read(workdir)
  config = config_dict.ConfigDict(recorded['config'])
  if sampler:
    config.sampler = {**config.sampler.to_dict(), **sampler}
  made = build.run(config)
  if sampler and made.model.denoise is None:
    raise BadInput(f'sampler {config.sampler.name!r}: a {config.model.family} trained by '
                   f'{config.objective.name} does not denoise; allowed: no sampler')
  directory = rundir.checkpoints(workdir)
  like = build.abstract_state(config, made, sharding.current_mesh())
  selected = False
  if step is None:
    newest = checkpoint.restore(directory, like)
    if newest is None:
      raise BadInput(f'{workdir} holds no checkpoint yet; allowed: a directory that '
                     '`python -m experiments.train` has saved to')
    state, meta, step, warnings = newest
    for warning in warnings:
      logging.warning('warning: %s', warning)
    best = meta.get('best')
    if best and best['step'] != step:
      state, _, step, _ = checkpoint.restore(directory, like, best['step'])
    selected = bool(best)
  else:
    state, _, step, _ = checkpoint.restore(directory, like, step)
  params = state.ema if ema and config.ema else state.params['model']
  skipped = int(state.skipped[0]) if config.nan_steps_allowed else 0
  model = made.model
  if sampler and sampler.get('guidance', {}).get('autoguidance'):
    model, params = _autoguided(config, made, params, ema)
  return Loaded(config, made.dataset, made.objective, model, params, step, selected, skipped)


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


def evaluate(workdir, split: str = 'test', step: int | None = None, names=None,
             progress=iter) -> dict:
  """Runs the evaluators, writes eval.json, samples/final.npz and final.png; {metric: Value}.

  Evaluators of the config that the model cannot answer are left out; those of `names`, which are
  metrics or evaluators, are refused in the teaching lines (BadInput).
  """
  run = load(workdir, step)
  config, spec = run.config, run.dataset.spec
  wanted = build.answering(names) if names else tuple(config.evals.names)
  evals = build.evaluators(config, run.dataset, run.model, split, wanted,
                           optional=() if names else wanted)
  draw = build.drawer(config, spec, run.model, config.seed)(run.params)
  metrics = {}
  for name in progress(evals):
    metrics.update(evals[name](run.params, draw))
  if config.nan_steps_allowed:
    for value in metrics.values():
      value.card['detail']['skipped_steps'] = run.skipped
  x = draw(max(config.evals.num_samples, PICTURE))[0] if run.model.sample is not None else None
  if hosts.is_lead():
    _write(pathlib.Path(workdir), run, split, metrics, x)
  return metrics


def _write(workdir: pathlib.Path, run: Loaded, split: str, metrics: dict, x) -> None:
  """eval.json, and the samples that were drawn for it beside as many data."""
  spec = run.dataset.spec
  if x is not None:
    writer.write_samples(workdir / 'samples' / 'final', x, spec, PICTURE)
    # of points as many as were drawn: a cloud shows its density by them
    real = run.dataset.splits[split]['x'][:PICTURE if writer.is_image(spec) else len(x)]
    writer.write_sample_file(workdir / 'samples' / 'reference.npz', real, spec)
  disk.write_json(workdir / 'eval.json', {
      'step': run.step, 'selected': run.selected, 'split': split,
      'metrics': {name: value._asdict() for name, value in metrics.items()},
      'provenance': {**rundir.provenance(workdir), **cost(run),
                     'config_hash': identity.config_hash(run.config.to_dict())}})


def cost(run: Loaded) -> dict:
  """What the whole run took, beyond the seconds: steps, examples seen, parameters of the model."""
  slices = sum(player.num_updates for player in run.objective.players)
  seen = (run.config.steps * run.config.batch_size * slices if slices
          else len(run.dataset.splits['train']['x']))
  return {'steps': run.config.steps if slices else 1, 'examples': seen,
          'parameters': sum(leaf.size for leaf in jax.tree.leaves(run.params))}
