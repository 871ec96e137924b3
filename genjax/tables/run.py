"""Which cells are finished, and running those that are not by the commands that are shown."""

import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping

from genjax.tables import identity
from genjax.tables.identity import Cell
from genjax.types import BadInput


def read(cell: Cell) -> dict | None:
  """eval.json of a finished cell; None if the cell is not there, unfinished or out of date.

  Out of date: it was trained or measured under another config than the table asks for now.
  Raises BadInput for a file that is damaged.
  """
  evaluated = _json(cell, 'eval.json')
  if evaluated is None:
    return None
  if not isinstance(evaluated.get('metrics'), Mapping):
    raise BadInput(f'{cell.workdir}/eval.json has no metrics; remove it and run the cell again')
  return evaluated if _recorded_hash(cell, evaluated) == cell.config_hash else None


def status(cell: Cell) -> str:
  """'finished', 'stale' (made under another config), 'started' or 'missing'."""
  if read(cell) is not None:
    return 'finished'
  workdir = pathlib.Path(cell.workdir)
  if (workdir / 'eval.json').is_file():
    return 'stale'
  return 'started' if (workdir / 'config.json').is_file() else 'missing'


def run(cells: Iterable[Cell], logs: str, jobs: int = 1,
        on_done: Callable = lambda cell, code: None) -> list[tuple[Cell, int, str]]:
  """Runs the commands of the cells, `jobs` at a time; [(cell, exit code, last lines)] of failures.

  The output of each goes to LOGS/NAME.log. on_done(cell, exit code) is called after each. An
  interrupt ends the commands that run, and starts no other.
  """
  pathlib.Path(logs).mkdir(parents=True, exist_ok=True)
  children, stop, failures = set(), threading.Event(), []

  def one(cell):
    log = pathlib.Path(logs, f'{pathlib.Path(cell.workdir).name}.log')
    if stop.is_set():
      return cell, 130, ''
    with open(log, 'w', encoding='utf-8') as output:
      child = subprocess.Popen(_arguments(cell.command), stdout=output, stderr=subprocess.STDOUT)
      children.add(child)
      code = child.wait()
      children.discard(child)
    return cell, code, _tail(log)

  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    try:
      for done in concurrent.futures.as_completed([pool.submit(one, cell) for cell in cells]):
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


def _recorded_hash(cell: Cell, evaluated: Mapping) -> str | None:
  """What eval.json says it measured; where it says nothing, the config of the directory."""
  recorded = evaluated.get('provenance', {}).get('config_hash')
  if recorded:
    return recorded
  config = (_json(cell, 'config.json') or {}).get('config')
  return identity.config_hash(config) if config else None


def _json(cell: Cell, name: str) -> dict | None:
  path = pathlib.Path(cell.workdir, name)
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError):
    return None
  except ValueError as e:
    raise BadInput(f'{path} is damaged: {e}; remove it and run the cell again') from None
