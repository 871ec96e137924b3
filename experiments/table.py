"""Lists, runs and collects tables: a table is a config, its cells are run directories.

python -m experiments.table list
python -m experiments.table run --table=configs/tables/divergences_digits.py --size=tiny [--jobs=1]
python -m experiments.table collect --table=configs/tables/divergences_digits.py --size=tiny
python -m experiments.table run --table=configs/tables/own_data.py:path=photos,encoder=photos.npz

`list --table=...` shows the cells, their commands, and why a cell cannot be filled; `run` refuses
such a table before any work. `run` executes the commands of unfinished cells; --rows=REGEX selects
rows. After each cell it writes table.md, table.csv, table.json and samples.png to --out (default
runs/tables/NAME/SIZE, with --rows SIZE-some). Logs are in logs/; curves.png is written at the end,
if the table has a figure. The runs are in --runs. Cells of any tables that differ only in sampler
or evaluators share a run, which is trained once and measured for each. A second `run` at the same
time shares the work.

Exit codes: 1 if a cell did not finish; 42 after SIGTERM, SIGINT (Ctrl-C), SIGHUP or SIGUSR1, with
trainings saved, so that the same command resumes; 130 after a second SIGINT, which kills them.
"""

import functools
import io
import pathlib
import time

from absl import flags
from tqdm import tqdm

import experiments
from experiments import preflight
from experiments.table_config import Table, module, read, takes_argument
from genjax import configs, disk
from genjax.tables import collect, contrast, export, figure, launch, picture, render, run
from genjax.types import BadInput

VERBS = ('list', 'run', 'collect')
TABLE = flags.DEFINE_string('table', None, 'A file of configs/tables: FILE.py[:ARGUMENT].')
SIZE = flags.DEFINE_string('size', None, 'One of the sizes of the table; none: its first.')
OUT = flags.DEFINE_string('out', None, 'Folder of the table; none: runs/tables/NAME/SIZE, with '
                          '--rows SIZE-some.')
RUNS = flags.DEFINE_string('runs', None, 'Folder of the runs; none: runs/cells, or OUT/cells '
                           'with --out. A finished run that is linked there under the name that '
                           '`list` shows is not trained again.')
JOBS = flags.DEFINE_integer('jobs', 1, 'Number of cells that run at a time, each on its share '
                            'of the cores.', lower_bound=1)
ROWS = flags.DEFINE_string('rows', None, 'A regular expression: only rows whose label matches, '
                           'and those whose runs they start from.')
COLUMNS = flags.DEFINE_list('columns', None, 'Columns by metric instead of the table\'s; '
                            '"a+b" is one column of the one that a row has.')


def main(argv):
  verbs = argv[1:]
  if len(verbs) != 1 or verbs[0] not in VERBS:
    raise BadInput(f'python -m experiments.table {" ".join(verbs)}: allowed: one of '
                   f'{", ".join(VERBS)}')
  if verbs[0] == 'list':
    return list_table() if TABLE.value else list_tables()
  if TABLE.value is None:
    raise BadInput(f'--table=FILE must be given; there are: {", ".join(configs.having("sweep"))}')
  table = read(TABLE.value, SIZE.value, OUT.value, COLUMNS.value, RUNS.value, ROWS.value)
  if verbs[0] == 'run':
    return run_table(table)
  report(table, write(table))
  return 0


def list_tables() -> None:
  """Prints every table with its sizes; raises BadInput at the end if a file is no table."""
  broken = []
  for path in configs.having('sweep'):
    try:
      if takes_argument(module(path)):
        print(f'{path}:ARGUMENT: list it with --table, which says what it needs')
        continue
      for size in [SIZE.value] if SIZE.value else module(path).sizes:
        table = read(path, size, OUT.value, runs=RUNS.value, only=ROWS.value)
        print(headline(table, run.states(table.cells)))
    except BadInput as error:
      broken.append(f'{path}: {error}')
  if broken:
    raise BadInput('\n'.join(broken))


def list_table() -> None:
  """Prints the cells of --table, their status and commands, and why they cannot be filled.

  Raises BadInput at the end if a row can never train or a column would mix protocols.
  """
  for size in [SIZE.value] if SIZE.value else module(TABLE.value).sizes:
    table = read(TABLE.value, size, OUT.value, COLUMNS.value, RUNS.value, ROWS.value)
    states, faults = run.states(table.cells), preflight.check(table)
    print(headline(table, states))
    for cell, state in zip(table.cells, states, strict=True):
      why = '' if state == 'finished' else faults.reasons().get(cell.label, '')
      print(f'  {"refused" if why else state:9s}{cell.label}, seed {cell.seed}\n           '
            + run.command(cell, state) + (f'\n    why: {" ".join(why.split())}' if why else ''))
    if faults.refused or faults.columns:
      raise BadInput(refusal(table, faults.refused, faults.columns))


def headline(table: Table, states: list[str]) -> str:
  """One line: the numbers of rows, cells and runs of a table, and of finished cells."""
  return (f'{table.path} --size={table.size}: {len(table.rows)} rows, {len(table.cells)} cells, '
          f'{len({cell.workdir for cell in table.cells})} runs, '
          f'{states.count("finished")} finished')


