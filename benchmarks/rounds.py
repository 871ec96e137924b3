"""The method: sides in turn, in short blocks; ratios inside a round; disturbed rounds discarded.

A round is one block of every side, in an order that rotates from round to round; two sides are
compared inside a round alone, because the machine drifts.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

MAX_FOREIGN = 0.25  # cores that others may use during a block
PATIENCE = 4  # x the rounds asked for: so many may be discarded before the measurement gives up
PAUSE = 0.5  # seconds to wait after a disturbed round
TICK = os.sysconf('SC_CLK_TCK')


class Side(NamedTuple):
  """What is measured of one party to a comparison."""

  call: Callable  # () -> None: one call, which may return before the work is done
  finish: Callable  # () -> None: waits until it is
  steps: int  # that one call makes
  parameters: int  # that it trains or samples from
  facts: dict  # for the table: {'note': ...}


class Block(NamedTuple):
  """Seconds per step of one side, by the clock and of its CPU, and who else was there."""

  wall: float
  cpu: float
  foreign: float  # cores that other processes used meanwhile


class Rounds(NamedTuple):
  """The clean rounds, {side: Block} each, how many were discarded, and the foreign use of both."""

  kept: tuple
  discarded: int
  foreign: float  # median over all rounds, in cores


class Summary(NamedTuple):
  """Median and range of one figure over the rounds."""

  median: float
  low: float
  high: float


def collect(sides: Mapping[str, Callable], rounds: int, *, gate: bool = True,
            limit: float = MAX_FOREIGN, patience: int = PATIENCE, pause: float = PAUSE) -> Rounds:
  """Runs rounds until `rounds` are clean, or patience x rounds were not.

  gate False: every round is kept, whoever else computes (for CPU seconds alone).
  """
  names, kept, seen, discarded = list(sides), [], [], 0
  while len(kept) < rounds and discarded < patience * rounds:
    first = (len(kept) + discarded) % len(names)
    blocks = {name: sides[name]() for name in names[first:] + names[:first]}
    seen.append(max(block.foreign for block in blocks.values()))
    if gate and seen[-1] > limit:
      discarded += 1
      time.sleep(pause)
    else:
      kept.append(blocks)
  return Rounds(tuple(kept), discarded, statistics.median(seen))


def summary(values) -> Summary:
  """Median [min, max]; raises ValueError when there is none."""
  values = list(values)
  if not values:
    raise ValueError('no clean round')
  return Summary(statistics.median(values), min(values), max(values))


def ratio(kept, peer: str, ours: str, field: str) -> Summary:
  """Seconds of the peer over ours, by 'wall' or 'cpu', formed inside each round."""
  return summary(getattr(r[peer], field) / getattr(r[ours], field) for r in kept)


def difference(kept, more: str, less: str, field: str) -> Summary:
  """Seconds of one side minus those of another, formed inside each round."""
  return summary(getattr(r[more], field) - getattr(r[less], field) for r in kept)


def seconds(kept, side: str, field: str) -> Summary:
  """Seconds per step of one side."""
  return summary(getattr(r[side], field) for r in kept)


def busy(text: str | None = None, cores=None) -> float:
  """CPU seconds that all processes used since boot on these cores (None: those we may use).

  text: what /proc/stat holds. Time stolen by other machines counts: it is gone as well.
  """
  if text is None:
    with open('/proc/stat', encoding='ascii') as file:
      text = file.read()
  cores = {f'cpu{i}' for i in (os.sched_getaffinity(0) if cores is None else cores)}
  total = 0
  for line in text.splitlines():
    name, *ticks = line.split()
    if name in cores:
      user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
      total += user + nice + system + irq + softirq + steal
  return total / TICK


def foreign(all_seconds: float, own_seconds: float, wall: float) -> float:
  """Cores that others used; clocks tick in hundredths, so that it may round to just below 0."""
  return max((all_seconds - own_seconds) / wall, 0.0)
