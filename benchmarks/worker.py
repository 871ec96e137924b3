"""One side of a comparison in a process of its own: warmed up, then one block for each line read.

python -m benchmarks.worker WORKLOAD SIDE CORES SECONDS

First line written: facts about the side as JSON. Then, for each line on stdin, a block of about
SECONDS, answered by a JSON line; the end of stdin ends the process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import rounds
from experiments import memory

WARM_UP = 2.0  # blocks' worth of calls before the first line


class Started(NamedTuple):
  """The parent's end of a worker process."""

  facts: dict  # the first line: parameters, calls in a block, and the side's own
  block: Callable  # () -> Block
  close: Callable  # () -> None


def start(workload: str, side: str, cores: int, seconds: float) -> Started:
  """Starts a side; returns when it is warm. Raises RuntimeError, with its name, when it dies.

  Every side has the large pages that our programs give themselves.
  """
  process = subprocess.Popen(
      [sys.executable, '-m', 'benchmarks.worker', workload, side, str(cores), str(seconds)],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
      env=memory.with_large_pages(os.environ))

  def answer() -> dict:
    line = process.stdout.readline()
    if not line:
      raise RuntimeError(f'{side} of {workload} ended with exit code {process.wait()}')
    return json.loads(line)

  def run() -> rounds.Block:
    process.stdin.write('block\n')
    process.stdin.flush()
    return rounds.Block(**answer())

  def close() -> None:
    process.stdin.close()
    process.wait()
    process.stdout.close()

  return Started(answer(), run, close)


def restrict(cores: int) -> None:
  """Ties this process to so many cores, before any library counts them."""
  available = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, available[-cores:])
  os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = str(cores)


def block(side: rounds.Side, calls: int) -> rounds.Block:
  """`calls` calls, timed from the first to the end of the last."""
  busy, cpu, wall = rounds.busy(), time.process_time(), time.perf_counter()
  for _ in range(calls):
    side.call()
  side.finish()
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  others = rounds.foreign(rounds.busy() - busy, cpu, wall)
  return rounds.Block(wall / (calls * side.steps), cpu / (calls * side.steps), others)


def calibrate(side: rounds.Side, seconds: float) -> int:
  """Warms up and returns how many calls take about `seconds` of CPU of one core, at least 1."""
  side.call()
  side.finish()
  calls, spent = 1, 0.0
  while spent < WARM_UP * seconds:
    per_call = max(min(block(side, calls)[:2]) * side.steps, 1e-6)
    spent += per_call * calls
    calls = max(int(seconds / per_call), 1)
  return calls


def main(workload: str, name: str, cores: str, seconds: str) -> None:
  restrict(int(cores))
  out = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print must not be read as an answer
  from benchmarks import workloads  # after the number of cores is settled
  side = workloads.side(workload, name, int(cores))
  calls = calibrate(side, float(seconds))
  say = lambda answer: (out.write(json.dumps(answer) + '\n'), out.flush())
  say({'parameters': side.parameters, 'calls': calls, **side.facts})
  for _ in sys.stdin:
    say(block(side, calls)._asdict())


if __name__ == '__main__':
  main(*sys.argv[1:])
