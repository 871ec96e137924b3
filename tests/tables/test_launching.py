"""Commands of cells: shared runs, failures, signals, and two tables at one work."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from genjax.tables import claims, launch, run
from genjax.tables.cells import Cell, Row, cell
from tests.cells import ROWS, cells_of, config, fake, finish, grid, value


def test_a_shared_run_is_trained_once_and_goes_on_after_an_end(tmp_path):
  cells = [fake(cell, config(0)) for cell in grid(tmp_path, 4)]
  assert not launch.fill(cells, str(tmp_path / 'logs'), 3)
  log = (tmp_path / 'log').read_text().splitlines()
  assert log[:2] == ['train begins', 'train ends'] and log.count('train begins') == 1
  assert log.count('measure ends') == 3
  assert run.states(cells) == ['finished'] * 4
  # as after a kill between two measurements: what is there is not made again
  pathlib.Path(cells[3].workdir, 'evals', f'{cells[3].config_hash}.json').unlink()
  todo = [c for c, s in zip(cells, run.states(cells), strict=True) if s != 'finished']
  assert not launch.fill(todo, str(tmp_path / 'logs'), 3)
  assert (tmp_path / 'log').read_text().splitlines()[len(log):] == [
      'measure begins', 'measure ends']


def test_what_starts_from_a_run_follows_it_and_fails_with_it(tmp_path):
  teacher = fake(grid(tmp_path, 1)[0], config(0))
  started = config(0, init_from=teacher.workdir)
  student = fake(cell(Row('student', 'c.py'), 0, started, str(tmp_path)), started)
  assert student.workdir != teacher.workdir
  assert run.states([student, teacher]) == ['waiting', 'missing']
  broken = teacher._replace(train=shlex.join(['python', '-c', 'raise SystemExit(3)']))
  failures = launch.fill([broken, student], str(tmp_path / 'logs'), 2)
  assert [(cell.label, code) for cell, code, _ in failures] == [('row 0', 3), ('student', 1)]
  assert "'row 0' failed" in failures[1][2] and not (tmp_path / 'log').exists()
  assert not launch.fill([student, teacher], str(tmp_path / 'logs'), 2)
  assert (tmp_path / 'log').read_text().split() == ['train', 'begins', 'train', 'ends'] * 2


def test_run_reports_what_failed(tmp_path):
  cells = [c._replace(train=line, measure=line) for c, line in zip(
      cells_of(ROWS, tmp_path, 1), (shlex.join(['python', '-c', text]) for text in (
          'print("words"); raise SystemExit(3)', 'pass')), strict=True)]
  finish(cells[1], {'fd': value(1.0)})
  seen = []
  failures = launch.fill(cells, str(tmp_path / 'logs'), 2, lambda cell, code: seen.append(code))
  assert [(cell.label, code, tail) for cell, code, tail in failures] == [('first row', 3, 'words')]
  assert sorted(seen) == [0, 3]




ROOT = pathlib.Path(__file__).parents[2]
# a command that says that it runs, and at SIGTERM that it saved
SLOW = '''
import os, pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def save(*_):
  (here / 'saved').write_text('')
  os._exit(42)  # an exception may be raised where Python ignores it
signal.signal(signal.SIGTERM, save)
(here / 'runs').write_text(str(os.getpid()))
time.sleep(60)
'''
# a process that fills one cell by that command
FILLS = '''
import sys
from genjax.tables import launch
from genjax.tables.cells import Cell
root, command = sys.argv[1:]
cell = Cell('row', 0, 10, 'hash', 'run', f'{root}/run', command, command)
try:
  launch.fill([cell], f'{root}/logs')
except launch.Stopped as stopped:
  print(stopped, stopped.killed)
'''


def wait_for(path, seconds=20.0):
  end = time.monotonic() + seconds
  while not (path.exists() and path.stat().st_size) and time.monotonic() < end:
    time.sleep(0.02)
  return path.read_text()


def table_process(root, command):
  return subprocess.Popen([sys.executable, '-c', FILLS, str(root), shlex.join(command)], cwd=ROOT,
                          stdout=subprocess.PIPE, text=True)


def is_alive(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


@pytest.mark.parametrize('number', launch.SIGNALS)
def test_a_signal_reaches_the_commands_which_save_and_end(tmp_path, number):
  process = table_process(tmp_path, ['python', '-c', SLOW, str(tmp_path)])
  child = int(wait_for(tmp_path / 'runs'))
  assert os.getpgid(child) != os.getpgid(process.pid)  # out of reach of the terminal's own signals
  process.send_signal(number)
  out, _ = process.communicate(timeout=20)
  assert out.strip() == f'stopped by {number.name} False'
  assert (tmp_path / 'saved').exists() and not is_alive(child)


def test_a_second_interrupt_kills_the_commands(tmp_path):
  deaf = SLOW.replace('signal.signal(signal.SIGTERM, save)',
                      'signal.signal(signal.SIGTERM, signal.SIG_IGN)')
  process = table_process(tmp_path, ['python', '-c', deaf, str(tmp_path)])
  child = int(wait_for(tmp_path / 'runs'))
  process.send_signal(signal.SIGINT)
  time.sleep(0.5)
  assert is_alive(child)
  process.send_signal(signal.SIGINT)
  assert process.communicate(timeout=20)[0].strip() == 'stopped by SIGINT True'
  assert not is_alive(child) and not (tmp_path / 'saved').exists()


def test_two_tables_share_the_work(tmp_path):
  cells = [fake(cell, config(0)) for cell in grid(tmp_path, 3)]
  waited, results = [], []
  other = threading.Thread(target=lambda: results.append(claims.take(cells[0], trains=True)))
  other.start()  # another table trains the run
  other.join()
  held = results[0]
  assert held and claims.take(cells[0], trains=True) is None
  releases = threading.Timer(1.0, lambda: (subprocess.run(
      [sys.executable, *shlex.split(cells[0].train)[1:]], check=True), claims.release(held)))
  releases.start()
  assert not launch.fill(cells, str(tmp_path / 'logs'), 2, on_wait=waited.append)
  assert [cell.label for cell in waited] == ['row 0']
  log = (tmp_path / 'log').read_text().splitlines()
  assert log.count('train begins') == 1 and log.count('measure begins') == 2
  assert run.states(cells) == ['finished'] * 3


def test_a_run_that_another_launch_owns_is_waited_for(tmp_path, monkeypatch):
  monkeypatch.setattr(launch, 'AGAIN', 0.3)
  cell = fake(grid(tmp_path, 1)[0], config(0))
  lease = pathlib.Path(cell.workdir, 'lease.1.json')
  lease.parent.mkdir()
  lease.write_text('{}')
  refuses = (f'import os, subprocess, sys\nif os.path.exists({str(lease)!r}): sys.exit(1)\n'
             f'sys.exit(subprocess.run([sys.executable, *{shlex.split(cell.train)[1:]!r}]))')
  refused = cell._replace(train=shlex.join(['python', '-c', refuses.replace('.run(', '.call(')]))
  waited = []

  def on_wait(cell):
    waited.append(cell.label)
    lease.unlink()  # the other launch has ended

  assert not launch.fill([refused], str(tmp_path / 'logs'), 1, on_wait=on_wait)
  assert waited == ['row 0'] and run.states([cell]) == ['finished']


def test_the_claim_of_a_killed_table_lasts_as_long_as_its_command(tmp_path):
  process = table_process(tmp_path, ['python', '-c', SLOW, str(tmp_path)])
  child = int(wait_for(tmp_path / 'runs'))
  process.kill()
  process.communicate(timeout=20)
  cell = Cell('row', 0, 10, 'hash', 'run', f'{tmp_path}/run', '', '')
  assert is_alive(child) and claims.take(cell, trains=True) is None
  os.kill(child, signal.SIGTERM)
  end = time.monotonic() + 20
  while (held := claims.take(cell, trains=True)) is None and time.monotonic() < end:
    time.sleep(0.05)
  assert held
  claims.release(held)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='one core')
def test_commands_at_a_time_divide_the_cores(tmp_path):
  tell = ('import os, sys, time; print(sorted(os.sched_getaffinity(0))); sys.stdout.flush(); '
          'time.sleep(0.5); raise SystemExit(1)')
  cells = [cell._replace(train=shlex.join(['python', '-c', tell]))
           for cell in cells_of(ROWS, tmp_path, 1)]
  before = os.sched_getaffinity(0)
  failures = launch.fill(cells, str(tmp_path / 'logs'), 2)
  first, second = (set(json.loads(failure.tail)) for failure in failures)
  assert not first & second and first | second == before == os.sched_getaffinity(0)
  [alone] = launch.fill(cells[:1], str(tmp_path / 'logs'), 1)
  assert set(json.loads(alone.tail)) == before
