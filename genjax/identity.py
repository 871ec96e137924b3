"""What makes two runs the same run: what each section of a config decides.

A section *trains* (it decides the numbers of the training), *selects* (which checkpoint is the
result), *measures* (what a measurement says) or is *watched* (none of these).
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping

from genjax import extension

SECTIONS = {
    **dict.fromkeys(
        ('seed', 'steps', 'batch_size', 'steps_per_dispatch', 'accumulate', 'nan_steps_allowed',
         'data', 'augment', 'conditional', 'model', 'objective', 'networks', 'init_from', 'optim',
         'optim_by_player', 'ema'), 'trains'),
    'select': 'selects',
    **dict.fromkeys(('sampler', 'evals'), 'measures'),
    **dict.fromkeys(('log', 'checkpoint', 'mesh'), 'watched'),
}
# keyword arguments of data on a disk that say where they lie: their content is compared instead
PLACES = ('path', 'data_dir')


def sections(*roles: str) -> tuple[str, ...]:
  """The sections of a config with one of these roles."""
  return tuple(name for name, role in SECTIONS.items() if role in roles)


def title(config, joined: str = 'by') -> str:
  """'vae by kl': what is trained, and by what; of a user's own parts the names of their files."""
  named = config['model']['family'], config['objective']['name']
  return f' {joined} '.join(map(extension.stem, named))


def canonical(config: Mapping, without: tuple[str, ...] = ()) -> str:
  """A config as JSON with sorted keys; tuples and lists are one.

  Of the run that a training starts from its name counts, which says what it is; of a user's own
  files their names and contents.
  """
  kept = {k: extension.portable(v) for k, v in config.items() if k not in without}
  if kept.get('init_from'):
    kept['init_from'] = pathlib.PurePath(kept['init_from']).name
  return json.dumps(kept, sort_keys=True, default=list)


def config_hash(config: Mapping) -> str:
  """16 hex digits of what a run trains and measures: all but log, checkpoint and mesh."""
  return _digest(canonical(config, sections('watched')))


def run_hash(config: Mapping) -> str:
  """8 hex digits of what a run trains, for the name of its directory.

  Where a validation metric selects the checkpoint, what it is measured with belongs to it; a
  likelihood ('nll') is measured with nothing else.
  """
  selects = (config.get('select') or {}).get('metric') not in (None, '', 'nll')
  without = sections('watched') if selects else sections('watched', 'measures')
  return _digest(canonical(config, without))[:8]


def trajectory(config: Mapping) -> dict:
  """The part of a config (nested dict) that decides every number of the training up to any step.

  `steps` belongs to it only where a learning rate decays: there each step depends on the last. Of
  data, of the run that a training starts from, and of a user's own files, the content is compared,
  not the path.
  """
  kept = {key: extension.portable(value) for key, value in config.items()
          if SECTIONS.get(key, 'trains') == 'trains' and key != 'init_from'}
  data = kept.get('data') or {}
  if 'kw' in data:
    data['kw'] = {key: value for key, value in data['kw'].items() if key not in PLACES}
  optims = [config.get('optim') or {}, *(config.get('optim_by_player') or {}).values()]
  if all((optim.get('decay') or 'constant') == 'constant' for optim in optims):
    kept.pop('steps', None)
  return kept


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:16]
