"""Checkpoints that are complete or absent: every file and every shard has a digest.

DIRECTORY/STEP/host_I holds the shards of host I; DIRECTORY/STEP/checkpoint.json describes them. A
step is written under a hidden name, flushed to the disk and then renamed, so that a process killed
at any moment leaves only complete steps. All hosts write and read one file system.
"""

import json
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable
from typing import Any

import jax

from genjax.cluster import checkpoint_index, hosts, preempt, shards
from genjax.cluster.checkpoint_index import identity as identity
from genjax.cluster.checkpoint_index import steps
from genjax.types import BadInput

_HIDDEN = '.tmp-'  # what is being written or deleted; never a checkpoint
_GONE = 'it was deleted while it was read'


class Pruned(BadInput):
  """A step that does not exist, or no longer."""


class NotFinite(BadInput):
  """A state with NaN or infinity, which is never saved; `names` are the leaves that hold them."""

  def __init__(self, step: int, names: tuple[str, ...]):
    shown = ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
    super().__init__(f'the state of step {step} is not finite and was not saved: {shown}')
    self.names = names


def save(directory: str | os.PathLike, step: int, state: Any, meta: dict) -> None:
  """Saves a state; on return DIRECTORY/STEP is complete and on the disk.

  directory: of all steps of a training.
  step: of the state. Later steps are deleted: they are damaged, or belong to a training that was
    restored from before them.
  state: pytree of arrays, sharded over hosts or not.
  meta: plain JSON data.
  Raises, on every host, NotFinite, or OSError if the disk is full or read-only; earlier steps
  remain.
  """
  write(directory, step, shards.snapshot(state), meta)


def write(directory: str | os.PathLike, step: int, kept: dict, meta: dict) -> None:
  """As `save`, for a state that `shards.snapshot` copied."""
  directory = pathlib.Path(directory).absolute()
  bad = {name for names in hosts.exchange('not finite', json.dumps(shards.not_finite(kept)))
         for name in json.loads(names)}
  if bad:
    raise NotFinite(step, tuple(name for name in kept if name in bad))
  hidden, whole = directory / f'{_HIDDEN}{step}', False
  with preempt.writing():
    try:
      _together(directory, step, lambda: _make_hidden(directory, hidden))
      _together(directory, step, lambda: _write_part(hidden, kept))
      _together(directory, step, lambda: _complete(directory, hidden, step, meta))
      whole = True
    finally:
      if hosts.is_lead() and not whole:
        _remove(hidden)


def _remove(folder: pathlib.Path) -> None:
  """Removes a folder into which threads of a failed save may still write for a moment."""
  looks = 0
  for _ in range(50):
    looks = 0 if folder.exists() else looks + 1
    if looks == 5:
      return
    shutil.rmtree(folder, ignore_errors=True)
    time.sleep(0.1)


def _together(directory: pathlib.Path, step: int, action: Callable) -> None:
  """Every host calls action(); if one of them fails, all raise its OSError."""
  code, failure = 0, None
  try:
    action()
  except (OSError, ValueError) as error:
    code, failure = _errno(error), error
    if code is None:
      raise
  codes = [int(text) for text in hosts.exchange('checkpoint', str(code))]
  if any(codes):
    where, code = next((i, c) for i, c in enumerate(codes) if c)
    on_host = f'on host {where}, ' if len(codes) > 1 else ''
    raise OSError(code, f'checkpoint {step} was not saved ({on_host}{os.strerror(code)}; the steps '
                  'before it are untouched)', str(directory)) from failure


def _make_hidden(directory: pathlib.Path, hidden: pathlib.Path) -> None:
  if hosts.is_lead():
    directory.mkdir(parents=True, exist_ok=True)
    for stray in directory.glob(f'{_HIDDEN}*'):  # left by a process that was killed
      shutil.rmtree(stray)
    hidden.mkdir()


def _write_part(hidden: pathlib.Path, kept: dict) -> None:
  index = shards.write(hidden, kept)
  (hidden / f'index_{hosts.index()}.json').write_text(json.dumps(index))
  _flush(hidden / f'host_{hosts.index()}')


def _complete(directory: pathlib.Path, hidden: pathlib.Path, step: int, meta: dict) -> None:
  if not hosts.is_lead():
    return
  parts = [hidden / f'index_{i}.json' for i in range(hosts.count())]
  index = shards.merged([json.loads(part.read_text()) for part in parts])
  for part in parts:
    part.unlink()
  content = {'format': checkpoint_index.FORMAT, 'step': step, 'meta': meta, **index}
  body = {'digest': shards.digest(checkpoint_index.canonical(content)), 'content': content}
  (hidden / checkpoint_index.NAME).write_text(json.dumps(body, indent=1))
  _fsync(hidden / checkpoint_index.NAME)
  _fsync(hidden)
  _delete(directory, step)
  hidden.rename(directory / str(step))
  _fsync(directory)
  for later in (s for s in steps(directory) if s > step):
    _delete(directory, later)


