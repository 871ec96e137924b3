"""Fills cells with the commands that `list` shows, several at a time, and stops them together."""

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from genjax.tables import claims, run
from genjax.tables.cells import Cell, slug

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
POLL, LOOK = 0.1, 2.0  # seconds between checks of the commands, and of what others have done
AGAIN = 30.0  # seconds before a command whose run had another owner is tried again


class Stopped(Exception):
  """Signals stopped the table, and its commands have ended.

  killed: by a second SIGINT, without a save.
  """

  def __init__(self, received: list[int]):
    super().__init__(f'stopped by {signal.Signals(received[0]).name}')
    self.killed = signal.SIGINT in received[1:]


class Failure(NamedTuple):
  """A cell that was not filled, with the exit code and the last lines of its command."""

  cell: Cell
  code: int
  tail: str


class Job(NamedTuple):
  """A running command."""

  cell: Cell
  child: subprocess.Popen
  log: pathlib.Path
  claim: list[int]
  share: int  # of the cores, which `jobs` commands divide among them


def fill(cells: Iterable[Cell], logs: str, jobs: int = 1,
         on_done: Callable = lambda cell, code: None,
         on_wait: Callable = lambda cell: None) -> list[Failure]:
  """Returns the failures after filling the cells, in their order.

  logs: folder, in which each command writes NAME.log; jobs: number of commands at a time.
  on_done(cell, exit code): called after each command.
  on_wait(cell): called once before waiting for a cell that another process fills.
  No two commands train one run, in any process. A cell that waits for a training follows it, or
  fails with it. SIGNALS reach the commands as SIGTERM, at which they save and end; a second SIGINT
  kills them. Then Stopped is raised.
  """
  pathlib.Path(logs).mkdir(parents=True, exist_ok=True)
  work = _Work(list(cells), pathlib.Path(logs), jobs, on_done, on_wait)
  with _signals() as received:
    try:
      while (work.left or work.running) and not received:
        work.step()
        time.sleep(POLL)
    finally:  # a signal, or a defect, leaves no command behind
      _end(work.running, received)
  if received:
    raise Stopped(received)
  return work.failures


class _Work:
  """The remaining cells, the running commands, and the failures."""

  def __init__(self, left: list[Cell], logs: pathlib.Path, jobs: int, on_done: Callable,
               on_wait: Callable):
    self.left, self.logs, self.jobs = left, logs, jobs
    self.on_done, self.on_wait = on_done, on_wait
    self.waited_for: set[Cell] = set()
    self.not_before: dict[Cell, float] = {}
    self.running: list[Job] = []
    self.failures: list[Failure] = []
    self.broken: dict[str, str] = {}  # run directory -> the row whose training failed
    self.looked = -LOOK

  def step(self) -> None:
    """Handles the commands that have ended, and starts what can start."""
    ended = [job for job in self.running if job.child.poll() is not None]
    for job in ended:
      self.running.remove(job)
      self._take_in(job)
    now = time.monotonic()
    if (ended or now - self.looked >= LOOK) and len(self.running) < self.jobs:
      self.looked = now
      self._drop_broken()
      self._start()

  def _take_in(self, job: Job) -> None:
    claims.release(job.claim)
    code = job.child.returncode
    if code == 1 and run.is_owned(job.cell):  # by a training that no table started
      self.not_before[job.cell] = time.monotonic() + AGAIN
      self.left.insert(0, job.cell)
      self._say_wait(job.cell)
      return
    [state] = run.states([job.cell])
    if code or state != 'finished':
      self.failures.append(Failure(job.cell, code, run.fault(job.cell) or _tail(job.log)))
      if state in run.TO_TRAIN:
        self.broken[job.cell.workdir] = job.cell.label
    self.on_done(job.cell, code)

  def _drop_broken(self) -> None:
    """Fails the cells whose training, or the one that they start from, has failed."""
    for cell in tuple(self.left):
      origin = next((o for o in (cell.workdir, cell.origin) if o in self.broken), None)
      if origin is not None:
        self.left.remove(cell)
        self.broken.setdefault(cell.workdir, self.broken[origin])
        self.failures.append(Failure(
            cell, 1, f'not run: the training of {self.broken[origin]!r} failed'))
        self.on_done(cell, 1)

  def _say_wait(self, cell: Cell) -> None:
    if cell not in self.waited_for:
      self.waited_for.add(cell)
      self.on_wait(cell)

  def _start(self) -> None:
    """Starts commands up to `jobs`, and drops what another process has finished."""
    known = [*(job.cell for job in self.running), *self.left]
    for cell, state in list(zip(known, run.states(known), strict=True))[len(self.running):]:
      if len(self.running) == self.jobs:
        return
      if state == 'damaged':
        self.left.remove(cell)
        self.failures.append(Failure(cell, 1, run.fault(cell)))
        self.on_done(cell, 1)
        continue
      if state == 'waiting' or time.monotonic() < self.not_before.get(cell, 0.0):
        continue
      claim = [] if state == 'finished' else claims.take(cell, state in run.TO_TRAIN)
      if claim is None:
        self._say_wait(cell)
        continue
      self.left.remove(cell)
      [state] = run.states([cell])  # another process may have finished it and released its claim
      if state == 'finished':
        claims.release(claim)
        self.on_done(cell, 0)
      else:
        free = min(set(range(self.jobs)) - {job.share for job in self.running})
        with _on_cores(free, self.jobs):
          self.running.append(_launch(cell, state, self.logs, claim, free))


