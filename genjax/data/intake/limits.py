"""Checks before a file is read: that it is a regular file, and that there is memory for it."""

import os
import pathlib
import resource
import stat

from genjax.types import BadInput

COPIES = 3  # of an array in memory at once: as read, as converted, and the part of a split
CGROUP = pathlib.Path('/sys/fs/cgroup')
KINDS = {stat.S_ISDIR: 'a folder', stat.S_ISFIFO: 'a FIFO', stat.S_ISSOCK: 'a socket',
         stat.S_ISCHR: 'a device', stat.S_ISBLK: 'a device'}
UNITS = ('bytes', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')


def regular_file(path: str | os.PathLike) -> int:
  """The size of a regular file in bytes. Raises BadInput for anything else, before it is opened.

  Opening a FIFO would wait for a writer, and a device may never end.
  """
  try:
    status = os.stat(path)
  except (OSError, ValueError) as error:  # ValueError: a null byte in the path
    raise BadInput(f'cannot read {path}: {getattr(error, "strerror", None) or error}') from None
  if not stat.S_ISREG(status.st_mode):
    kind = next((word for test, word in KINDS.items() if test(status.st_mode)), 'no regular file')
    raise BadInput(f'cannot read {path}: it is {kind}; allowed: a regular file')
  return status.st_size


def room_for(nbytes: int, path: str | os.PathLike, what: str = 'it') -> None:
  """Raises BadInput if COPIES times nbytes exceeds the free memory; path and what name the data."""
  free = available_memory()
  if nbytes * COPIES > free:
    raise BadInput(f'{path}: {what} would take {size_in_words(nbytes)}, of which {COPIES} copies '
                   f'are needed, and {size_in_words(free)} of memory are free; allowed: less, or a '
                   'machine with more')


def available_memory() -> int:
  """Bytes that this process may still allocate, by the machine, its cgroup and its own limit."""
  bounds = [_machine(), _cgroup(), _address_space()]
  return min(bound for bound in bounds if bound is not None)


def size_in_words(nbytes: int) -> str:
  """A number of bytes in words, such as '6.4 GB'."""
  value = float(nbytes)
  for unit in UNITS:
    if value < 1000 or unit == UNITS[-1]:
      return f'{value:.3g} {unit}'
    value /= 1000
  return ''


def _machine() -> int:
  for line in _lines(pathlib.Path('/proc/meminfo')):
    if line.startswith('MemAvailable:'):
      return int(line.split()[1]) * 1024
  return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def _cgroup() -> int | None:
  """Bytes that the container leaves; cached files count as free, as the kernel evicts them."""
  limit, used = (_lines(CGROUP / name) for name in ('memory.max', 'memory.current'))
  if not limit or not used or not limit[0].isdigit():
    return None
  cached = [int(line.split()[1]) for line in _lines(CGROUP / 'memory.stat')
            if line.startswith('inactive_file ')]
  return max(0, int(limit[0]) - int(used[0]) + sum(cached))


def _address_space() -> int | None:
  soft = resource.getrlimit(resource.RLIMIT_AS)[0]
  if soft == resource.RLIM_INFINITY:
    return None
  taken = _lines(pathlib.Path('/proc/self/statm'))
  used = int(taken[0].split()[0]) * os.sysconf('SC_PAGE_SIZE') if taken else 0
  return max(0, soft - used)


def _lines(path: pathlib.Path) -> list[str]:
  try:
    return path.read_text().splitlines()
  except OSError:
    return []
