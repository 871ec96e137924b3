"""Atomic writes: a file holds all of its new content or its old, whatever ends the writer."""

import contextlib
import errno
import functools
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Mapping

from genjax.disk import processes

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_count = itertools.count()


def write_bytes(path: str | os.PathLike, content: bytes, sync: bool = True) -> None:
  """Writes a file, which holds its old content or all of `content`, even after a crash.

  sync: False gives no guarantee after a crash of the machine, for sealed and replaceable files.
  """
  _replace({path: functools.partial(_write, content)}, sync)


def write_together(contents: Mapping[str | os.PathLike, bytes]) -> None:
  """Writes files, each of which holds its old content or all of its new.

  No file is replaced before all contents are on the disk, so that a full disk changes none.
  """
  _replace({path: functools.partial(_write, content) for path, content in contents.items()})


def write_file(path: str | os.PathLike, write: Callable) -> None:
  """Writes a file like `write_bytes`, with what write(file) writes to a binary file."""
  _replace({path: write})


def _write(content: bytes, file) -> None:
  file.write(content)


def _replace(writers: Mapping[str | os.PathLike, Callable], sync: bool = True) -> None:
  """Replaces each path by the file that its writer(file) writes; all of them or none."""
  hidden = {}
  try:
    for path, write in writers.items():
      with _failing_as(path):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        hidden[path] = _hidden(path)
        with open(os.open(hidden[path], _NEW, 0o666), 'wb') as file:
          write(file)
          file.flush()
          if sync:
            os.fsync(file.fileno())
    for path, written in hidden.items():
      with _failing_as(path):
        written.replace(path)
  finally:
    for written in hidden.values():
      with contextlib.suppress(OSError):
        written.unlink()  # there only if something failed


@contextlib.contextmanager
def _failing_as(path: str | os.PathLike):
  """Makes an OSError of the block say which path cannot be written."""
  try:
    yield
  except OSError as error:
    raise OSError(error.errno, f'cannot write ({error.strerror})', str(path)) from error


def check_writable(path: str | os.PathLike) -> None:
  """Tries whether a file at `path` can be created or replaced, and leaves nothing behind.

  Raises OSError with the path. For the start of a program that will write it after long work.
  """
  with _failing_as(path):
    path = pathlib.Path(path).absolute()
    if path.is_dir():
      raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    folder = next(parent for parent in path.parents if parent.exists())
    hidden = _hidden(folder / path.name)
    os.close(os.open(hidden, _NEW, 0o666))
    hidden.unlink()


def _hidden(path: pathlib.Path) -> pathlib.Path:
  """A new name next to the path, which names the process that writes it."""
  return path.with_name(f'.{path.name}.{os.getpid()}-{processes.table()}-{next(_count)}')


def _remove_abandoned(path: pathlib.Path) -> None:
  """Removes incomplete files that ended processes left when they wrote this path."""
  pattern = re.compile(re.escape(f'.{path.name}.') + r'(\d+)(?:-([0-9a-f]{12})-\d+)?')
  for entry in os.scandir(path.parent):
    match = pattern.fullmatch(entry.name)
    if match and processes.has_ended(processes.Process(
        '', match[2] or processes.table(), int(match[1]), None)):
      with contextlib.suppress(OSError):
        os.unlink(entry.path)
