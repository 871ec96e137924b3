"""Compiles every shipped pod config for TPU pods that are not there, and prints what fits.

python -m benchmarks.pods --out=runs/pods [--only=imagenet256] [--note=benchmarks/DATE-pods.md]

A cell is a config with a batch size on a topology at a level of the compiler, made by
experiments.compile in a process of its own (requirements-tpu.txt), one after the other, and kept in
--out by the hash of its config: it is not made again. --level=O0 leaves out the cells at full
level, --level=full the others, and --print makes none.
"""

import datetime
import hashlib
import json
import pathlib
import subprocess
import sys
from typing import NamedTuple

from absl import flags

import experiments
from benchmarks import report
from genjax import configs, disk
from genjax.identity import canonical
from genjax.pod import topology
from genjax.runs import rundir
from genjax.tables.cells import slug
from genjax.types import BadInput

OUT = flags.DEFINE_string('out', None, 'Directory of the cells.')
LEVEL = flags.DEFINE_enum('level', 'both', ['both', 'O0', 'full'], 'Which cells.')
ONLY = flags.DEFINE_list('only', None, 'Configs; none: all.')
CHIPS = flags.DEFINE_list('chips', None, 'Sizes of pods: 16, 256, 1024; none: all.')
PRINT = flags.DEFINE_bool('print', False, 'Print the table of the cells that are there.')
NOTE = flags.DEFINE_string('note', None, 'Markdown file for the table.')

CONFIGS = {
    'cifar10 unet': 'configs/cifar10.py:denoiser=unet',
    'cifar10 dit': 'configs/cifar10.py:denoiser=dit',
    'imagenet32': 'configs/imagenet32.py',
    'imagenet64': 'configs/imagenet64.py',
    'imagenet256': 'configs/imagenet256.py',
}
# by chips: (topology, slices) of each generation
PODS = {
    16: (('v4:2x2x4', 1), ('v5e:4x4', 1), ('v5p:2x2x4', 1), ('v6e:4x4', 1)),
    256: (('v4:4x8x8', 1), ('v5e:16x16', 1), ('v5p:4x8x8', 1), ('v6e:16x16', 1)),
    1024: (('v4:8x8x16', 1), ('v5e:16x16', 4), ('v5p:8x8x16', 1), ('v6e:16x16', 4)),
}
# a pod of so many chips gets at least so many examples a step: of fewer than one a chip it can
# make no use, and a few fill it better
LEAST_BATCH = {16: 0, 256: 2048, 1024: 2048}
FULL = {'cifar10 unet': ('v5e:4x4', 1), 'cifar10 dit': ('v5e:4x4', 1),
        'imagenet32': ('v5e:16x16', 1), 'imagenet64': ('v5e:16x16', 1),
        'imagenet256': ('v5e:16x16', 1)}
SECONDS = 3600  # a cell that takes longer is given up
GIB, MIB = 2**30, 2**20
COLUMNS = ['config', 'topology', 'chips', 'batch', 'level', 'GiB of a device', 'fits',
           'examples a chip', 'model FLOPs a step', 'collectives a step, MiB', 'least s a step',
           'bound by', 'least $ a job', 'compile s']
METHOD = """The train step of each config, compiled by libtpu for the named slice on a machine
without TPU (experiments.compile): nothing was run. GiB of a device: the compiler's peak and the
code, of what it gives to a program. Level full is what training compiles; O0 compiles faster, and
its memory is some per cent off (below). A batch "scaled" is not the config's own, of which there
would be no example for every chip, or too few. Collectives: the bytes of their results on a device.
Seconds and dollars are no measurement: they are the least that the roofline allows, the slowest of
products, memory and links at the chips' published speeds, {rates} a chip-hour (assumed), over the
config's own number of steps."""


class Cell(NamedTuple):
  """One compilation."""

  name: str  # of the config
  chips: int
  topology: str
  num_slices: int
  level: str
  batch: int
  own_batch: int
  key: str  # of its file

  def command(self, path) -> list[str]:
    return [sys.executable, '-m', 'experiments.compile', f'--config={CONFIGS[self.name]}',
            f'--config.batch_size={self.batch}', f'--topology={self.topology}',
            f'--num_slices={self.num_slices}', f'--level={self.level}', f'--json={path}']


def main(argv):
  if argv[1:] or not OUT.value:
    raise BadInput('allowed: --out=DIR and flags, no other argument')
  found, failed = {}, []
  for cell in cells():
    path = pathlib.Path(OUT.value) / f'{cell.key}.json'
    if not path.exists() and not PRINT.value:
      failed += make(cell, path)
    if path.exists():
      found[cell] = json.loads(path.read_text())
      print(report.table(COLUMNS, [row(cell, found[cell])]).splitlines()[-1], flush=True)
  text = note(found, failed)
  if NOTE.value:
    disk.write_bytes(NOTE.value, text.encode())
  print(text)
  return 1 if failed else 0


