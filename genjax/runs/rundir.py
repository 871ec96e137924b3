"""The directory of a run: its config.json, and the changes after which it is still the same run.

WORKDIR has config.json, metrics.jsonl, events.*, checkpoints/, samples/ and eval.json. Measurements
with another sampler, other evaluators or another encoder are in evals/.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import jax

from genjax import disk, extension
from genjax.identity import PLACES, sections, trajectory
from genjax.runs import writer
from genjax.types import BadInput

_PACKAGES = {'jax': 'jax', 'jaxlib': 'jaxlib', 'flax': 'flax', 'optax': 'optax',
             'orbax': 'orbax-checkpoint', 'numpy': 'numpy', 'genjax': 'genjax-research'}
SHAPE = 2  # version of the format: config.json, config, parameters, checkpoints
BEFORE = '29e809c'  # the last commit that reads the first format, which has no `shape`
_SOURCE = pathlib.Path(__file__).resolve().parents[2]


def record(workdir: pathlib.Path, new: Mapping | None) -> None:
  """Writes the record that `agree` returned to config.json, atomically; does nothing for None."""
  if new is not None:
    disk.write_record(workdir / 'config.json', new)


def place(workdir: str | os.PathLike | None) -> pathlib.Path:
  """The absolute path of a run directory, `~` expanded. Raises BadInput for none or an address."""
  if not workdir:
    raise BadInput('no --workdir was given; allowed: a new directory or one of an earlier run')
  if '://' in str(workdir):
    raise BadInput(f'--workdir={workdir} is an address; allowed: a path on a file system that all '
                   'hosts mount')
  return pathlib.Path(workdir).expanduser().absolute()


def agree(workdir: str | os.PathLike, config: Mapping, identity: Mapping,
          origin: Mapping | None, facts: Mapping):
  """(path of the run directory, its new record, or None if the record does not change).

  config: nested dict; allowed changes of it are recorded under 'history'.
  identity: of the data; facts: about them, for sampling without them.
  origin: of the checkpoint from which the run starts, if any.
  It writes nothing. Raises BadInput for a directory that is no run, and for a config or data that
  would change the trajectory so far, naming each key with its old and new value.
  """
  workdir = place(workdir)
  config, identity = _json_like(config), _json_like(identity)
  from_run = {'init_from': _json_like(origin)} if origin else {}
  now = {'commit': commit(), 'versions': versions(), 'device': device()}
  facts = _json_like(facts)
  if not (workdir / 'config.json').exists():
    if (workdir / 'checkpoints').exists():
      raise BadInput(f'{workdir} has checkpoints but no config.json; allowed: another --workdir')
    return workdir, {'shape': SHAPE, 'config': config, **now, 'data': identity, 'facts': facts,
                     **from_run, 'created': _time(), 'history': []}
  old = read(workdir)
  new = {**_resumed(workdir, old, config, {'data set': identity, **from_run}, now), 'facts': facts}
  return workdir, None if new == old else new


def without_places(identity: Mapping) -> dict:
  """The identity of data without their location, so that moved data are the same data."""
  kw = {k: v for k, v in (identity.get('kw') or {}).items() if k not in PLACES}
  return {**identity, 'kw': kw}


def _resumed(workdir: pathlib.Path, old: dict, config: dict, given: dict, now: dict) -> dict:
  """The record of a resumed run; BadInput if it would be another run."""
  was, would = trajectory(old['config']), trajectory(config)
  if ('steps' in was) != ('steps' in would):  # then `decay` differs, and the message names that
    was.pop('steps', None), would.pop('steps', None)
  had = {'data set': without_places(old['data']),
         **{k: old[k] for k in ('init_from',) if k in old}}
  given = {**given, 'data set': without_places(given['data set'])}
  refused = {**_changes(was, would), **_changes(had, given)}
  _refuse_changed_files(workdir, refused, config)
  if refused:
    lines = [f'  {key}: {json.dumps(there)} there, {json.dumps(here)} now'
             for key, (there, here) in refused.items()]
    raise BadInput('\n'.join([
        f'{workdir} holds another run; these would change its trajectory:', *lines,
        f'allowed: the old values, another --workdir, or changes of steps (where the learning rate '
        f'does not depend on it), {", ".join(sections("selects", "measures", "watched"))}']))
  changed = {**_changes(old['config'], config),
             **_changes({k: old[k] for k in now}, now)}
  if not changed:
    return old
  entry = {'time': _time(), 'changes': {k: list(v) for k, v in changed.items()}}
  return {**old, 'config': config, **now, 'history': [*old['history'], entry]}


def _refuse_changed_files(workdir: pathlib.Path, refused: Mapping, config: Mapping) -> None:
  """Raises BadInput for a user's own file whose content has changed, naming the file."""
  named = _flat(config)
  for key, (there, here) in refused.items():
    if extension.is_other_version(there, here):
      raise BadInput(f'{workdir}: {extension.place(named[key])} ({key}) has changed since this '
                     f'run was begun; allowed: the file as it was, {extension.label(there)}, or '
                     'another --workdir')


