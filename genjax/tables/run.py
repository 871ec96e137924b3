"""Which cells are finished, and running those that are not by the commands that are shown."""

import concurrent.futures
import pathlib
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping

from genjax import disk
from genjax.tables import identity
from genjax.tables.identity import Cell
from genjax.types import BadInput

TO_TRAIN = ('missing', 'started', 'stale')
OWN = 'eval.json'  # what the run's own config asks; other measurements: evals/CONFIG_HASH.json


def read(cell: Cell) -> dict | None:
  """The record of a cell that is measured; None if there is none, or of another config than now.

  Raises BadInput for a file that is damaged.
  """
  for name in (OWN, f'evals/{cell.config_hash}.json'):
    found = disk.read_record(pathlib.Path(cell.workdir, name))
    if found is not None and not isinstance(found.get('metrics'), Mapping):
      raise BadInput(f'{cell.workdir}/{name} has no metrics; remove it and run the cell again')
    if found is not None and found.get('provenance', {}).get('config_hash') == cell.config_hash:
      return found
  return None


def samples(cell: Cell) -> str:
  """The name under samples/ of what was drawn for a measured cell."""
  found = disk.read_record(pathlib.Path(cell.workdir, OWN)) or {}
  own = found.get('provenance', {}).get('config_hash') == cell.config_hash
  return 'final' if own else cell.config_hash


def status(cell: Cell) -> str:
  """'finished', 'trained' (not measured as asked now), 'started', 'missing', or 'stale'.

  Stale: its directory holds another training, which the cell's commands refuse to touch.
  """
  if read(cell) is not None:
    return 'finished'
  recorded = disk.read_record(pathlib.Path(cell.workdir, 'config.json'), 'a run as it was written')
  recorded = (recorded or {}).get('config')
  if recorded is None:
    return 'missing'
  if identity.run_hash(recorded) != cell.run_hash:
    return 'stale'
  last = pathlib.Path(cell.workdir, 'checkpoints', str(cell.steps), 'checkpoint.json')
  return 'trained' if last.is_file() else 'started'


def states(cells: Iterable[Cell]) -> list[str]:
  """The status of each cell; 'waiting' where another cell of the list is to train first.

  That is an earlier one of the same run, or one of the run that this one starts from.
  """
  found = [status(cell) for cell in cells]
  to_train = {cell.workdir for cell, state in zip(cells, found, strict=True) if state in TO_TRAIN}
  begun = set()
  for i, cell in enumerate(cells):
    if found[i] in TO_TRAIN:
      found[i] = 'waiting' if cell.workdir in begun or cell.origin in to_train else found[i]
      begun.add(cell.workdir)
  return found


def command(cell: Cell, state: str) -> str:
  """The shell line that fills a cell whose state is `state`: its run is trained if need be."""
  return cell.train if state in TO_TRAIN else cell.measure


def run(cells: Iterable[Cell], logs: str, jobs: int = 1,
        on_done: Callable = lambda cell, code: None) -> list[tuple[Cell, int, str]]:
  """Fills the cells, `jobs` at a time; [(cell, exit code, last lines)] of failures.

  In rounds: no two cells of one run train it at a time, and what waits for a training follows it,
  or fails with it. The output of each goes to LOGS/NAME.log. on_done(cell, exit code) is called
  after each. An interrupt ends the commands that run, and starts no other.
  """
  pathlib.Path(logs).mkdir(parents=True, exist_ok=True)
  left, failures, broken = list(cells), [], {}
  while left:
    ready = [(c, s) for c, s in zip(left, states(left), strict=True) if s != 'waiting']
    failed = _batch(ready, logs, jobs, on_done)
    broken |= {cell.workdir: cell.label for cell, *_ in failed if status(cell) in TO_TRAIN}
    failures += failed
    done, waiting = [cell for cell, _ in ready], []
    for cell in left:
      ended = next((broken[run] for run in (cell.workdir, cell.origin) if run in broken), '')
      if cell not in done and ended:
        broken.setdefault(cell.workdir, ended)
        failures.append((cell, 1, f'not run: the training of {ended!r} failed'))
        on_done(cell, 1)
      elif cell not in done:
        waiting.append(cell)
    left = waiting
  return failures


def _batch(cells: list[tuple[Cell, str]], logs: str, jobs: int, on_done: Callable) -> list:
  """Runs the commands of the cells, of which no two may train one run."""
  children, stop, failures = set(), threading.Event(), []

  def one(cell, state):
    name = f'{identity.slug(cell.label)}-{pathlib.Path(cell.workdir).name}.log'
    log = pathlib.Path(logs, name)
    if stop.is_set():
      return cell, 130, ''
    with open(log, 'w', encoding='utf-8') as output:
      child = subprocess.Popen(_arguments(command(cell, state)), stdout=output,
                               stderr=subprocess.STDOUT)
      children.add(child)
      code = child.wait()
      children.discard(child)
    return cell, code, _tail(log)

  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    try:
      for done in concurrent.futures.as_completed([pool.submit(one, *each) for each in cells]):
        cell, code, tail = done.result()
        on_done(cell, code)
        if code or read(cell) is None:
          failures.append((cell, code, tail))
    finally:  # an interrupt, or a defect, leaves no process behind
      stop.set()
      for child in tuple(children):
        child.terminate()
  return failures


def _arguments(command: str) -> list[str]:
  program, *rest = shlex.split(command)
  return [sys.executable if program == 'python' else program, *rest]


def _tail(log: pathlib.Path, lines: int = 6) -> str:
  text = log.read_text(encoding='utf-8', errors='replace').replace('\r', '\n')
  return '\n'.join(text.strip().splitlines()[-lines:])