def cells() -> list[Cell]:
  """What the flags ask for, in the order of the table. Raises BadInput."""
  names, chips = ONLY.value or list(CONFIGS), [int(n) for n in CHIPS.value or PODS]
  for flag, given, allowed in (('only', names, CONFIGS), ('chips', chips, PODS)):
    for value in given:
      if value not in allowed:
        raise BadInput(f'--{flag}={value}; allowed: {", ".join(map(str, allowed))}')
  wanted = []
  for name in names:
    config = configs.load(CONFIGS[name])
    for size in chips:
      for pod in PODS[size]:
        levels = ['O0'] if pod != FULL[name] else ['O0', 'full']
        wanted += [cell(name, config, size, pod, level) for level in levels
                   if LEVEL.value in ('both', level)]
  return wanted


def cell(name: str, config, chips: int, pod: tuple[str, int], level: str) -> Cell:
  """The cell; its key holds the hash of the whole config with the batch size that it gets."""
  own, config = config.batch_size, config.copy_and_resolve_references()
  config.batch_size = max(own, LEAST_BATCH[chips])
  digest = hashlib.sha256(canonical(config.to_dict()).encode()).hexdigest()[:8]
  key = slug(f'{name} {pod[0]} {pod[1]} {level} {digest}')
  return Cell(name, chips, *pod, level, config.batch_size, own, key)


def make(cell: Cell, path: pathlib.Path) -> list[str]:
  """Compiles a cell; what does not fit is a result. Returns why there is none, if there is none."""
  where = f'{cell.name} on {topology.named(cell.topology, cell.num_slices)} at {cell.level}'
  try:
    done = subprocess.run(cell.command(path), capture_output=True, text=True, timeout=SECONDS)
  except subprocess.TimeoutExpired:
    return [f'{where}: not compiled within {SECONDS} s']
  if path.exists():
    return []
  return [f'{where}: {(done.stderr.strip() or "no message").splitlines()[-1]}']


def row(cell: Cell, made: dict) -> dict:
  """What a cell shows in the columns."""
  k = made['steps_per_dispatch']
  scaled = '' if cell.batch == cell.own_batch else f' (scaled from {cell.own_batch})'
  shown = {'config': cell.name, 'topology': made['where'], 'chips': made['chips'],
           'batch': f'{cell.batch}{scaled}', 'level': made['level'],
           'model FLOPs a step': f'{made["model_flops"]:.4g}',
           'examples a chip': f'{made["examples_of_a_device"]:g}',
           'compile s': f'{made["compile_seconds"]:.0f}'}
  if not made['fits']:
    fitting = [' '.join(f'{k}={v}' for k, v in r['settings'].items())
               for r in made.get('remedies', ())]
    needed = made['needed_gib'] and f'{made["needed_gib"]:.2f}'
    return {**shown, 'GiB of a device': f'{needed or "more than"} of {made["limit_gib"]}',
            'fits': f'no; with {" or ".join(fitting) or "nothing that was tried"}'}
  used = (made['peak_memory'] + made['code']) / GIB
  moved = sum(c['bytes'] for c in made['collectives'].values()) / k / MIB
  return {**shown, 'GiB of a device': f'{used:.2f} of {made["limit_gib"]}', 'fits': 'yes',
          'collectives a step, MiB': f'{moved:,.0f}', 'bound by': made['bound'],
          'least s a step': f'{made["step_seconds"]:.3g}',
          'least $ a job': f'{made["dollars"]:,.0f}'}


def note(found: dict, failed: list[str]) -> str:
  """The Markdown note: what was compiled by which versions, the table, and what is missing."""
  if not found:
    return '\n'.join(['no cell was made', *failed])
  commits = sorted({str(made['commit']) for made in found.values()})
  versions = sorted({made['versions'] for made in found.values()})
  rates = {cell.topology.partition(':')[0]: made['rate'] for cell, made in found.items()}
  method = METHOD.format(
      rates=', '.join(f'${rate:.2f} ({name})' for name, rate in sorted(rates.items())))
  refused = [
      f'* {name}: its own batch of {own} cannot be shared by {chips} chips: scaled, or refused'
      for name, own, chips in sorted({(c.name, c.own_batch, c.chips) for c in found})
      if own % chips]
  gib = {cell[:4]: {} for cell in found}
  for cell, made in found.items():
    if made['fits']:
      gib[cell[:4]][cell.level] = made['peak_memory'] + made['code']
  compared = [f'* {where[0]} on {where[2]}: memory at O0 is {of["O0"] / of["full"]:.3f} of that '
              'at full' for where, of in gib.items() if len(of) == 2]
  return '\n'.join([
      f'# Pods that were compiled for, {datetime.date.today().isoformat()}', '',
      f'* commit of this table: {rundir.commit() or "none"}; of its cells: {", ".join(commits)}',
      f'* machine: {report.machine()}', f'* versions: {"; ".join(versions)}', '', method, '',
      report.table(COLUMNS, [row(cell, made) for cell, made in found.items()]), '', *compared,
      *refused, *(f'* missing: {reason}' for reason in failed), ''])


if __name__ == '__main__':
  experiments.run(main)
