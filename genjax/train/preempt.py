"""SIGTERM on any host becomes one moment at which all hosts leave, with exit code 42.

In the training loop that moment is a step: every host polls once a step, and all stop at the same
poll, save, and raise Preempted. Outside the loop there is nothing to save: a thread ends the
process at once, in the middle of a compilation too, but never in the middle of a file.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

import jax

from genjax.train import hosts

EXIT = 42  # the launchers' word for: start the same command again
BEFORE, AFTER = 0, 1 << 40  # positions outside the loop; inside, the number of polls so far
_INTERVAL = 0.5  # seconds between two looks for another host's notice


class Preempted(Exception):
  """All hosts have stopped at the same step, and what was trained is saved."""


class _Watch:
  """What the thread that waits for SIGTERM shares with the program."""

  def __init__(self, signalled: int):
    self.agreeing = threading.Lock()  # held while hosts agree: nobody passes a poll meanwhile
    self.writing = threading.RLock()  # held while a file is written
    self.position = BEFORE
    self.stop = None  # the position at which to leave
    self.leaving = self.closed = False
    self.signalled = signalled
    self.thread = threading.Thread(target=self.run, daemon=True)

  def run(self) -> None:
    try:
      self._watch()
    except (jax.errors.JaxRuntimeError, AttributeError):
      # the other hosts are left, and with them the client by which something was being agreed
      if not self.closed:
        raise

  def _watch(self) -> None:
    while not (self._here() or hosts.noticed('preempted')):
      if self.closed:
        return
    hosts.notify('preempted')
    with self.agreeing:
      places = [int(p) for p in hosts.exchange('preempted at', str(self.position))]
      if min(places) == BEFORE:
        self.stop = BEFORE  # a host has not begun: no step of all of them has been taken
      else:
        self.stop = AFTER if max(places) == AFTER else max(places) + 1
    if self.stop == BEFORE or self.position == AFTER:
      self.leave()

  def _here(self) -> bool:
    ready, _, _ = select.select([self.signalled], [], [], _INTERVAL)
    # other signals (SIGINT, SIGCHLD) write their own number
    return bool(ready) and signal.SIGTERM in os.read(self.signalled, 64)

  def leave(self) -> None:
    """Ends the process, the coordinator's last: its end would abort the others."""
    with self.writing:
      self.leaving = True
      hosts.exchange('leave')
      if hosts.is_lead():
        print('preempted: nothing to save, start again to go on', file=sys.stderr)
        time.sleep(0.5 if hosts.count() > 1 else 0.0)
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(EXIT)


_watch: _Watch | None = None


def install(signalled: int) -> None:
  """Starts to watch for SIGTERM, once; signalled: a pipe to which its number is written."""
  global _watch
  _watch = _Watch(signalled)
  _watch.thread.start()


def close(leave_hosts: Callable[[], None]) -> bool:
  """Leaves the hosts and ends the watch, after all is done; whether its thread has ended.

  If not, it waits for a host that is gone: Python must not end under it, or it aborts.
  """
  signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Python forgets its handlers as it ends, not this
  if _watch is None:
    leave_hosts()
    return True
  _watch.closed = True
  leave_hosts()
  wakeup = signal.set_wakeup_fd(-1)
  if wakeup >= 0:
    os.write(wakeup, b'\0')
  _watch.thread.join(1.0)
  return not _watch.thread.is_alive()


def poll() -> bool:
  """Whether to stop here; called by every host at the same places of the training loop."""
  if _watch is None:
    return False
  with _watch.agreeing:
    _watch.position += 1
    return _watch.stop not in (None, BEFORE) and _watch.position >= _watch.stop


def check() -> None:
  """A poll within what takes long; raises Preempted where all hosts stop."""
  if poll():
    raise Preempted


def finished() -> None:
  """The loop has ended and everything is saved: from here on a preemption ends the process."""
  if _watch is None:
    return
  with _watch.agreeing:
    _watch.position = AFTER
  if _watch.stop is not None:
    _watch.leave()


@contextlib.contextmanager
def writing():
  """While a file is written the process is not ended."""
  with _watch.writing if _watch else contextlib.nullcontext():
    yield


def wait_if_leaving() -> None:
  """Blocks when this process is about to be ended: errors of the others' end are no errors."""
  if _watch is not None and _watch.leaving:
    time.sleep(60)
