"""The identity of runs: what each section of a config decides.

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
# keyword arguments that locate data on a disk; the content is compared instead
PLACES = ('path', 'data_dir')


def sections(*roles: str) -> tuple[str, ...]:
  """The sections of a config with one of these roles."""
  return tuple(name for name, role in SECTIONS.items() if role in roles)


def title(config, joined: str = 'by') -> str:
  """'vae by kl': family and objective; for a user's own parts the names of their files."""
  named = config['model']['family'], config['objective']['name']
  return f' {joined} '.join(map(extension.stem, named))


def canonical(config: Mapping, without: tuple[str, ...] = ()) -> str:
  """A config as JSON with sorted keys; tuples and lists are the same.

  init_from is reduced to the name of the run, a user's own files to their names and contents.
  """
  kept = {k: extension.portable(v) for k, v in config.items() if k not in without}
  if kept.get('init_from'):
    kept['init_from'] = pathlib.PurePath(kept['init_from']).name
  return json.dumps(kept, sort_keys=True, default=list)


def config_hash(config: Mapping) -> str:
  """16 hex digits of everything that a run trains and measures: not log, checkpoint and mesh."""
  return _digest(canonical(config, sections('watched')))


def run_hash(config: Mapping) -> str:
  """8 hex digits of what a run trains, for the name of its directory.

  If a validation metric selects the checkpoint, the sections that measure it are included; the
  likelihood 'nll' needs none of them.
  """
  selects = (config.get('select') or {}).get('metric') not in (None, '', 'nll')
  without = sections('watched') if selects else sections('watched', 'measures')
  return _digest(canonical(config, without))[:8]


def trajectory(config: Mapping) -> dict:
  """The part of a config (nested dict) that determines the training up to any step.

  `steps` is in it only if a learning rate decays, since then each step depends on the last one. The
  content of data, of the run in init_from and of a user's own files is compared, not their path.
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
