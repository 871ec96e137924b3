"""Where a training starts: fresh parameters, or those of another run (config.init_from)."""

import json
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from genjax import data, extension, sharding, wiring
from genjax.cluster import checkpoint
from genjax.numerics import streams
from genjax.runs import rundir
from genjax.train import init
from genjax.types import BadInput


def origin(config, dataset: data.Dataset, workdir) -> dict | None:
  """{'step', 'digest'} of the checkpoint in config.init_from from which a run starts, or None.

  It reads no array. An existing run keeps its origin: if that checkpoint still exists, it must be
  unchanged. Raises BadInput for a directory that is no run, or has other data or another model.
  """
  given = config.init_from
  if not given:
    return None
  exists = workdir and (pathlib.Path(workdir) / 'config.json').exists()
  known = rundir.read(workdir).get('init_from') if exists else None
  if known:
    return checkpoint.identity(rundir.checkpoints(given), known['step']) or known
  there = rundir.read(given)
  _check_same(given, there, config, dataset)
  newest = checkpoint.identity(rundir.checkpoints(given))
  if newest is None:
    raise BadInput(f'init_from={given} holds no checkpoint yet; allowed: a run that has saved')
  return newest


# keywords that change neither the parameters nor their meaning
INERT = ('dropout', 'dtype', 'remat', 'num_steps')


def _check_same(given, there: Mapping, config, dataset: data.Dataset) -> None:
  """Raises BadInput, naming the differences, if init_from has other data or another model."""
  plain = lambda tree: json.loads(json.dumps(tree, default=list))
  ours, theirs = plain(config.to_dict()), there['config']
  pairs = {'model.family': tuple(extension.portable(of['model']['family'])
                                 for of in (theirs, ours)),
           'conditional': (theirs['conditional'], ours['conditional'])}
  sections = {'model.kw': (theirs['model']['kw'], ours['model']['kw'])}
  for role in wiring.model_roles(config):
    then, now = (of['networks'][role] for of in (theirs, ours))
    pairs[f'networks.{role}.name'] = tuple(extension.portable(of['name']) for of in (then, now))
    sections[f'networks.{role}.kw'] = then['kw'], now['kw']
  for name, (then, now) in sections.items():
    for key in sorted({*then, *now} - set(INERT)):
      pairs[f'{name}.{key}'] = then.get(key), now.get(key)
  was, now = (rundir.without_places(plain(identity))
              for identity in (there['data'], dataset.identity))
  for key in sorted({*was, *now}):
    pairs[f'data: {key}'] = was.get(key), now.get(key)
  lines = [f'  {key}: {json.dumps(a)} there, {json.dumps(b)} here'
           for key, (a, b) in pairs.items() if a != b]
  if lines:
    raise BadInput('\n'.join([f'init_from={given} is a run of another kind:', *lines,
                              'allowed: a run on the same data with the same model']))


def fresh(config, training: wiring.Run, like):
  """The state before the first step, on its devices; like: its shapes and shardings."""
  shardings = jax.tree.map(lambda leaf: leaf.sharding, like) if sharding.current_mesh() else None
  return init.initialise(training.init, streams.stream(config.seed, streams.Purpose.INIT),
                         wiring.first_rows(config, training), shardings)


def adapted(config, training: wiring.Run, state):
  """The fresh state with its model adapted to the first global batch (`Model.adapt`), if it can.

  Every host computes with the whole batch, so the number of devices changes roundings only.
  """
  adapt = training.model.adapt
  if adapt is None:
    return state
  batch = {key: value[:config.batch_size]
           for key, value in wiring.first_rows(config, training).items()}
  params = state.params['model']
  program = jax.jit(lambda params, rng, rows: adapt(params, rng, training.prepare(rows)),
                    out_shardings=jax.tree.map(lambda leaf: leaf.sharding, params))
  params = program(params, streams.stream(config.seed, streams.Purpose.ADAPTATION), batch)
  copied = lambda: jax.tree.map(jnp.copy, params)  # a step donates its buffers
  return state._replace(params={**state.params, 'model': params},
                        ema=copied() if config.ema else state.ema)


def started_from(config, state, given):
  """The fresh state with the parameters `given` in its model, and in its teacher if it has one.

  Raises BadInput if their shapes differ.
  """
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  if shapes(given) != shapes(state.params['model']):
    raise BadInput(f'init_from={config.init_from} has other parameters than this model has under '
                   f'{extension.stem(config.objective.name)}; allowed: a run whose network has '
                   'the same inputs')
  copied = lambda: jax.tree.map(jnp.copy, given)  # a step donates its buffers
  params = {**state.params, 'model': copied()}
  if 'teacher' in params:
    params['teacher'] = {**params['teacher'], 'model': copied()}
  return state._replace(params=params, ema=copied() if config.ema else state.ema)
