"""Signals that ask a program to leave, noted from its first moment on; light to import."""

import contextlib
import os
import signal
import sys

# kill and preemption, Ctrl-C, a closed terminal, Slurm's warning
LEAVE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_interrupts = []


def block() -> None:
  """Until `note`, which a new program in this process may call too, the signals wait."""
  signal.pthread_sigmask(signal.SIG_BLOCK, LEAVE)


def note() -> int:
  """From now on the signals of LEAVE end nothing, but are written to the pipe that is returned.

  Those that the caller has set to be ignored (nohup, a job in the background) stay ignored. A
  second SIGINT ends the process at once, with 130.
  """
  signalled, wakeup = os.pipe()
  os.set_blocking(wakeup, False)
  signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
  for number in LEAVE:
    if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, _noted)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, LEAVE)
  return signalled


def _noted(number: int, _) -> None:
  if number == signal.SIGINT:
    _interrupts.append(number)
    end_if_twice(len(_interrupts))


def end_if_twice(interrupts: int) -> None:
  """Ends the process at the second SIGINT.

  Python calls a handler between two lines of its main thread alone, which may wait for a device:
  who reads the pipe counts for itself.
  """
  if interrupts > 1:
    end(130, 'interrupted twice: ended at once')


def end(code: int, words: str) -> None:
  """Ends the process without waiting for its threads, with its last words on stderr."""
  with contextlib.suppress(OSError):
    sys.stderr.write(words and f'{words}\n')
  settle()
  os._exit(code)


def settle() -> None:
  """Flushes what is printed; where nobody reads it any more, the rest of it goes nowhere.

  A terminal or a `| tee` may be gone, which must not change the exit code.
  """
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except OSError:
      os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def give_back(signalled: int) -> None:
  """The signals act as they do by default again; one that was noted does so now."""
  signal.set_wakeup_fd(-1)
  for number in LEAVE:
    if signal.getsignal(number) is _noted:
      is_interrupt = number == signal.SIGINT
      signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
  os.set_blocking(signalled, False)
  try:
    noted = os.read(signalled, 64)
  except BlockingIOError:
    return
  for number in LEAVE:
    if number in noted:
      os.kill(os.getpid(), number)
