"""What a reader of files gives, says and opens, and whether it gives the same after a damage."""

import contextlib
import logging
import os
import pathlib
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import NamedTuple

from absl import logging as absl_logging

from genjax.types import BadInput

# the worst is last
OUTCOMES = ('no figure', 'recomputed', 'said', 'refused', 'silent', 'crash')
BAD = ('silent', 'crash')


class Known(NamedTuple):
  """What a reader gives when nothing is damaged."""

  read: Callable[[], dict]
  figures: dict
  words: set[str]
  opens: set[str]


class Opened:
  """The files below LIVE that this process opens while `watch` is entered."""

  def __init__(self, live: pathlib.Path):
    self.live, self.paths, self.watching = live.resolve(), set(), False
    sys.addaudithook(self._hook)

  def _hook(self, event: str, arguments: tuple) -> None:
    if self.watching and event == 'open' and isinstance(arguments[0], str | bytes | os.PathLike):
      path = pathlib.Path(os.fsdecode(arguments[0])).absolute()
      if path.is_relative_to(self.live):
        self.paths.add(path)

  @contextlib.contextmanager
  def watch(self):
    """Yields a set that holds, on leaving, the paths below LIVE; of a checkpoint all its files."""
    relative, self.paths, self.watching = set(), set(), True
    try:
      yield relative
    finally:
      self.watching = False
      for path in self.paths:
        # the arrays are opened by a library in C++, after the index
        group = path.parent.rglob('*') if path.name == 'checkpoint.json' else [path]
        relative.update(str(p.relative_to(self.live)) for p in group if p.is_file())


@contextlib.contextmanager
def listening():
  """Yields a set of what is warned of, by `warnings` and by the log."""
  words = set()

  class Listener(logging.Handler):
    def emit(self, record):
      words.add(record.getMessage())

  listener, logger = Listener(logging.WARNING), absl_logging.get_absl_logger()
  logger.addHandler(listener)
  propagates, logger.propagate = logger.propagate, False  # heard here, and not printed
  try:
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter('always', UserWarning)
      yield words
  finally:
    logger.removeHandler(listener)
    logger.propagate = propagates
    words.update(str(each.message) for each in caught)


def outcome(read: Callable[[], dict], figures: dict, usual: set[str]) -> tuple[str, str]:
  """(outcome, what was said or which figure changed) of one reader after a damage.

  figures: those of before; usual: what is warned of when nothing is damaged.
  """
  try:
    with listening() as words:
      now = read()
  except (BadInput, OSError) as error:
    return 'refused', str(error)
  except Exception:  # noqa: BLE001 whatever it is, it is what is looked for
    return 'crash', traceback.format_exc()
  if now == figures:
    return 'recomputed', ''
  changed = ', '.join(sorted(name for name in {*now, *figures}
                             if now.get(name) != figures.get(name)))
  new = sorted(words - usual)
  return ('said', new[0]) if new else ('silent', changed)
