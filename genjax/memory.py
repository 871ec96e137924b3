"""The memory that a compiled program needs and a device has; refusals before it is allocated.

A program is refused only if its arguments, temporaries and results together exceed the memory of a
device. A refused program could not have run; one that is not refused may still fail next to other
programs.
"""

import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from genjax.types import BadInput

GIB = 2**30
# default remedies: settings that reduce the memory of a program
LESS = ('a smaller batch_size, accumulate, networks.ROLE.kw.remat=True where a network takes '
        'it, evals.kw.NAME.batch_size in evaluation, fewer samples or a smaller chunk of them')
CGROUP = pathlib.Path('/sys/fs/cgroup')
# (limit, usage, what the kernel would give back), of the second and the first version of cgroups
CGROUP_FILES = (('memory.max', 'memory.current', 'inactive_file'),
                ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'))


class Memory(NamedTuple):
  """Bytes of one device."""

  arguments: int  # of a train step the state and the batch
  temporaries: int
  code: int
  peak_memory: int  # the largest sum of arguments, temporaries and results at any moment
  results: int  # without those that reuse the memory of arguments

  @property
  def total(self) -> int:
    """What is allocated at once on a device without a compiler that overlaps it."""
    return self.arguments + self.temporaries + self.results


def of(program) -> Memory:
  """The memory that the compiler reserved on each device."""
  analysis = program.memory_analysis()
  return Memory(analysis.argument_size_in_bytes, analysis.temp_size_in_bytes,
                analysis.generated_code_size_in_bytes, analysis.peak_memory_in_bytes,
                analysis.output_size_in_bytes - analysis.alias_size_in_bytes)


def available(device) -> int | None:
  """Bytes that programs of this process can use on a device; None if unknown.

  For a CPU: the free memory of the machine and its control group, and that of this process.
  """
  if device.platform == 'cpu':
    return _of_host()
  stats = device.memory_stats()
  return stats.get('bytes_limit') if stats else None


def check(program, what: str, remedies: Callable[[Memory, int], str] | None = None):
  """The program itself, if its devices can hold it. Raises BadInput with remedies.

  what: the program in words. remedies(needed by a device, what a device has) -> words.
  """
  devices = program.runtime_executable().local_devices()
  if devices[0].platform == 'tpu':  # whose compiler refuses by itself, and knows better
    return program
  has = available(devices[0])
  if has is None:
    return program
  if devices[0].platform == 'cpu':  # all of them are one memory
    has //= len(devices)
  need = of(program)
  if need.total > has:
    raise BadInput(f'{what} needs {need.total / GIB:.1f} GiB of memory '
                   f'({need.temporaries / GIB:.1f} for temporaries), and '
                   f'{_words(devices)} {has / GIB:.1f} GiB; allowed: '
                   f'{remedies(need, has) if remedies else LESS}')
  return program


def is_short(error: BaseException) -> bool:
  """Whether a compiler's or a runtime's error says that memory ran out."""
  return any(words in str(error) for words in (
      'RESOURCE_EXHAUSTED', 'Ran out of memory', 'Out of memory', 'out of memory'))


def first_line(error: BaseException) -> str:
  return next(iter(str(error).strip().splitlines()), '')


def _words(devices) -> str:
  if devices[0].platform == 'cpu':
    return 'this machine has' if len(devices) == 1 else 'each device of this machine has'
  return f'a {devices[0].device_kind} has'


def _of_host() -> int:
  import psutil  # only programs that compile pay for it

  own = psutil.Process().memory_info().rss
  left = [psutil.virtual_memory().available, *_of_groups(CGROUP, _group())]
  return own + min(left)


def _group() -> str:
  """The path of this process's control group; '' where there is none."""
  try:
    lines = pathlib.Path('/proc/self/cgroup').read_text().splitlines()
  except OSError:
    return ''
  paths = {controllers: path for _, controllers, path in (line.split(':', 2) for line in lines)}
  of_memory = [path for controllers, path in paths.items() if 'memory' in controllers.split(',')]
  return (of_memory or [paths.get('', '')])[0]


def _of_groups(root: pathlib.Path, group: str) -> list[int]:
  """Bytes left in the control group and in each above it that has a limit."""
  left = []
  for top in (root, root / 'memory'):
    place = top / group.lstrip('/')
    for folder in (place, *place.parents):
      for names in CGROUP_FILES:
        left += _of_group(folder, *names)
      if folder == top:
        break
  return left


def _of_group(folder: pathlib.Path, limit: str, usage: str, reclaimable: str) -> list[int]:
  try:
    most, used = ((folder / name).read_text().strip() for name in (limit, usage))
    stats = dict(line.split() for line in (folder / 'memory.stat').read_text().splitlines())
  except OSError:
    return []
  if most == 'max' or int(most) >= os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'):
    return []
  return [max(int(most) - int(used) + int(stats.get(reclaimable, 0)), 0)]
