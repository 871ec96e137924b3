"""Claims on cells: processes that fill tables with common trainings share the work by these."""

import contextlib
import fcntl
import os
import pathlib

from genjax.tables.cells import Cell

FOLDER = '.claims'  # next to the run directories


def take(cell: Cell, trains: bool) -> list[int] | None:
  """The open files that hold the claim, or None while another process has it.

  trains: the command trains the run, so the run is claimed too. A claim is a lock on an open file,
  which ends with the last process that has the file open. The command must inherit the files, since
  it may outlive the killed process of its table. If files cannot be locked, every claim is granted
  as [].
  """
  workdir = pathlib.Path(cell.workdir)
  names = [f'{workdir.name}-{cell.config_hash}', *([workdir.name] if trains else [])]
  held = []
  try:
    (workdir.parent / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in names:
      flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
      held.append(os.open(workdir.parent / FOLDER / name, flags, 0o644))
      fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    release(held)
    return None
  except OSError:  # read-only, or a file system without locks
    release(held)
    return []
  return held


def release(held: list[int]) -> None:
  """Releases a claim of this process."""
  for file in held:
    with contextlib.suppress(OSError):
      os.close(file)
