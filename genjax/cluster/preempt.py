"""A signal to leave, on any host, becomes one moment at which all hosts leave, with exit code 42.

In the training loop that moment is a step: every host polls once per step, and all stop at the same
poll, save, and raise Preempted. Outside the loop there is nothing to save: a thread ends the
process at once, even during a compilation, but never while a file is written. A second SIGINT ends
the process at any point, with exit code 130.
"""

import contextlib
import errno
import os
import select
import signal
import termios
import threading
import time
from collections.abc import Callable

import jax

from genjax.cluster import hosts, signals

EXIT = 42  # asks the launcher to start the same command again
BEFORE, AFTER = 0, 1 << 40  # positions outside the loop; inside, the number of polls so far
_INTERVAL = 0.5  # seconds between two looks for another host's notice


class Preempted(Exception):
  """All hosts have stopped at the same step, after a save."""


class _Watch:
  """The state shared by the program and the thread that waits for a signal."""

  def __init__(self, signalled: int, words: str):
    self.words = words  # the last message where there is nothing to save
    self.farewells = []  # called before the process is ended
    self.agreeing = threading.Lock()  # held while hosts agree: nobody passes a poll meanwhile
    self.writing = threading.RLock()  # held while a file is written
    self.position = BEFORE
    self.stop = None  # the position at which to leave
    self.leaving = self.closed = False
    self.signalled = signalled
    self.asked = threading.Event()  # this process was asked to leave
    self.reader = threading.Thread(target=self.read, daemon=True)
    self.thread = threading.Thread(target=self.run, daemon=True)

  def read(self) -> None:
    """Reads the numbers of signals as long as the process lives; ends it at the second SIGINT."""
    interrupts = 0
    while not self.closed:
      noted = os.read(self.signalled, 64)  # other signals, such as SIGCHLD, write their number too
      interrupts += noted.count(signal.SIGINT)
      if signal.SIGHUP in noted:
        _mute_closed_terminals()
      if interrupts > 1:
        self.part()
        signals.end_if_twice(interrupts)
      if any(number in noted for number in signals.LEAVE):
        self.asked.set()

  def run(self) -> None:
    try:
      self._watch()
    except (jax.errors.JaxRuntimeError, AttributeError):
      # this process has left the other hosts, and closed the client, while they were agreeing
      if not self.closed:
        raise

  def _watch(self) -> None:
    while not (self.asked.wait(_INTERVAL) or hosts.noticed('preempted')):
      pass
    if self.closed:
      return
    hosts.notify('preempted')
    with self.agreeing:
      positions = [int(p) for p in hosts.exchange('preempted at', str(self.position))]
      if min(positions) == BEFORE:
        self.stop = BEFORE  # a host has not begun, so that there was no common step yet
      else:
        self.stop = AFTER if max(positions) == AFTER else max(positions) + 1
    if self.stop == BEFORE or self.position == AFTER:
      self.leave()

  def part(self) -> None:
    """Releases what the process owns."""
    for farewell in self.farewells:
      farewell()

  def leave(self) -> None:
    """Ends the process; the coordinator ends last, since its end would abort the others."""
    with self.writing:
      self.leaving = True
      hosts.exchange('leave')
      self.part()
      time.sleep(0.5 if hosts.is_lead() and hosts.count() > 1 else 0.0)
      signals.end(EXIT, self.words if hosts.is_lead() else '')


def _mute_closed_terminals() -> None:
  """Redirects output from a closed terminal, where printing would fail and prevent the save."""
  for descriptor in (1, 2):
    try:
      termios.tcgetattr(descriptor)
    except termios.error as error:
      if error.args[0] == errno.EIO:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


_watch: _Watch | None = None


def install(signalled: int, words: str) -> None:
  """Starts to watch for the signals of `signals.note`, once.

  signalled: the pipe to which their numbers are written. words: the last message of a process that
  leaves outside the loop. Does not return if the process was asked to leave before.
  """
  global _watch
  asked_before = bool(select.select([signalled], [], [], 0)[0])
  _watch = _Watch(signalled, words)
  _watch.reader.start()
  _watch.thread.start()
  if asked_before and _watch.asked.wait(1.0):
    _watch.thread.join()  # ends the process


@contextlib.contextmanager
def before_leaving(farewell: Callable[[], None]):
  """Within the block, a process that is ended by a signal calls farewell() first."""
  farewells = _watch.farewells if _watch else []
  farewells.append(farewell)
  try:
    yield
  finally:
    farewells.remove(farewell)


def close(leave_hosts: Callable[[], None]) -> bool:
  """Whether the watching thread has ended, after leaving the hosts at the end of a program.

  If not, the thread waits for a host that is gone, and a normal end of Python would abort.
  """
  for number in signals.LEAVE:
    signal.signal(number, signal.SIG_IGN)  # unlike handlers this stays in force as Python ends
  if _watch is None:
    leave_hosts()
    return True
  _watch.closed = True
  leave_hosts()
  _watch.asked.set()
  wakeup = signal.set_wakeup_fd(-1)
  if wakeup >= 0:
    os.write(wakeup, b'\0')
  _watch.thread.join(1.0)
  return not _watch.thread.is_alive()


def poll() -> bool:
  """Whether to stop; every host calls it at the same places of the training loop."""
  if _watch is None:
    return False
  with _watch.agreeing:
    _watch.position += 1
    return _watch.stop not in (None, BEFORE) and _watch.position >= _watch.stop


def check() -> None:
  """A poll during long computations; raises Preempted if all hosts stop."""
  if poll():
    raise Preempted


def finished(words: str) -> None:
  """To be called after the loop, with everything saved: from now on a preemption ends the process.

  words: the last message of the process in that case.
  """
  if _watch is None:
    return
  with _watch.agreeing:
    _watch.position, _watch.words = AFTER, words
  if _watch.stop is not None:
    _watch.leave()


@contextlib.contextmanager
def writing():
  """A block in which the process is not ended, because it writes a file."""
  with _watch.writing if _watch else contextlib.nullcontext():
    yield


def wait_if_leaving() -> None:
  """Blocks if this process is about to be ended, so that errors from ended hosts do not show."""
  if _watch is not None and _watch.leaving:
    time.sleep(60)