def read(workdir: str | os.PathLike) -> dict:
  """config.json as a dict: shape, config, commit, versions, device, data, facts, created, history.

  Raises BadInput for a file that no training wrote, that is damaged, or that has another format.
  """
  path = pathlib.Path(workdir).expanduser() / 'config.json'
  try:
    record = json.loads(path.read_bytes())
    stored = record.pop('sha256')
  except (FileNotFoundError, NotADirectoryError):
    raise BadInput(f'{workdir} is no run directory: it has no config.json; allowed: the --workdir '
                   'of a training run') from None
  except (ValueError, LookupError, TypeError, AttributeError):  # not JSON, or not ours
    raise BadInput(f'{path} was not written by a training run, or is damaged; allowed: the '
                   '--workdir of a training run') from None
  if stored != disk.json_digest(record):
    raise BadInput(f'{path} is damaged or was edited: its sha256 is not the recorded one; allowed: '
                   'the --workdir of a training run, as it was written')
  if record.get('shape') != SHAPE:
    raise BadInput(f'{workdir} is a run directory of shape {record.get("shape", 1)}, and this '
                   f'version of genjax reads shape {SHAPE}; allowed: commit {BEFORE}, the last '
                   'that reads shape 1, or another --workdir')
  return record


def checkpoints(workdir: str | os.PathLike) -> pathlib.Path:
  """The absolute path of the checkpoints of a run."""
  return pathlib.Path(workdir).expanduser().absolute() / 'checkpoints'


def differences(there: Mapping, here: Mapping, without: tuple[str, ...] = ()) -> list[str]:
  """A line for each key that differs between two configs, except in the sections `without`."""
  kept = [_json_like({k: v for k, v in config.items() if k not in without})
          for config in (there, here)]
  return [f'  {key}: {json.dumps(a)} there, {json.dumps(b)} here'
          for key, (a, b) in _changes(*kept).items()]


def provenance(workdir: str | os.PathLike) -> dict:
  """The origin of a run's numbers: seed, commits, versions, device, time, seconds of training.

  'commit' is that of the training, 'evaluated_by' that of this process.
  """
  record = read(workdir)
  return {'seed': record['config'].get('seed'), 'commit': record['commit'],
          'evaluated_by': commit(), 'versions': versions(),
          'trained_with': record['versions'], 'device': record['device'], 'time': _time(),
          'train_seconds': _train_seconds(workdir)}


def _train_seconds(workdir: str | os.PathLike) -> float | None:
  """Seconds of the logged steps, with compilation and evaluation, without restarts; None if 0.

  Raises BadInput for a log that ends before the last checkpoint, which is written after its line.
  """
  seconds, last = 0.0, 0
  log, rows = pathlib.Path(workdir) / 'metrics.jsonl', writer.read_metrics(workdir)
  saved = max((int(path.name) for path in checkpoints(workdir).glob('[0-9]*')
               if path.name.isdigit()), default=0)
  logged = max((row['step'] for row in rows), default=0)
  if log.exists() and logged < saved:
    raise BadInput(f'{log} is damaged: it ends at step {logged}, and there is a checkpoint of step '
                   f'{saved}; allowed: the whole log, or none, and with it no training time')
  for row in rows:
    if 'fit_seconds' in row:
      seconds += row['fit_seconds']
    elif row.get('steps_per_second'):
      seconds += (row['step'] - last) / row['steps_per_second']
      last = row['step']
  return seconds or None


def commit() -> str | None:
  """The git commit of this source, with '-dirty' if tracked files differ; None outside git."""
  answer = _git('rev-parse', '--show-toplevel', 'HEAD')
  top, _, head = (answer or '').strip().partition('\n')
  if not head or pathlib.Path(top).resolve() != _SOURCE:
    return None  # no commit yet, or installed inside another repository
  changed = _git('status', '--porcelain', '--untracked-files=no')
  return f'{head}-dirty' if changed else head


def _git(*arguments: str) -> str | None:
  try:
    done = subprocess.run(['git', '-C', str(_SOURCE), *arguments], capture_output=True, text=True,
                          timeout=10, check=True)
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout


def versions() -> dict[str, str | None]:
  """{name: version} of python, jax, flax, ...; None: not installed as a package."""
  by_package = {'python': platform.python_version()}
  for name, package in _PACKAGES.items():
    try:
      by_package[name] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      by_package[name] = None
  return by_package


def device() -> str:
  """'8 x cpu (cpu)': number of devices, kind, backend."""
  return f'{jax.device_count()} x {jax.devices()[0].device_kind} ({jax.default_backend()})'


def _changes(old: Mapping, new: Mapping) -> dict[str, tuple[Any, Any]]:
  """{dotted key: (old, new)}; null where a key is absent."""
  a, b = _flat(old), _flat(new)
  return {k: (a.get(k), b.get(k)) for k in [*a, *(k for k in b if k not in a)]
          if (k in a, a.get(k)) != (k in b, b.get(k))}


def _flat(tree: Any, prefix: str = '') -> dict[str, Any]:
  if not isinstance(tree, Mapping) or not tree:
    return {prefix: tree}
  return {k: v for key, sub in tree.items()
          for k, v in _flat(sub, f'{prefix}.{key}' if prefix else str(key)).items()}


def _json_like(tree: Any) -> Any:
  """The tree as JSON returns it: tuples become lists, keys strings."""
  return json.loads(json.dumps(tree, default=list))


def _time() -> str:
  return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
