"""Lists, runs and collects tables: a table is a config, its cells are run directories.

python -m experiments.table list
python -m experiments.table run --table=configs/tables/divergences_digits.py --size=tiny [--jobs=1]
python -m experiments.table collect --table=configs/tables/divergences_digits.py --size=tiny
python -m experiments.table run --table=configs/tables/own_data.py:path=photos,encoder=photos.npz

`run` fills the cells that are not finished, by the commands that `list --table=...` shows, and
collects; with --rows=REGEX some rows alone. A run that several cells share, since a sampler or an
evaluator is no part of training, is trained once and measured for each; so do tables that train the
same. Left in --out (default runs/tables/NAME/SIZE, of some rows SIZE-some): table.md, table.csv,
table.json, samples.png, curves.png (of a table with a figure), logs/. The runs are in --runs.
"""

import hashlib
import inspect
import pathlib
import re
import time
from typing import NamedTuple

from absl import flags
from tqdm import tqdm

import experiments
from experiments import config as configs
from genjax.tables import collect, figure, identity, picture, render, run
from genjax.tables.identity import Cell, Row
from genjax.types import BadInput

VERBS = ('list', 'run', 'collect')
TABLE = flags.DEFINE_string('table', None, 'A file of configs/tables: FILE.py[:ARGUMENT].')
SIZE = flags.DEFINE_string('size', None, 'One of the sizes of the table; none: its first.')
OUT = flags.DEFINE_string('out', None, 'Where it is left; none: runs/tables/NAME/SIZE, with --rows '
                          'SIZE-some.')
RUNS = flags.DEFINE_string('runs', None, 'Where the runs are; none: runs/cells, or OUT/cells '
                           'where --out is given. A finished run that is linked there by the name '
                           'that `list` shows is not trained again.')
JOBS = flags.DEFINE_integer('jobs', 1, 'How many cells run at a time.', lower_bound=1)
ROWS = flags.DEFINE_string('rows', None, 'A regular expression: only rows whose label has it, '
                           'and those whose runs they start from.')
COLUMNS = flags.DEFINE_list('columns', None, 'Columns by metric in place of the table\'s; '
                            '"a+b" is one column of whichever a row has.')
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
  figure: dict | None = None  # labels of the columns 'x' and 'y' of its curves


def main(argv):
  verbs = argv[1:]
  if len(verbs) != 1 or verbs[0] not in VERBS:
    raise BadInput(f'python -m experiments.table {" ".join(verbs)}: allowed: one of '
                   f'{", ".join(VERBS)}')
  if verbs[0] == 'list':
    return list_tables()
  if TABLE.value is None:
    raise BadInput(f'--table=FILE must be given; there are: {", ".join(configs.having("sweep"))}')
  table = read(TABLE.value, SIZE.value, OUT.value, COLUMNS.value, RUNS.value, ROWS.value)
  failures = run_missing(table, JOBS.value) if verbs[0] == 'run' else ()
  collect_to_files(table)
  for cell, code, tail in failures:
    print(f'\nfailed ({code}): {cell.command}\n{tail}')
  if failures:
    raise BadInput(f'{len(failures)} of {len(table.cells)} cells did not finish; logs in '
                   f'{table.out}/logs')
  return 0


def list_tables() -> None:
  """Prints every table with its sizes; with --table its cells, their status and their commands."""
  for path in [TABLE.value] if TABLE.value else configs.having('sweep'):
    if not TABLE.value and _takes_argument(configs.module(path, 'sweep')):
      print(f'{path}:ARGUMENT: list it with --table, which says what it needs')
      continue
    sizes = [SIZE.value] if SIZE.value else list(
        configs.module(path.partition(':')[0], 'sweep').sizes)
    for size in sizes:
      table = read(path, size, OUT.value, runs=RUNS.value, only=ROWS.value)
      states = run.states(table.cells)
      print(f'{path} --size={size}: {len(table.rows)} rows, {len(table.cells)} cells, '
            f'{len({cell.workdir for cell in table.cells})} runs, '
            f'{states.count("finished")} finished')
      for cell, state in zip(table.cells, states, strict=True) if TABLE.value else ():
        print(f'  {state:9s}{cell.label}, seed {cell.seed}\n           '
              f'{run.command(cell, state)}')


def read(path: str, size: str | None, out: str | None = None, metrics=None,
         runs: str | None = None, only: str | None = None) -> Table:
  """A table config as rows, cells and columns, of the rows whose label has the expression `only`.

  Raises BadInput for what it does not offer.
  """
  file, _, argument = path.partition(':')
  module = configs.module(file, 'sweep')
  size = size or next(iter(module.sizes))
  if size not in module.sizes:
    raise BadInput(f'{path} has no size {size!r}; allowed: {", ".join(module.sizes)}')
  rows = []

  def add(label, config, overrides=None, published=None, note='', curve=''):
    if label in {row.label for row in rows}:
      raise BadInput(f'{path}: two rows are named {label!r}')
    rows.append(Row(label, config, dict(overrides or {}), dict(published or {}), note, curve))

  _sweep(module, add, size, argument, path)
  name = _name(file, argument)
  runs = runs or (f'{out}/cells' if out else 'runs/cells')
  out = out or f'runs/tables/{name}/{size}{"-some" if only else ""}'
  cells = []
  for row in rows:
    for seed in range(module.sizes[size]['seeds']):
      cells.append(_cell(row, seed, runs, cells, path))
  columns = tuple(_columns(module.metrics(), metrics) if metrics else module.metrics())
  collect.check_columns(columns)
  kept = _having(rows, only, path)
  rows = [row for row in rows if row.label in kept]
  cells = [cell for cell in cells if cell.label in kept]  # after all are made: some start from some
  return Table(name, path, size, tuple(rows), tuple(cells), columns, module.note(), out,
               module.figure() if hasattr(module, 'figure') else None)


