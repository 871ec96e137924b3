"""A table config as rows, cells and columns.

It is a file with `sizes`, {name: {'seeds': count}}; sweep(add, size), which calls
add(label, config, overrides, published, note, curve) for each row; metrics(), its columns; and
note(), a text. A table with curves has figure() (`genjax.tables.figure.check`), one that claims
differences between rows contrasts() (`genjax.tables.contrast.check`). A sweep with a third
parameter gets the ARGUMENT of --table=FILE.py:ARGUMENT.
"""

import hashlib
import inspect
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from genjax import configs
from genjax.tables import collect, contrast, figure
from genjax.tables.cells import Cell, Row, cell, slug
from genjax.types import BadInput

PARTS = ('sizes', 'sweep', 'metrics', 'note')
LIKELIHOODS = {f'nll_{unit}': tuple(f'nll_{kind}_{unit}' for kind in ('exact', 'bound', 'estimate'))
               for unit in ('bpd', 'nats')}


class Table(NamedTuple):
  """A table config of one size, with its cells resolved."""

  name: str
  path: str
  size: str
  rows: tuple[Row, ...]
  cells: tuple[Cell, ...]
  columns: tuple[dict, ...]
  note: str
  out: str
  figure: dict | None = None  # labels of the columns 'x' and 'y' of its curves, and their scales
  configs: Mapping = {}  # row -> the config of its first seed
  contrasts: tuple[dict, ...] = ()  # differences between rows (`genjax.tables.contrast`)


def module(path: str):
  """The table config at `path` as a module. Raises BadInput for a missing part."""
  loaded = configs.module(path.partition(':')[0], 'sweep')
  lacks = [name for name in PARTS if name not in vars(loaded)]
  if lacks:
    raise BadInput(f'{path} has no {", ".join(lacks)}; a table has sizes, sweep(add, size), '
                   'metrics() and note(), and may have figure() and contrasts()')
  for size, settings in loaded.sizes.items():
    if not isinstance(settings, Mapping) or not settings.get('seeds', 0) >= 1:
      raise BadInput(f"{path}: sizes[{size!r}] is {settings!r}; allowed: {{'seeds': 1 or more}}")
  return loaded


def read(path: str, size: str | None, out: str | None = None, metrics=None,
         runs: str | None = None, only: str | None = None) -> Table:
  """The Table of a table config.

  path: FILE.py or FILE.py:ARGUMENT; size: a key of its `sizes`, None: the first.
  out, runs: folders of the table and of the runs; None: the defaults of experiments.table.
  metrics: columns instead of the table's; only: a regular expression for the labels of rows.
  Raises BadInput for a part that it lacks, and for a table that could never be collected.
  """
  loaded = module(path)
  size = size or next(iter(loaded.sizes))
  if size not in loaded.sizes:
    raise BadInput(f'{path} has no size {size!r}; allowed: {", ".join(loaded.sizes)}')
  file, _, argument = path.partition(':')
  rows = _rows(loaded, path, size, argument)
  name = _name(file, argument)
  runs = runs or (f'{out}/cells' if out else 'runs/cells')
  out = out or f'runs/tables/{name}/{size}{"-some" if only else ""}'
  columns = tuple(_columns(loaded.metrics(), metrics) if metrics else loaded.metrics())
  collect.check_columns(columns)
  collect.check_published(rows, columns)
  curves = loaded.figure() if 'figure' in vars(loaded) and not metrics else None
  if curves is not None:
    figure.check(curves, rows, columns, path)
  contrasts = loaded.contrasts() if 'contrasts' in vars(loaded) and not metrics else ()
  contrast.check(contrasts, rows, columns)
  cells, resolved = [], {}
  for row in rows:
    for seed in range(loaded.sizes[size]['seeds']):
      cell, config = _cell(row, seed, runs, cells, path)
      cells.append(cell)
      resolved.setdefault(row.label, config)
  kept = _having(rows, only, path)
  rows = [row for row in rows if row.label in kept]
  cells = [cell for cell in cells if cell.label in kept]  # only now: cells start from other cells
  return Table(name, path, size, tuple(rows), tuple(cells), columns, loaded.note(), out, curves,
               {label: config for label, config in resolved.items() if label in kept},
               tuple(each for each in contrasts if {each['row'], each['less']} <= set(kept)))


