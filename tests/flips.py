"""Flips bits of the files that figures come from: no figure may change without a word.

python -m tests.flips [--num=200] [--seed=0] [--dir=DIR] [--only=KIND]

Makes the run of tests/damaged.py. Then, NUM times, one bit of one of its files is flipped or the
file is cut short, and whatever opens that file is read again. Each kind of file is drawn equally
often, one in ten of the files that nothing opens. Half of the time the file keeps its time of
modification, as on a failing disk.

  no figure   no reader opens the file
  recomputed  the figures of before
  said        another figure, after a warning (an older checkpoint, say)
  refused     one line says what is damaged
  silent      another figure, and no word
  crash       any other exception

Exit code 1 where anything is silent or a crash.
"""

import argparse
import collections
import faulthandler
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax

import experiments
from tests import damaged, programs
from tests.rereading import BAD, OUTCOMES, Known, Opened, listening, outcome

COMPILED = 'compiled programs'
# the first expression that a path has; a file of none of these kinds is one by its own name
KINDS = (
    (r'^runs/[^/]+/checkpoints/\d+/checkpoint\.json$', 'checkpoint: index'),
    (r'^runs/[^/]+/checkpoints/', 'checkpoint: arrays'),
    (r'^runs/[^/]+/evals/', 'evals/HASH.json'),
    (r'^runs/[^/]+/samples/.*npz$', 'samples/*.npz'),
    (r'\.png$', 'pictures'),
    (r'^runs/[^/]+/events', 'TensorBoard events'),
    (r'^cache/features/', 'kept features'),
    (r'^cache/figures/', 'kept figures'),
    (r'^cache/xla/', COMPILED),
    (r'^cache/data/.*npy$', 'prepared arrays'),
    (r'^cache/data/', 'prepared identity'),
    (r'^table/', 'written tables and logs'),
)
FORGET = 20  # flips after which compiled programs leave the memory


class Flip(NamedTuple):
  """One damage: bit `at` of the file is flipped, or the file is cut to `at` bytes."""

  path: str  # below LIVE
  operation: str  # 'bit' | 'cut'
  at: int
  keeps_time: bool

  def __str__(self):
    time_word = ', time kept' if self.keeps_time else ''
    return f'{self.path}: {self.operation} {self.at}{time_word}'


def kind_of(path: str) -> str:
  """The kind of a file by its path below LIVE."""
  return next((kind for expression, kind in KINDS if re.search(expression, path)),
              pathlib.PurePath(path).name)


def by_kind(live: pathlib.Path) -> dict[str, list[str]]:
  """{kind: paths below LIVE} of all files that hold a byte."""
  files = collections.defaultdict(list)
  for path in sorted(live.rglob('*')):
    if path.is_file() and path.stat().st_size:
      relative = str(path.relative_to(live))
      files[kind_of(relative)].append(relative)
  return dict(files)


def draw(random_: random.Random, live: pathlib.Path, files: Mapping[str, list[str]],
         opens: set[str]) -> Flip:
  """A damage of a random file of a random kind, nine in ten of a file that some reader opens.

  Three in four are bits.
  """
  is_read = random_.random() < 0.9
  chosen = {kind: kept for kind, paths in files.items()
            if (kept := [path for path in paths if (path in opens) == is_read])} or files
  path = random_.choice(chosen[random_.choice(sorted(chosen))])
  size = (live / path).stat().st_size
  operation = random_.choice(('bit', 'bit', 'bit', 'cut'))
  return Flip(path, operation, random_.randrange(8 * size if operation == 'bit' else size),
              random_.random() < 0.5)


def restore(pristine: pathlib.Path, live: pathlib.Path) -> None:
  """LIVE as it was, by hard links."""
  shutil.rmtree(live, ignore_errors=True)
  shutil.copytree(pristine, live, copy_function=os.link)


