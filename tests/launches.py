"""Launches two trainings on one run directory; the first must end as if it had been alone.

python -m tests.launches [--pairs=20] [--seed=0] [--dir=DIR]

The second launch of a pair starts after a random time: while the first imports, compiles, trains,
saves, or has ended. Where both start at once either may win. What is compared is every array of
the last checkpoint, bit by bit, and every line of the log but its times, with a run that was alone.
The one that comes too late is refused in one line, or goes on where the first has ended.
"""

import argparse
import json
import pathlib
import random
import tempfile
import time
from typing import NamedTuple

from genjax.runs import writer
from tests import jobs

STEPS = 600
FLAGS = ('--config=configs/digits.py:family=vae,objective=kl', f'--config.steps={STEPS}',
         '--config.steps_per_dispatch=1', '--config.log.every=20', '--config.checkpoint.every=20',
         '--config.batch_size=16', '--config.select.metric=', '--config.select.every=0',
         '--noevaluate')
TIMED = ('time', 'steps_per_second')


class Pair(NamedTuple):
  """What a pair of launches came to."""

  offset: float  # seconds between the starts
  codes: tuple[int, int]
  refused: str  # the one line of the one that was
  identical: bool


def launch(workdir: pathlib.Path, name: str):
  [process] = jobs.launch('experiments.train', '1x1f1', workdir.with_name(f'{workdir.name}.{name}'),
                          *FLAGS, f'--workdir={workdir}')
  return process


def said(workdir: pathlib.Path, name: str) -> str:
  """All that a launch has printed."""
  return workdir.with_name(f'{workdir.name}.{name}.0').read_text()


def outcome(workdir: pathlib.Path) -> tuple:
  """The digests of the last checkpoint, and the log without its times."""
  index = json.loads((workdir / 'checkpoints' / str(STEPS) / 'checkpoint.json').read_text())
  log = [{k: v for k, v in row.items() if k not in TIMED} for row in writer.read_metrics(workdir)]
  return index['content']['arrays'], log


def pair(workdir: pathlib.Path, offset: float, alone: tuple) -> Pair:
  """Two launches on a new directory."""
  first = launch(workdir, 'first')
  time.sleep(offset)
  second = launch(workdir, 'second')
  codes = tuple(jobs.finish([first, second]))
  refused = [line for name in ('first', 'second') for line in said(workdir, name).splitlines()
             if line.startswith('error: ')]
  clean = all('Traceback' not in said(workdir, name) for name in ('first', 'second'))
  ended = 0 in codes and set(codes) <= {0, 1} and len(refused) == codes.count(1)
  left = sorted(path.name for path in workdir.glob('*lease*'))
  return Pair(offset, codes, ''.join(refused),
              clean and ended and not left and outcome(workdir) == alone)


def soak(directory: pathlib.Path, pairs: int, seed: int) -> list[Pair]:
  """The outcomes of so many pairs, each printed when it has ended."""
  directory.mkdir(parents=True, exist_ok=True)
  random_, began = random.Random(seed), time.monotonic()
  assert jobs.finish([launch(directory / 'alone', 'first')]) == [0]
  lasted, alone, found = time.monotonic() - began, outcome(directory / 'alone'), []
  for number in range(pairs):
    # some start together; some when the first has just ended
    offset = random_.choice((0.0, random_.uniform(0, 1), random_.uniform(0, 1.1 * lasted)))
    result = pair(directory / f'pair{number}', offset, alone)
    found.append(result)
    print(f'pair {number}, {offset:.2f} s apart: exit {result.codes[0]} and {result.codes[1]}, '
          f'{"as if alone" if result.identical else "NOT as if alone"}  {result.refused[:150]}',
          flush=True)
  return found


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--pairs', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--dir', type=pathlib.Path, default=None)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    found = soak(args.dir or pathlib.Path(folder), args.pairs, args.seed)
  same = sum(result.identical for result in found)
  print(f'{same} of {len(found)} pairs ended as if the first had been alone (seed {args.seed})')
  raise SystemExit(same < len(found))


if __name__ == '__main__':
  main()
