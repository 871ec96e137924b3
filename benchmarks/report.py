"""What the programs print: rows as Markdown, with the method, the machine and the versions."""

import datetime
import importlib.metadata
import os
import pathlib
import platform

from benchmarks.rounds import Summary
from genjax.runs import rundir

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'scipy', 'torch', 'zuko', 'diffusers',
            'prdc')
METHOD = """One process per side, warmed up; blocks of about {block} s in turn, the order rotated; a
ratio is formed inside a round; rounds in which other processes used more than {limit} of a core are
discarded. Figures are median [least, greatest] over the rounds. PyTorch: eager, fused Adam, the
same architecture, batch and optimizer, written by hand; zuko: the same couplings by that library;
diffusers: its UNet at our sizes, in its own pipeline.
Every process allocates in large pages (glibc.malloc.hugetlb), as our programs do for themselves.
A ratio above 1: ours is faster. {modes}"""
MODES = {
    'wall': 'Rows "wall": two threads, by the clock; the ratio of CPU seconds stands beside.',
    'cpu': 'Rows "1 thread": one thread on both sides, and CPU seconds of the process compared, '
           'because other work left no clean rounds; not comparable with two threads.'}


def show(s: Summary | None, digits: int = 2, scale: float = 1.0) -> str:
  """median [low, high]; a dash for None."""
  if s is None:
    return '-'
  median, low, high = (f'{scale * value:.{digits}f}' for value in s)
  return f'{median} [{low}, {high}]'


def table(columns: list[str], rows: list[dict]) -> str:
  """A Markdown table; a row has what it has of the columns."""
  lines = [columns, ['---'] * len(columns), *([r.get(c, '') for c in columns] for r in rows)]
  return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def machine() -> str:
  """Processor, cores that we may use, memory, system."""
  lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  fields = dict(line.split(':', 1) for line in lines if ':' in line)
  names = {key.strip(): value.strip() for key, value in fields.items()}
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
  return (f'{names.get("model name", platform.processor())}, {len(os.sched_getaffinity(0))} cores, '
          f'{memory:.0f} GiB, {platform.system()} {platform.release()}')


def versions() -> str:
  """Python and the packages that are installed."""
  found = [f'Python {platform.python_version()}']
  for name in PACKAGES:
    try:
      found.append(f'{name} {importlib.metadata.version(name)}')
    except importlib.metadata.PackageNotFoundError:
      found.append(f'{name} not installed')
  return ', '.join(found)


def head(suites, block: float, limit: float, modes) -> str:
  """Title, conditions and method."""
  method = METHOD.format(block=block, limit=limit, modes=' '.join(MODES[m] for m in sorted(modes)))
  return '\n'.join([
      f'# Benchmarks of {datetime.date.today().isoformat()}: {", ".join(suites)}', '',
      f'* commit: {rundir.commit() or "none"}', f'* machine: {machine()}',
      f'* versions: {versions()}', '', method, ''])