def damage(live: pathlib.Path, flip: Flip) -> None:
  """Damages a copy that takes the place of the link."""
  path = live / flip.path
  before, content = path.stat(), bytearray(path.read_bytes())
  if flip.operation == 'bit':
    content[flip.at // 8] ^= 1 << flip.at % 8
  else:
    del content[flip.at:]
  path.unlink()
  path.write_bytes(content)
  if flip.keeps_time:
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def baseline(root: pathlib.Path, pristine: pathlib.Path) -> dict[str, Known]:
  """{reader: Known}; leaves in PRISTINE what the first pass has written, and has the second read.

  Raises RuntimeError where two passes differ: then no change could be told from chance.
  """
  live, known = root / 'live', {}
  opened, readers = Opened(live), damaged.readers(root)
  first = {name: read() for name, read in readers.items()}
  live.rename(pristine)
  for name, read in readers.items():
    restore(pristine, live)
    jax.clear_caches()  # what is compiled is to come from its files
    with opened.watch() as opens, listening() as words:
      figures = read()
    if figures != first[name]:
      raise RuntimeError(f'{name} differs between two passes: {first[name]} and {figures}')
    known[name] = Known(read, figures, words, opens)
  return known


class Result(NamedTuple):
  """The worst outcome of a damage, whose reader met it, and what was said or changed."""

  flip: Flip
  outcome: str = 'no figure'
  reader: str = ''
  words: str = ''


def run(root: pathlib.Path, num: int, seed: int, only: str = '') -> list[Result]:
  """The results of `num` damages of files whose kind has `only` in its name."""
  live, pristine = damaged.make(root), root / 'pristine'
  experiments.keep_compiled()
  known = baseline(root, pristine)
  whole = programs.content(pristine)
  files = {kind: paths for kind, paths in by_kind(pristine).items() if only in kind}
  random_, results = random.Random(seed), []
  opens = set().union(*(each.opens for each in known.values()))
  for number in range(num):
    flip = draw(random_, pristine, files, opens)
    if kind_of(flip.path) == COMPILED or number % FORGET == 0:
      jax.clear_caches()
    outcomes = [Result(flip)]
    for name, each in known.items():
      if flip.path in each.opens:
        restore(pristine, live)
        damage(live, flip)
        met, words = outcome(each.read, each.figures, each.words)
        outcomes.append(Result(flip, met, name, words))
    worst = max(outcomes, key=lambda result: OUTCOMES.index(result.outcome))
    results.append(worst)
    if worst.outcome in BAD:
      print(f'{number}: {worst.outcome}: {flip}; {worst.reader}: {worst.words}', flush=True)
  if programs.content(pristine) != whole:
    raise RuntimeError('a reader has written into files that it shares with other flips')
  return results


def summary(results: Iterable[Result]) -> str:
  """A Markdown table: outcomes by kind of file."""
  counts = collections.Counter((kind_of(each.flip.path), each.outcome) for each in results)
  lines = [f'| file | {" | ".join(OUTCOMES)} |', f'|---|{"---|" * len(OUTCOMES)}']
  for kind in sorted({kind for kind, _ in counts}):
    lines.append(f'| {kind} | {" | ".join(str(counts[kind, o] or "") for o in OUTCOMES)} |')
  totals = (str(sum(n for (_, o), n in counts.items() if o == each)) for each in OUTCOMES)
  return '\n'.join([*lines, f'| all | {" | ".join(totals)} |'])


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--num', type=int, default=200)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--only', default='', help='kinds of files that have this in their name')
  parser.add_argument('--dir', type=pathlib.Path, help='a new folder; none: a temporary one')
  args = parser.parse_args()
  faulthandler.enable()  # a reader that the system kills is not a Python exception
  start = time.perf_counter()
  with tempfile.TemporaryDirectory() as folder:
    results = run((args.dir or pathlib.Path(folder)) / 'flips', args.num, args.seed, args.only)
  print(summary(results))
  print(f'{args.num} flips, seed {args.seed}, {time.perf_counter() - start:.0f} s')
  return int(any(each.outcome in BAD for each in results))


if __name__ == '__main__':
  sys.exit(main())
