"""Signals that ask a program to leave, noted from its first moment on; light to import."""

import contextlib
import os
import signal
import sys

# kill and preemption, Ctrl-C, a closed terminal, Slurm's warning
LEAVE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_interrupts = []


def block() -> None:
  """Makes the signals wait until `note`, which a new program in this process may call too."""
  signal.pthread_sigmask(signal.SIG_BLOCK, LEAVE)


def note() -> int:
  """The reading end of a pipe, to which the signals of LEAVE are written from now on.

  They no longer end the process, but a second SIGINT does at once, with 130. Those that the caller
  has set to be ignored (nohup, a job in the background) stay ignored.
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

  Python calls a handler only between two lines of its main thread, which may wait for a device, so
  the reader of the pipe counts for itself.
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
  """Flushes what was printed; output that nobody reads any more is discarded.

  A terminal or a `| tee` may be gone, which must not change the exit code.
  """
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except OSError:
      os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def give_back(signalled: int) -> None:
  """Restores the default action of the signals; one that was noted acts now."""
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