def takes_argument(loaded) -> bool:
  """Whether the sweep of a table config takes an argument."""
  return len(inspect.signature(loaded.sweep).parameters) > 2


def _name(file: str, argument: str) -> str:
  """The name of a table's results: its file, and enough of its argument to be unique."""
  if not argument:
    return pathlib.Path(file).stem
  digest = hashlib.sha256(argument.encode()).hexdigest()[:8]
  return f'{pathlib.Path(file).stem}-{slug(argument)[:48]}-{digest}'


def _rows(loaded, path: str, size: str, argument: str) -> list[Row]:
  if argument and not takes_argument(loaded):
    raise BadInput(f'{path}: {argument!r} follows the colon; allowed: no argument')
  rows = []

  def add(label, config, overrides=None, published=None, note='', curve=''):
    if label in {row.label for row in rows}:
      raise BadInput(f'{path}: two rows are named {label!r}')
    rows.append(Row(label, config, dict(overrides or {}), dict(published or {}), note, curve))

  try:
    loaded.sweep(add, size, *([argument] if takes_argument(loaded) else []))
  except BadInput:
    raise
  except ValueError as error:
    raise BadInput(f'{path}: {error}') from None
  return rows


def _having(rows: list[Row], only: str | None, path: str) -> set[str]:
  """The labels of the rows that match the expression, and of those whose runs these start from.

  Raises BadInput if no row matches.
  """
  try:
    kept = {row.label for row in rows if re.search(only or '', row.label)}
  except re.error as error:
    raise BadInput(f'--rows={only} is no regular expression: {error}') from error
  if not kept:
    labels = '; '.join(row.label for row in rows)
    raise BadInput(f'--rows={only}: no row of {path} matches; rows: {labels}')
  for row in reversed(rows):
    if row.label in kept and row.overrides.get('init_from', '').startswith('row '):
      kept.add(row.overrides['init_from'].removeprefix('row '))
  return kept


def _cell(row: Row, seed: int, root: str, earlier: list[Cell], path: str):
  """(cell of a row and a seed, its config).

  init_from='row LABEL' is the run of that earlier row and seed. evals.budget is off unless the row
  sets it, so that a column compares the same number of samples after trainings of any length.
  """
  row = row._replace(overrides={'evals.budget': 0.0, **row.overrides})
  start = row.overrides.get('init_from', '')
  if start.startswith('row '):
    runs = {cell.label: cell.workdir for cell in earlier if cell.seed == seed}
    if start[4:] not in runs:
      raise BadInput(f'{path}: row {row.label!r} starts from {start!r}; allowed: "row LABEL" of an '
                     f'earlier row: {", ".join(runs)}')
    row = row._replace(overrides={**row.overrides, 'init_from': runs[start[4:]]})
  try:
    config = configs.load(row.config)
    configs.override(config, {**row.overrides, 'seed': seed})
  except BadInput as error:
    raise BadInput(f'{path}: row {row.label!r}: {error}') from None
  return cell(row, seed, config.to_dict(), root), config


def _columns(known: list, asked: list[str]) -> list[dict]:
  """The table's columns for the requested metrics, and plain ones for other metrics."""
  columns = []
  for text in asked:
    metric = LIKELIHOODS.get(text) or tuple(text.split('+'))
    like = {'label': text, 'better': '', 'split': 'test', 'axes': (), 'floor': '', 'digits': 4,
            'source': 'metric', 'detail': '', 'reduction': 'mean', 'excess': False}
    given = [column for column in known if column['metric'] == metric]
    columns.append({**like, 'metric': metric, **(given[0] if given else {})})
  return columns
