"""Identities of processes on this machine and others, and which are known to have ended."""

import contextlib
import functools
import hashlib
import os
import pathlib
import socket
from typing import NamedTuple


class Process(NamedTuple):
  """The identity of a process, whose number alone is used again after its end."""

  host: str
  table: str  # names the machine's start and the container, within which the number is unique
  pid: int
  started: int | None  # clock ticks from the machine's start; None: not known


def this() -> Process:
  """The calling process."""
  pid = os.getpid()
  return Process(socket.gethostname(), table(), pid, _state(pid)[1])


@functools.cache
def table() -> str:
  """12 hex digits, equal for two processes if a process number means the same to both."""
  parts = [socket.gethostname()]
  with contextlib.suppress(OSError):  # none outside Linux
    parts.append(pathlib.Path('/proc/sys/kernel/random/boot_id').read_text())
    parts.append(os.readlink('/proc/self/ns/pid'))
  return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]


def has_ended(process: Process) -> bool:
  """Whether the process is known to have ended; False for one that this process cannot see."""
  if process.table != table():
    return False
  try:
    os.kill(process.pid, 0)
  except ProcessLookupError:
    return True
  except (PermissionError, OverflowError):  # another user's process; a number out of range
    pass
  state, started = _state(process.pid)
  return state in ('Z', 'X') or None not in (started, process.started) and (
      started != process.started)


def _state(pid: int) -> tuple[str, int | None]:
  """The letter of its state and its start in ticks, by proc(5); '' and None where unknown."""
  try:
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return '', None
  fields = text.rpartition(')')[2].split()  # the name before it may hold anything
  return fields[0], int(fields[19])