def refusal(table: Table, rows: dict[str, str], columns: list[str]) -> str:
  """The message why a table cannot be filled, with each reason once.

  rows: {label: reason}; columns: reasons.
  """
  lines = [f'{table.path} --size={table.size} cannot be filled; nothing was run:']
  for reason in dict.fromkeys(rows.values()):
    labels = [label for label, why in rows.items() if why == reason]
    more = f' and {len(labels) - 3} rows more' if len(labels) > 3 else ''
    lines.append(f'  {", ".join(map(repr, labels[:3]))}{more}: {reason}')
  return '\n'.join([*lines, *(f'  {reason}' for reason in columns)])


def run_table(table: Table) -> int:
  """The exit code, after filling the unfinished cells and collecting the table.

  Raises BadInput before any work if a cell cannot be filled here or a column would mix protocols,
  and afterwards if a cell did not finish; the table has the reasons.
  """
  states = run.states(table.cells)
  todo = [cell for cell, state in zip(table.cells, states, strict=True) if state != 'finished']
  if todo:
    faults = preflight.check(table)
    reasons = {cell: why for cell in todo
               if (why := faults.reasons().get(cell.label) or run.fault(cell))}
    if reasons or faults.columns:
      if not faults.columns:
        write(table, reasons)
      raise BadInput(refusal(table, {c.label: why for c, why in reasons.items()}, faults.columns))
  try:
    failures = fill(table, JOBS.value)
  except launch.Stopped as stopped:
    if stopped.killed:
      print('interrupted', flush=True)
      return 130
    print('stopped: the trainings that ran have saved; the same command resumes', flush=True)
    return 42
  report(table, write(table, {f.cell: f'failed ({f.code}): {f.tail}' for f in failures}))
  for failure in failures:
    state = run.status(failure.cell)
    print(f'\nfailed ({failure.code}): {run.command(failure.cell, state)}\n{failure.tail}')
  if failures:
    raise BadInput(f'{len(failures)} of {len(table.cells)} cells did not finish; logs in '
                   f'{table.out}/logs')
  return 0


def fill(table: Table, jobs: int) -> list[launch.Failure]:
  """The failures, after running the unfinished cells; each prints its row and updates the table."""
  states = run.states(table.cells)
  todo = [cell for cell, state in zip(table.cells, states, strict=True) if state != 'finished']
  print(f'{table.name} {table.size}: {len(table.cells) - len(todo)} of {len(table.cells)} cells '
        f'finished, {len(todo)} to measure, of which {sum(s in run.TO_TRAIN for s in states)} '
        f'train their run; {table.out}/table.md grows with each', flush=True)
  start = time.perf_counter()
  with tqdm(total=len(todo), disable=None, unit='cell') as progress:
    def say(text):
      progress.clear()
      print(f'{time.perf_counter() - start:5.0f} s  {text}', flush=True)
      progress.refresh()

    def on_done(cell, code):
      progress.update()
      if code:
        say(f'failed ({code}): {cell.label}, seed {cell.seed}')
        return
      try:
        say(f'{cell.label}: {render.line(write(table, curves=False), cell.label)}')
      except BadInput as error:  # raised again at the end; the other cells continue
        say(f'{cell.label}, seed {cell.seed}: done, but {error}')

    return launch.fill(todo, f'{table.out}/logs', jobs, on_done, lambda cell: say(
        f'{cell.label}, seed {cell.seed}: another process is filling it; waiting'))


@functools.cache
def commit() -> str:
  """The commit of this code, or 'unknown'."""
  from genjax.runs import rundir  # imports jax: a mistake should not wait for it
  return rundir.commit() or 'unknown'


def write(table: Table, reasons=None, curves: bool = True) -> dict:
  """The collected table, after writing table.md, table.csv, table.json and pictures.

  reasons: {cell: why it is not finished}, if known. curves: draw them too, which takes a second.
  """
  collected = contrast.collected(table.contrasts, collect.collect(
      table.rows, table.cells, table.columns, commit(), {
          (cell.label, cell.seed): why for cell, why in (reasons or {}).items()}))
  out, pictures = pathlib.Path(table.out), {}
  damaged = [(cell['label'], cell['seed']) for cell in collected['missing']
             if cell['status'] == 'damaged']
  drawn = picture.draw(table.rows, [cell for cell in table.cells
                                    if (cell.label, cell.seed) not in damaged])
  if drawn is not None:
    png = io.BytesIO()
    drawn.save(png, format='png')
    disk.write_bytes(out / 'samples.png', png.getvalue())
    pictures['one row of samples per row of the table'] = 'samples.png'
  png = io.BytesIO()
  if table.figure and curves and figure.draw(collected, png, **table.figure):
    disk.write_bytes(out / 'curves.png', png.getvalue())
    pictures[f'{table.figure["y"]} against {table.figure["x"]}'] = 'curves.png'
  text = render.markdown(collected, f'{table.name}, size {table.size}', table.note, pictures)
  for name, content in (('table.md', text), ('table.csv', export.to_csv(collected)),
                        ('table.json', export.to_json(collected))):
    disk.write_bytes(out / name, content.encode())
  return collected


def report(table: Table, collected: dict) -> None:
  """Prints the place of the table, and the commands that fill missing cells."""
  missing = collected['missing']
  print(f'{table.out}/table.md: {len(table.cells) - len(missing)} of {len(table.cells)} cells')
  if missing:
    print('missing cells, and the commands that fill them:')
    for cell in missing:
      print(f'  {cell["command"]}')


if __name__ == '__main__':
  experiments.run(main, positional=True)
