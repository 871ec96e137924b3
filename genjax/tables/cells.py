"""The cells of a table: a config, its overrides and a seed, and the names derived from these."""

import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from genjax import extension
from genjax.identity import config_hash, run_hash


class Row(NamedTuple):
  """A row of a table: one config with several seeds, and the figures that papers published."""

  label: str
  config: str  # 'configs/FILE.py:ARGUMENT'
  overrides: dict = {}  # dotted key -> value
  # metric -> {'value', 'source', 'protocol', 'kind'?}; kind: 'closed form' if no paper printed it
  published: dict = {}
  note: str = ''
  curve: str = ''  # the line in the table's figure that has the row as a point


class Cell(NamedTuple):
  """One measurement of one run that a row asks for; cells of the same training share its run."""

  label: str  # of its row
  seed: int
  steps: int
  config_hash: str  # of training and evaluation: the measurement must have it
  run_hash: str  # of the training alone: the run directory must have it
  workdir: str
  train: str  # shell line that trains the run and measures it for this cell
  measure: str  # shell line that measures a trained run
  origin: str = ''  # the run directory that its training starts from


def cell(row: Row, seed: int, config: Mapping, root: str) -> Cell:
  """The cell of a row and a seed.

  config: the row's, resolved, as a plain dict with that seed. root: folder of the run directories,
  which are named by what is trained, so that rows and tables can share them.
  """
  trained = run_hash(config)
  named = (config['data']['name'], config['model']['family'], config['objective']['name'])
  workdir = f'{root}/{slug("-".join(map(extension.stem, named)))}-s{seed}-{trained}'
  return Cell(row.label, seed, config['steps'], config_hash(config), trained, workdir,
              command('train', row, seed, workdir), command('evaluate', row, seed, workdir),
              config.get('init_from', ''))


def command(program: str, row: Row, seed: int, workdir: str) -> str:
  """The shell line for a cell; program: the verb, train or evaluate."""
  overrides = {**row.overrides, 'seed': seed}
  return shlex.join([
      'python', '-m', 'genjax', program, f'--config={row.config}',
      *(f'--config.{key}={value}' for key, value in overrides.items()), f'--workdir={workdir}'])


def slug(label: str) -> str:
  """A label as part of a file name: lower case letters, digits and single dashes."""
  return re.sub(r'[^a-z0-9]+', '-', label.lower()).strip('-')
