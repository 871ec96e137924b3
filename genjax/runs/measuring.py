"""The measurement of a run: its evaluators, their record, and the measured samples."""

import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
from absl import logging
from ml_collections import config_dict

from genjax import data, extension, identity, wiring
from genjax.cluster import hosts
from genjax.runs import record, rundir, writer
from genjax.runs.opening import Loaded, load
from genjax.types import BadInput

PICTURE = 64  # samples in the picture of a run


def evaluate(workdir, split: str = 'test', step: int | None = None, names=None, progress=iter,
             measured: Mapping | None = None, chunk: int | None = None,
             tick: Callable = lambda: None) -> dict:
  """{metric: Value} of the evaluators of a run; writes their record and the measured samples.

  split, step: of the data and of the checkpoint (None: the selected one, else the last).
  names: metrics or evaluators to add to the record; None: the config's that suit this model.
  progress: names -> an iterator over them. tick: called before each batch and chunk of samples.
  measured: a config of the same training (a plain dict) with another sampler or other evaluators.
  chunk: number of samples drawn at once; None: config.mesh.chunk.

  The record of the run's own config is eval.json, with samples/final.npz and final.png; that of
  another config is evals/HASH.json with samples/HASH.* (`runs.record`). Raises BadInput for names
  that cannot measure this model, and for a config of another training.
  """
  own = rundir.read(workdir)['config']
  asked = measured or own
  _check_trained(workdir, own, asked)
  changed = asked.get('sampler') != own.get('sampler')
  loaded = load(workdir, step, sampler=asked['sampler'] if changed else None, with_data=True)
  config = loaded.config
  config.evals = config_dict.ConfigDict(asked['evals'])
  wished = config.evals.num_samples
  config.evals.num_samples = wiring.affordable(config, loaded.training, loaded.model, loaded.params)
  key = {'config': identity.config_hash(asked), 'split': split, 'step': loaded.step}
  path, drawn = record.place(workdir, key, key['config'] == identity.config_hash(own),
                             standing=step is None and split == 'test')
  ours = tuple(config.evals.names)
  wanted = wiring.answering(names, ours) if names else dict.fromkeys(ours, ())
  evals = wiring.evaluators(config, loaded.dataset, loaded.model, split, tuple(wanted),
                            asked=wanted, optional=() if names else tuple(wanted), tick=tick)
  if config.evals.num_samples < wished:  # warn only after all refusals
    logging.warning('warning: %d samples instead of %d, which would cost more than %g times the '
                    'training (config.evals.budget)', config.evals.num_samples, wished,
                    config.evals.budget)
  drawer = lambda model: wiring.drawer(config, loaded, config.seed, model=model, chunk=chunk,
                                       tick=tick)(loaded.params)
  draw = drawer(loaded.model)
  metrics = {}
  for name in progress(evals):
    metrics.update(evals[name](loaded.params, draw))
  if config.nan_steps_allowed:
    for value in metrics.values():
      value.card['detail']['skipped_steps'] = loaded.skipped
  x, labels, pictures = None, None, None
  if loaded.model.sample is not None:
    x, info = draw(max(config.evals.num_samples, PICTURE))
    labels = info['cond']
    if wiring.draws_pixels(loaded.model) and writer.is_image(loaded.dataset.spec):
      pictures = drawer(wiring.pictured(loaded.model))(PICTURE)[0]
  if hosts.is_lead():
    # some metrics only, or another checkpoint or split, are no measurement of the config
    whole = not names and step is None and split == 'test'
    _write_samples(pathlib.Path(workdir), loaded, split, x, labels, pictures, drawn)
    record.write(workdir, path, {
        **key, 'selected': loaded.selected,
        'metrics': {name: value._asdict() for name, value in metrics.items()},
        'provenance': {**rundir.provenance(workdir), **cost(loaded),
                       'config_hash': key['config'] if whole else None}}, whole)
  return metrics


def shown(progress: Callable) -> tuple[Callable, Callable]:
  """(progress, tick) for `evaluate`: one bar of batches that names the current evaluator.

  progress: tqdm, or a function with its interface.
  """
  bar = progress(unit='batch', desc='evaluation')

  def over(names: Iterable[str]) -> Iterator[str]:
    names = list(names)
    for i, name in enumerate(names, 1):
      bar.set_postfix({'evaluator': f'{extension.stem(name)} ({i} of {len(names)})'})
      yield name
    bar.close()

  return over, bar.update


def _check_trained(workdir, own: Mapping, asked: Mapping) -> None:
  """Raises BadInput if `asked` is of another training, or if the training has not ended."""
  if asked is own:
    return
  if identity.run_hash(own) != identity.run_hash(asked):
    lines = rundir.differences(own, asked, identity.sections('watched', 'measures'))
    raise BadInput('\n'.join([f'{workdir} holds another training than this --config:', *lines,
                              'allowed: differences in sampler and evals']))
  if not (rundir.checkpoints(workdir) / str(asked['steps'])).is_dir():
    raise BadInput(f'{workdir} is not trained to step {asked["steps"]} yet; allowed: a run that '
                   'has ended')


def _write_samples(workdir: pathlib.Path, loaded: Loaded, split: str, x, labels, pictures,
                   name: str) -> None:
  """Writes the samples of a measurement, and the same number of test examples."""
  spec = loaded.dataset.spec
  if x is None:
    return
  # a run may have a hundred measurements: only the picture is kept of those of other configs
  count = len(x) if name == 'final' or not writer.is_image(spec) else PICTURE
  writer.write_samples(workdir / 'samples' / name, data.to_raw(loaded.dataset, x[:count]), spec,
                       PICTURE, None if labels is None else labels[:count], loaded.dataset.classes,
                       pictures)
  if split == 'test':
    # the same number of points as drawn, so that the densities of the clouds can be compared
    real = loaded.dataset.splits[split]['x'][:PICTURE if writer.is_image(spec) else len(x)]
    writer.write_sample_file(workdir / 'samples' / 'reference.npz',
                             data.to_raw(loaded.dataset, real), spec)


def cost(loaded: Loaded) -> dict:
  """{'steps', 'examples', 'parameters'}: the cost of the whole run, except its seconds."""
  slices = sum(player.num_updates for player in loaded.objective.players)
  seen = (loaded.config.steps * loaded.config.batch_size * slices if slices
          else len(loaded.dataset.splits['train']['x']))
  return {'steps': loaded.config.steps if slices else 1, 'examples': seen,
          'parameters': sum(leaf.size for leaf in jax.tree.leaves(loaded.params))}
