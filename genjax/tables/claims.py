"""Who fills a cell: two runs of a table, or of tables that share a training, share the work."""

import contextlib
import fcntl
import os
import pathlib

from genjax.tables.cells import Cell

FOLDER = '.claims'  # next to the run directories


def take(cell: Cell, trains: bool) -> list[int] | None:
  """The open files that hold the claim, or None while another process has it.

  trains: the command trains the run, which is then claimed too. A claim is a lock on an open file:
  it ends with the last process that has the file open, whatever ended it. So the command must
  inherit the files, for a table that is killed leaves a command behind that still has the claim.
  Where files cannot be locked every claim is granted: [].
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
  """None; gives a claim up, in this process."""
  for file in held:
    with contextlib.suppress(OSError):
      os.close(file)
