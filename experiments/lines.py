"""Progress of a program: a bar in a terminal, else a line every 30 seconds."""

import contextlib
import sys
import threading
import time
from collections.abc import Sized

INTERVAL = 30.0  # seconds between two lines


def show(*args, visible: bool = True, **kw):
  """A progress bar with the interface of tqdm(*args, **kw), or `Lines` without a terminal."""
  from tqdm import tqdm
  if not visible:
    return tqdm(*args, disable=True, **kw)
  return tqdm(*args, **kw) if sys.stderr.isatty() else Lines(*args, **kw)


class Lines:
  """The content of a tqdm bar as lines on stderr, to show that a job without a terminal runs.

  A thread prints them, even during a step of minutes.
  """

  def __init__(self, iterable=None, total: int | None = None, initial: int = 0, unit: str = 'it',
               desc: str = '', interval: float = INTERVAL, **of_a_bar):
    del of_a_bar  # options that only a bar has
    self.iterable, self.unit, self.desc = iterable, unit, desc
    self.total = len(iterable) if total is None and isinstance(iterable, Sized) else total
    self.n, self.postfix, self.done = initial, {}, threading.Event()
    self.last = (initial, time.monotonic())
    threading.Thread(target=self._print, args=(interval,), daemon=True).start()

  def __iter__(self):
    with self:
      for item in self.iterable:
        yield item
        self.update(1)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def update(self, n: int = 1) -> None:
    """Counts n more."""
    self.n += n

  def set_postfix(self, values=None, refresh: bool = True, **more) -> None:
    """Sets the values that are shown next to the count."""
    del refresh
    self.postfix = {**(values or {}), **more}

  def close(self) -> None:
    """Ends the lines."""
    self.done.set()

  def _print(self, interval: float) -> None:
    while not self.done.wait(interval):
      with contextlib.suppress(OSError, ValueError):  # the reader is gone
        print(self.line(time.monotonic()), file=sys.stderr, flush=True)

  def line(self, now: float) -> str:
    """'step 1,200 of 5,000, loss 0.53, 3.4 step/s, 18 min 38 s left', since the last line."""
    n, (before, then) = self.n, self.last
    self.last = n, now
    of = f' of {self.total:,}' if self.total else ''
    parts = [f'{self.desc + ": " if self.desc else ""}{self.unit} {n:,}{of}',
             *(f'{name} {value}' for name, value in self.postfix.items())]
    rate = (n - before) / max(now - then, 1e-9)
    if rate > 0:
      parts.append(f'{rate:.3g} {self.unit}/s')
      if self.total:
        parts.append(f'{_duration((self.total - n) / rate)} left')
    return ', '.join(parts)


def _duration(seconds: float) -> str:
  """'2 h 5 min', '18 min 38 s' or '9 s'."""
  seconds = round(seconds)
  hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
  if hours:
    return f'{hours} h {minutes} min'
  return f'{minutes} min {rest} s' if minutes else f'{rest} s'