@contextlib.contextmanager
def _on_cores(share: int, jobs: int) -> Iterator[None]:
  """The context in which commands start on their share of the cores.

  Commands that share all cores spend a third of their time waiting for each other's threads.
  """
  if sys.platform != 'linux' or jobs == 1:
    yield
    return
  cores = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, cores[share::jobs] or cores)
  try:
    yield
  finally:
    os.sched_setaffinity(0, cores)


def _launch(cell: Cell, state: str, logs: pathlib.Path, claim: list[int], share: int) -> Job:
  """The Job of a cell's command, in its own process group: the table passes signals on."""
  log = logs / f'{slug(cell.label)}-{pathlib.Path(cell.workdir).name}.log'
  program, *rest = shlex.split(run.command(cell, state))
  with open(log, 'w', encoding='utf-8') as output:
    child = subprocess.Popen(
        [sys.executable if program == 'python' else program, *rest], stdin=subprocess.DEVNULL,
        stdout=output, stderr=subprocess.STDOUT, process_group=0, pass_fds=claim)
  return Job(cell, child, log, claim, share)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """A context with the list of received SIGNALS; ignored ones stay ignored."""
  received = []
  before = {number: signal.getsignal(number) for number in SIGNALS}
  before = {number: how for number, how in before.items() if how is not signal.SIG_IGN}
  for number in before:
    signal.signal(number, lambda number, frame: received.append(number))
  try:
    yield received
  finally:
    for number, how in before.items():
      signal.signal(number, how)


def _end(jobs: list[Job], received: list[int]) -> None:
  """Lets the commands save and end, and waits for them; a second SIGINT kills them."""
  for job in jobs:
    job.child.terminate()
  while any(job.child.poll() is None for job in jobs):
    if signal.SIGINT in received[1:]:
      for job in jobs:
        job.child.kill()
    time.sleep(POLL)
  for job in jobs:
    claims.release(job.claim)


def _tail(log: pathlib.Path, most: int = 6) -> str:
  """The end of a command's log: from its last error on, else the last lines."""
  text = log.read_text(encoding='utf-8', errors='replace').replace('\r', '\n')
  lines = text.strip().splitlines()
  errors = [i for i, line in enumerate(lines) if line.startswith('error: ')]
  return '\n'.join(lines[errors[-1]:][:2 * most] if errors else lines[-most:])
