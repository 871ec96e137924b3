"""What a cell of a table is: a config, its overrides and a seed, and the names that follow."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

# neither changes what is trained; `evals` and `encoder` change what is measured, not the training
UNSEEN = ('log', 'checkpoint', 'mesh')
MEASURED = ('evals', 'encoder')


class Row(NamedTuple):
  """A row of a table: one config under several seeds, and what a paper printed for it."""

  label: str
  config: str  # 'configs/FILE.py:ARGUMENT'
  overrides: dict = {}  # dotted key -> value
  published: dict = {}  # metric -> {'value', 'source', 'protocol'}
  note: str = ''


class Cell(NamedTuple):
  """One run that a row asks for."""

  label: str  # of its row
  seed: int
  steps: int
  config_hash: str  # what eval.json must carry: training and evaluation
  workdir: str
  command: str


def canonical(config: Mapping, without: tuple[str, ...] = ()) -> str:
  """A config as JSON with sorted keys; tuples and lists are one."""
  return json.dumps({k: v for k, v in config.items() if k not in without}, sort_keys=True,
                    default=list)


def config_hash(config: Mapping) -> str:
  """16 hex digits of what a run trains and measures: all but log, checkpoint and mesh."""
  return _digest(canonical(config, UNSEEN))


def run_hash(config: Mapping) -> str:
  """8 hex digits of what a run trains, for the name of its directory."""
  return _digest(canonical(config, UNSEEN + MEASURED))[:8]


def cell(row: Row, seed: int, config: Mapping, root: str) -> Cell:
  """The cell of a row and a seed. config: the row's, resolved, as a plain dict with that seed."""
  workdir = f'{root}/{slug(row.label)}-s{seed}-{run_hash(config)}'
  return Cell(row.label, seed, config['steps'], config_hash(config), workdir,
              command(row, seed, workdir))


def command(row: Row, seed: int, workdir: str) -> str:
  """The shell line that makes a cell."""
  overrides = {**row.overrides, 'seed': seed}
  return shlex.join([
      'python', '-m', 'experiments.train', f'--config={row.config}',
      *(f'--config.{key}={value}' for key, value in overrides.items()), f'--workdir={workdir}'])


def slug(label: str) -> str:
  """A label as part of a file name: lower case letters, digits and single dashes."""
  return re.sub(r'[^a-z0-9]+', '-', label.lower()).strip('-')


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:16]
