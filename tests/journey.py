"""A newcomer's way from a folder of images to a table: the commands of the README, and their time.

python -m tests.journey --dir=DIR [--run] [--steps=N]

Makes DIR/photos: 600 RGB images of 32 x 32, circles, squares and triangles, in train/CLASS and
test/CLASS; prints the commands, to be run from the root of the repository; with --run runs them
too, and prints their seconds. --steps shortens every training: the figures then mean nothing.
"""

import argparse
import os
import pathlib
import shlex
import subprocess
import sys
import time

import numpy as np

from genjax import disk
from tests import recipes

ROOT = pathlib.Path(__file__).parents[1]
SIDE = 32
NUM = {'train': 150, 'test': 50}  # of each class
FOLDER = 'photos'  # what the commands call the user's folder
COMMANDS = r'''
# what is read of it: splits, classes, sizes
python -m genjax train --config=configs/folder.py:path=photos --dry
# an encoder of one's own: in its features samples are compared
python -m genjax encoder --data=folder --path=photos --out=photos.npz
# three families, trained and measured; a table and a picture of samples are in runs/tables
python -m genjax table run --table=configs/tables/own_data.py:path=photos,encoder=photos.npz
# one family alone, and a folder of its samples
python -m genjax train --config=configs/folder.py:path=photos,family=vae,objective=kl \
    --config.steps=1000 --workdir=runs/photos
python -m genjax sample --workdir=runs/photos --num=100 --out=drawn/
'''.strip()


def inside(shape: str, height, width, side: float):
  """Whether points, relative to the middle of a shape of that side, lie in it."""
  if shape == 'circle':
    return height ** 2 + width ** 2 <= (side / 2) ** 2
  if shape == 'square':
    return np.maximum(abs(height), abs(width)) <= side / 2.3
  # narrow at the top: height runs downwards
  return (abs(height) <= side / 2) & (abs(width) <= (height + side / 2) / 2)


SHAPES = ('circle', 'square', 'triangle')


def image(random: np.random.Generator, shape: str) -> np.ndarray:
  """uint8 [SIDE, SIDE, 3]: one shape of a bright colour on a dark ground, both with noise."""
  height, width = np.mgrid[:SIDE, :SIDE] - random.uniform(11, SIDE - 11, (2, 1, 1))
  ground, colour = random.uniform(0, 80, 3), random.uniform(130, 255, 3)
  mask = inside(shape, height, width, random.uniform(12, 20))[..., None]
  x = np.where(mask, colour, ground) + random.normal(0, 6, (SIDE, SIDE, 3))
  return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def write_images(folder: pathlib.Path, num=NUM, seed: int = 0) -> None:
  """None; FOLDER/{train,test}/CLASS/NUMBER.png, the same for the same arguments."""
  from PIL import Image
  random = np.random.default_rng(seed)
  for split, count in num.items():
    for shape in SHAPES:
      where = folder / split / shape
      where.mkdir(parents=True)
      for i in range(count):
        Image.fromarray(image(random, shape)).save(where / f'{i:03d}.png')


def commands(steps: int | None = None) -> list[list[str]]:
  """The commands as lists of words; steps: of every training in them, else their own."""
  lines = recipes.commands(COMMANDS)
  if steps is None:
    return lines
  shorter = {'encoder': f'--steps={steps}', 'train': f'--config.steps={steps}'}
  return [_shorter(line, shorter.get(line[3], ''), steps) for line in lines]


def _shorter(line: list[str], flag: str, steps: int) -> list[str]:
  """A command with a flag instead of its own of that name, and steps in a table's argument."""
  name = flag.partition('=')[0]
  kept = [f'{word},steps={steps}' if word.startswith('--table=') else word
          for word in line if not flag or word.partition('=')[0] != name]
  return [*kept, flag] if flag else kept


def run(where: pathlib.Path, steps: int | None = None) -> list[tuple[str, float]]:
  """[(command, seconds)] of the commands, run in WHERE, beside the user's folder.

  Raises RuntimeError with what a command printed where it fails.
  """
  for name in ('genjax', 'experiments', 'configs'):
    if not (where / name).exists():
      (where / name).symlink_to(ROOT / name)
  # as after `source .venv/bin/activate`
  path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ['PATH']])
  seconds = []
  for line in commands(steps):
    start = time.perf_counter()
    done = subprocess.run(line, cwd=where, text=True, env={**os.environ, 'PATH': path},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
      raise RuntimeError(f'{shlex.join(line)} ends with {done.returncode}:\n{done.stdout}')
    seconds.append((shlex.join(line), time.perf_counter() - start))
    print(f'{seconds[-1][1]:6.0f} s  {seconds[-1][0]}\n{done.stdout}', flush=True)
  return seconds


def main():
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--dir', type=pathlib.Path, required=True)
  parser.add_argument('--run', action='store_true')
  parser.add_argument('--steps', type=int)
  args = parser.parse_args()
  args.dir.mkdir(parents=True, exist_ok=True)
  if not (args.dir / FOLDER).exists():
    write_images(args.dir / FOLDER)
  print(COMMANDS)
  if args.run:
    seconds = run(args.dir.absolute(), args.steps)
    print(disk.to_json({command: round(spent) for command, spent in seconds}))


if __name__ == '__main__':
  main()