def restore(directory: str | os.PathLike, like: Any, step: int | None = None
            ) -> tuple[Any, dict, int, list[str]] | None:
  """(state, meta, step, warnings) of the newest undamaged step, or of `step`; None: no step yet.

  like: pytree of ShapeDtypeStruct (the state gets their shardings) or of arrays. Each warning names
  a damaged step that was skipped. Writes nothing. If a training deletes a step while it is read,
  the newest is read instead. Raises BadInput for a checkpoint of another model, for a `step` that
  is damaged or missing (Pruned), and if every step is damaged.
  """
  directory = pathlib.Path(directory).absolute()
  present = _agreed_steps(directory)
  if step is not None and step not in present:
    raise _pruned(directory, step)
  warnings, candidates = [], present if step is None else [step]
  while candidates:
    candidate = candidates.pop()
    state, meta, damage = _read(directory / str(candidate), like)
    if not damage:
      return state, meta, candidate, warnings
    if damage != _GONE:
      warnings.append(f'checkpoint {candidate} in {directory} is damaged, skipped: {damage}')
    elif step is not None:
      raise _pruned(directory, step)
    else:
      warnings, candidates = [], _agreed_steps(directory)
  if warnings:
    raise BadInput('no checkpoint can be restored:\n  ' + '\n  '.join(warnings))
  return None


def _agreed_steps(directory: pathlib.Path) -> list[int]:
  """The steps that the lead host sees; a training in another job may change them."""
  return json.loads(hosts.exchange('steps', json.dumps(steps(directory)))[0])


def _pruned(directory: pathlib.Path, step: int) -> 'Pruned':
  return Pruned(f'no checkpoint of step {step} in {directory}; there are: '
                f'{", ".join(map(str, steps(directory))) or "none"}')


def prune(directory: str | os.PathLike, keep_last: int, keep_every: int | None = None,
          protect: tuple[int, ...] = ()) -> list[int]:
  """The steps deleted, which are all but those that the arguments keep.

  keep_last: number of the last steps to keep, at least 1.
  keep_every: multiples of it are kept; default: none.
  protect: steps to keep in any case.
  """
  directory = pathlib.Path(directory).absolute()
  present = steps(directory)
  kept = set(present[-max(1, keep_last):]) | set(protect)
  kept |= {s for s in present if keep_every and s % keep_every == 0}
  for s in (dropped := [s for s in present if s not in kept]):
    _delete(directory, s)
  return dropped


def _read(path: pathlib.Path, like: Any) -> tuple[Any, dict, str]:
  """(state, meta, '') or (None, {}, damage); BadInput for an undamaged one of another model."""
  content, damage = checkpoint_index.read(path)
  wanted, arrays = shards.named(like), {}
  if not damage:
    _refuse_foreign(path, content['arrays'], wanted)
    try:
      arrays, damage = shards.read(path, content, wanted)
    except (OSError, ValueError, LookupError):  # files may be deleted while they are read
      if path.is_dir():
        raise
      damage = _GONE
  if damage and not path.is_dir():
    damage = _GONE
  # a step that one host cannot read is damaged for all, so that all restore the same step
  damage = next((text for text in hosts.exchange('damage', damage) if text), '')
  if damage:
    return None, {}, damage
  leaves = [arrays[name] for name in wanted]
  return jax.tree.unflatten(jax.tree.structure(like), leaves), content['meta'], ''


def _refuse_foreign(path: pathlib.Path, stored: dict, wanted: dict) -> None:
  show = lambda dtype, shape: f'{dtype}[{",".join(map(str, shape))}]'
  have = {n: show(s['dtype'], s['shape']) for n, s in stored.items()}
  want = {n: show(w.dtype, w.shape) for n, w in wanted.items()}
  differ = [f'{n}: stored {have.get(n, "nothing")}, wanted {want.get(n, "nothing")}'
            for n in [*want, *(n for n in have if n not in want)] if have.get(n) != want.get(n)]
  if differ:
    shown = differ[:8] + [f'and {len(differ) - 8} more'] * (len(differ) > 8)
    raise BadInput('\n  '.join([f'{path} is a checkpoint of another model or optimizer:', *shown]))


def _errno(error: Exception) -> int | None:
  """The errno of an OSError, or of a ValueError in whose text tensorstore hides one; else None."""
  code = re.search(r"os_error_code='(\d+)'", str(error))
  return error.errno if isinstance(error, OSError) else int(code[1]) if code else None


def _flush(path: pathlib.Path) -> None:
  for entry in [*path.rglob('*'), path]:
    _fsync(entry)


def _fsync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _delete(directory: pathlib.Path, step: int) -> None:
  """Deletes a step; renames it first, since a half deleted one must not look like a step."""
  path, hidden = directory / str(step), directory / f'{_HIDDEN}old-{step}'
  if path.is_dir():
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)