def _name(file: str, argument: str) -> str:
  """What a table's results are called: its file, and enough of its argument to tell two apart."""
  if not argument:
    return pathlib.Path(file).stem
  digest = hashlib.sha256(argument.encode()).hexdigest()[:8]
  return f'{pathlib.Path(file).stem}-{identity.slug(argument)[:48]}-{digest}'


def _takes_argument(module) -> bool:
  return len(inspect.signature(module.sweep).parameters) > 2


def _sweep(module, add, size: str, argument: str, path: str) -> None:
  """sweep(add, size) of a table's module, or sweep(add, size, ARGUMENT) of one that takes it."""
  if argument and not _takes_argument(module):
    raise BadInput(f'{path}: {argument!r} stands behind the colon; allowed: no argument')
  try:
    module.sweep(add, size, *([argument] if _takes_argument(module) else []))
  except BadInput:
    raise
  except ValueError as e:
    raise BadInput(f'{path}: {e}') from None


def _having(rows: list[Row], only: str | None, path: str) -> set[str]:
  """The labels of the rows that have the expression, and of those whose runs these start from.

  Raises BadInput where none has it.
  """
  try:
    kept = {row.label for row in rows if re.search(only or '', row.label)}
  except re.error as error:
    raise BadInput(f'--rows={only} is no regular expression: {error}') from error
  if not kept:
    labels = '; '.join(row.label for row in rows)
    raise BadInput(f'--rows={only}: no row of {path} has it; rows: {labels}')
  for row in reversed(rows):
    if row.label in kept and row.overrides.get('init_from', '').startswith('row '):
      kept.add(row.overrides['init_from'].removeprefix('row '))
  return kept


def _cell(row: Row, seed: int, root: str, earlier: list[Cell], path: str) -> Cell:
  """The cell of a row and a seed; init_from='row LABEL' is the run of that earlier row and seed."""
  start = row.overrides.get('init_from', '')
  if start.startswith('row '):
    found = {cell.label: cell.workdir for cell in earlier if cell.seed == seed}
    if start[4:] not in found:
      raise BadInput(f'{path}: row {row.label!r} starts from {start!r}; allowed: "row LABEL" of an '
                     f'earlier row: {", ".join(found)}')
    row = row._replace(overrides={**row.overrides, 'init_from': found[start[4:]]})
  config = configs.load(row.config)
  configs.override(config, {**row.overrides, 'seed': seed})
  return identity.cell(row, seed, config.to_dict(), root)


def _columns(known: list, asked: list[str]) -> list[dict]:
  """The table's columns of the metrics asked for, or plain ones for other metrics."""
  columns = []
  for text in asked:
    metric = LIKELIHOODS.get(text) or tuple(text.split('+'))
    like = {'label': text, 'better': '', 'split': 'test', 'axes': (), 'floor': '', 'digits': 4,
            'source': 'metric', 'detail': '', 'reduction': 'mean', 'excess': False}
    found = [column for column in known if column['metric'] == metric]
    columns.append({**like, 'metric': metric, **(found[0] if found else {})})
  return columns


def run_missing(table: Table, jobs: int) -> list:
  """Runs the cells that are not finished; the failures."""
  states = run.states(table.cells)
  todo = [cell for cell, state in zip(table.cells, states, strict=True) if state != 'finished']
  print(f'{table.name} {table.size}: {len(table.cells) - len(todo)} of {len(table.cells)} cells '
        f'finished, {len(todo)} to measure, of which {sum(s in run.TO_TRAIN for s in states)} '
        'train their run', flush=True)
  start = time.perf_counter()
  with tqdm(total=len(todo), disable=None, unit='cell') as progress:
    def on_done(cell, code):
      progress.set_postfix_str(cell.label)
      progress.update()
      if progress.disable:
        print(f'  {"done" if code == 0 else f"failed ({code})"}: {cell.label}, seed {cell.seed}, '
              f'{time.perf_counter() - start:.0f} s', flush=True)

    return run.run(todo, f'{table.out}/logs', jobs, on_done)


def collect_to_files(table: Table) -> None:
  """Writes table.md, table.csv, table.json and the pictures, each whole or not at all."""
  from genjax.train import rundir  # imports jax: a list or a mistake need not wait for it

  found = collect.collect(table.rows, table.cells, table.columns,
                          rundir.commit() or 'unknown')
  out = pathlib.Path(table.out)
  out.mkdir(parents=True, exist_ok=True)
  drawn = picture.draw(table.rows, table.cells)
  if drawn is not None:
    drawn.save(out / 'samples.part.png')
    (out / 'samples.part.png').replace(out / 'samples.png')
  pictures = {'one row of samples per row of the table': 'samples.png'} if drawn else {}
  if table.figure and figure.draw(found, out / 'curves.part.png', **table.figure):
    (out / 'curves.part.png').replace(out / 'curves.png')
    pictures[f'{table.figure["y"]} against {table.figure["x"]}'] = 'curves.png'
  text = render.markdown(found, f'{table.name}, size {table.size}', table.note, pictures)
  for name, content in (('table.md', text), ('table.csv', render.to_csv(found)),
                        ('table.json', render.to_json(found))):
    part = out / f'{name}.part'
    part.write_text(content, encoding='utf-8')
    part.replace(out / name)
  missing = len(found['missing'])
  print(f'{out}/table.md: {len(table.cells) - missing} of {len(table.cells)} cells')
  if missing:
    print('missing cells, and what fills them:')
    for cell in found['missing']:
      print(f'  {cell["command"]}')


if __name__ == '__main__':
  experiments.run(main, positional=True)
