"""Checkpoints that are whole or absent: every file and every array carries a digest.

DIRECTORY/STEP/state holds the arrays (orbax), DIRECTORY/STEP/checkpoint.json what they must be.
Orbax reads a flipped bit back as a number, so nothing is returned before its digest was compared.
A step is written under a hidden name, flushed to the disk and then renamed, so that a process
killed at any moment leaves only whole steps. One process writes; the others may read.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import BadInput

_INDEX = 'checkpoint.json'
_HIDDEN = '.tmp-'  # what is being written or deleted; never a checkpoint
_FORMAT = 1


class NotFinite(BadInput):
  """A state with NaN or infinity, which is never saved; `names` are the leaves that hold them."""

  def __init__(self, step: int, names: tuple[str, ...]):
    shown = ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
    super().__init__(f'the state of step {step} is not finite and was not saved: {shown}')
    self.names = names


def save(directory: str | os.PathLike, step: int, state: Any, meta: dict) -> None:
  """None; when it returns, DIRECTORY/STEP is whole and on the disk.

  state: pytree of fully addressable arrays; meta: what JSON can hold. Steps after `step` are
  deleted: they belong to a future that was given up (damaged, or restored from before it).
  Raises NotFinite, and OSError when the disk is full or read-only; then all earlier steps stand.
  """
  directory = pathlib.Path(directory).absolute()
  arrays = {name: np.asarray(leaf) for name, leaf in _named(state).items()}
  bad = tuple(name for name, a in arrays.items()
              if jnp.issubdtype(a.dtype, jnp.inexact) and not np.isfinite(a).all())
  if bad:
    raise NotFinite(step, bad)
  hidden = directory / f'{_HIDDEN}{step}'
  try:
    directory.mkdir(parents=True, exist_ok=True)
    for stray in directory.glob(f'{_HIDDEN}*'):  # left by a process that was killed
      shutil.rmtree(stray)
    hidden.mkdir()
    _write_arrays(hidden / 'state', arrays)
    _write_index(hidden, step, arrays, meta)
    _flush(hidden)
    _delete(directory, step)
    hidden.rename(directory / str(step))
    _fsync(directory)
    for later in (s for s in steps(directory) if s > step):
      _delete(directory, later)
  except (OSError, ValueError) as error:
    code = _errno(error)
    if code is None:
      raise
    raise OSError(code, f'checkpoint {step} was not saved ({os.strerror(code)}; the steps before '
                  'it are untouched)', str(directory)) from error
  finally:
    shutil.rmtree(hidden, ignore_errors=True)


def restore(directory: str | os.PathLike, like: Any, step: int | None = None
            ) -> tuple[Any, dict, int, list[str]] | None:
  """(state, meta, step, warnings) of the newest undamaged step, or of `step`; None: no step yet.

  like: pytree of ShapeDtypeStruct (their shardings are followed) or of arrays. Each warning names
  a damaged step that was passed over. Writes nothing. Raises BadInput for a checkpoint of another
  model, for a damaged `step`, and when every step is damaged.
  """
  directory = pathlib.Path(directory).absolute()
  present = steps(directory)
  if step is not None and step not in present:
    raise BadInput(f'no checkpoint of step {step} in {directory}; there are: '
                   f'{", ".join(map(str, present)) or "none"}')
  warnings = []
  for candidate in reversed(present) if step is None else [step]:
    state, meta, damage = _read(directory / str(candidate), like)
    if not damage:
      return state, meta, candidate, warnings
    warnings.append(f'checkpoint {candidate} in {directory} is damaged, passed over: {damage}')
  if warnings:
    raise BadInput('no checkpoint can be restored:\n  ' + '\n  '.join(warnings))
  return None


def steps(directory: str | os.PathLike) -> list[int]:
  """The steps that were saved, ascending; damaged ones too (only reading finds out)."""
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    return []
  return sorted(int(path.name) for path in directory.iterdir()
                if re.fullmatch(r'0|[1-9]\d*', path.name) and path.is_dir())


def prune(directory: str | os.PathLike, keep_last: int, keep_every: int | None = None,
          protect: tuple[int, ...] = ()) -> list[int]:
  """The steps deleted: all but the last n (at least 1), the multiples of m, and `protect`."""
  directory = pathlib.Path(directory).absolute()
  present = steps(directory)
  kept = set(present[-max(1, keep_last):]) | set(protect)
  kept |= {s for s in present if keep_every and s % keep_every == 0}
  dropped = [s for s in present if s not in kept]
  for s in dropped:
    _delete(directory, s)
  return dropped


def _named(tree: Any) -> dict[str, Any]:
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  named = {jax.tree_util.keystr(p, simple=True, separator='/'): leaf for p, leaf in leaves}
  if len(named) < len(leaves):
    raise BadInput('two leaves of the state have one name: a dictionary key may not hold "/"')
  return named


def _digest(data: Any) -> str:
  return hashlib.blake2b(data, digest_size=16).hexdigest()


def _describe(a: np.ndarray) -> dict:
  data = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
  return {'shape': list(a.shape), 'dtype': str(a.dtype), 'digest': _digest(data)}


def _canonical(content: Any) -> bytes:
  return json.dumps(content, sort_keys=True, separators=(',', ':')).encode()


def _write_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  import orbax.checkpoint as ocp  # half a second that a program which never saves does not pay
  arrays = {name: a for name, a in arrays.items() if a.size}  # orbax refuses empty ones
  with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    checkpointer.save(path, args=ocp.args.PyTreeSave(arrays))


def _read_arrays(path: pathlib.Path, names: list[str]) -> dict[str, np.ndarray]:
  import orbax.checkpoint as ocp
  as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
  with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
    return checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


@contextlib.contextmanager
def _quiet():
  """Orbax logs tracebacks of errors that it also raises; ours say the same in one line.

  When one write fails, the others find the loop of orbax closed, and threads of tensorstore print
  a traceback for each at any later time: the filter of these stays after a failure.
  """
  keep = lambda record: 'orbax' not in record.pathname
  logger, hook = logging.getLogger('absl'), sys.unraisablehook
  logger.addFilter(keep)
  sys.unraisablehook = lambda report: (
      None if str(report.exc_value) == 'Event loop is closed' else hook(report))
  try:
    yield
    sys.unraisablehook = hook
  finally:
    logger.removeFilter(keep)


def _write_index(path: pathlib.Path, step: int, arrays: dict, meta: dict) -> None:
  content = {'format': _FORMAT, 'step': step, 'meta': meta,
             'arrays': {name: _describe(a) for name, a in arrays.items()},
             'files': {str(f.relative_to(path)): [f.stat().st_size, _digest(f.read_bytes())]
                       for f in sorted(path.rglob('*')) if f.is_file()}}
  body = {'digest': _digest(_canonical(content)), 'content': content}
  (path / _INDEX).write_text(json.dumps(body, indent=1))


def _read(path: pathlib.Path, like: Any) -> tuple[Any, dict, str]:
  """state, meta, '' or None, {}, how it is damaged; BadInput when it is whole but foreign."""
  content, damage = _read_index(path)
  damage = damage or _damaged_file(path, content['files'])
  if damage:
    return None, {}, damage
  wanted = _named(like)
  _refuse_foreign(path, content['arrays'], wanted)
  arrays = {n: np.zeros(w.shape, w.dtype) for n, w in wanted.items() if 0 in w.shape}
  arrays |= _read_arrays(path / 'state', [n for n in wanted if n not in arrays])
  for name in wanted:
    if _describe(arrays[name]) != content['arrays'][name]:
      return None, {}, f'{name} differs from what was saved'
  leaves = [jax.device_put(arrays[n], w.sharding) for n, w in wanted.items()]
  return jax.tree.unflatten(jax.tree.structure(like), leaves), content['meta'], ''


def _read_index(path: pathlib.Path) -> tuple[dict, str]:
  try:
    body = json.loads((path / _INDEX).read_bytes())
    content, digest = body['content'], body['digest']
  except FileNotFoundError:
    return {}, f'{_INDEX} is missing'
  except (ValueError, LookupError, TypeError):  # ValueError: not JSON, not UTF-8
    return {}, f'{_INDEX} cannot be read'
  if _digest(_canonical(content)) != digest:
    return {}, f'{_INDEX} differs from what was saved'
  if content['step'] != int(path.name):
    return {}, f'it holds step {content["step"]}'
  if content['format'] != _FORMAT:
    raise BadInput(f'{path} has format {content["format"]}; this version reads {_FORMAT}')
  return content, ''


def _damaged_file(path: pathlib.Path, files: dict) -> str:
  for name, (size, digest) in files.items():
    file = path / name
    if not file.is_file():
      return f'{name} is missing'
    if file.stat().st_size != size:
      return f'{name} has {file.stat().st_size} bytes of {size}'
    if _digest(file.read_bytes()) != digest:
      return f'{name} differs from what was saved'
  return ''


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
  """Tensorstore hides the operating system's error in the text of a ValueError."""
  found = re.search(r"os_error_code='(\d+)'", str(error))
  return error.errno if isinstance(error, OSError) else int(found[1]) if found else None


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
  """Renamed first: a step that a killed process half deleted must not look like a step."""
  path, hidden = directory / str(step), directory / f'{_HIDDEN}old-{step}'
  if path.is_dir():
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)

