"""Signals at random moments of slow steps: the run is saved within two steps, and the save.

python -m tests.signals [--num=20] [--seed=0] [--seconds=2] [--dir=DIR]

A UNet on 32 x 32 RGB images takes --seconds or more a step: the batch is chosen for that. SIGTERM
and SIGINT take turns. Printed are the seconds until no step is under way, which must be at most
two steps, and those of the save.
"""

import argparse
import pathlib
import random
import signal
import tempfile
import time
from typing import NamedTuple

import numpy as np

from genjax.cluster import checkpoint
from genjax.runs import writer
from tests import jobs, programs

CONFIG = ('family=diffusion,objective=score_matching,denoiser=unet,denoiser.width=32,'
          'denoiser.num_blocks=1')
EXIT, PROBE = 42, 4  # the exit code of a run that was stopped; the batch that is timed first
SPREAD = 1.25  # of the time of a step around its mean, on a machine that others use


class Stop(NamedTuple):
  """What a signal led to."""

  name: str
  code: int
  step: float  # seconds of a step, the mean of this run
  waited: float  # seconds from the signal until no step was under way
  rest: float  # from there to the exit: the save
  saved: list[int]  # steps

  def is_right(self) -> bool:
    """Saved once, within two steps."""
    return self.code == EXIT and len(self.saved) == 1 and self.waited <= 2 * SPREAD * self.step


def images(path: pathlib.Path) -> None:
  """An npz of 512 images of 32 x 32."""
  np.savez(path, x=np.random.default_rng(0).integers(0, 256, (512, 32, 32, 3), np.uint8))


def launch(directory: pathlib.Path, name: str, batch_size: int, *more: str):
  """A training that logs and saves when it is stopped, not before."""
  [process] = jobs.launch(
      'experiments.train', '1x1f1', directory / f'{name}.log', *programs.merged(
          f'--config=configs/folder.py:path={directory / "images.npz"},{CONFIG}',
          '--config.steps=100000', '--config.steps_per_dispatch=1', '--config.log.every=100000',
          '--config.checkpoint.every=100000', f'--config.batch_size={batch_size}',
          '--config.optim.warmup=0', '--config.select.metric=', '--config.select.every=0',
          '--noevaluate', f'--workdir={directory / name}', *more))
  return process


def batch_for(directory: pathlib.Path, seconds: float) -> int:
  """A batch size with which a step takes so long on this machine."""
  assert jobs.finish([launch(directory, 'probe', PROBE, '--config.steps=6',
                             '--config.log.every=2')], 600) == [0], directory / 'probe.log.0'
  rate = max(row['steps_per_second'] for row in writer.read_metrics(directory / 'probe')[1:])
  return int(np.ceil(1.25 * PROBE * seconds * rate))


def stop(directory: pathlib.Path, number: int, name: str, batch_size: int, wait: float) -> Stop:
  """Sends the signal so many seconds after the first step has begun."""
  workdir = directory / f'run{number}'
  process = launch(directory, workdir.name, batch_size)
  assert jobs.wait_until((workdir / 'config.json').exists, [process]), f'{workdir}.log.0'
  time.sleep(wait)
  process.send_signal(getattr(signal, name))
  sent = time.time()
  [code] = jobs.finish([process], 600)
  ended, rows = time.time(), writer.read_metrics(workdir)
  saved = checkpoint.steps(workdir / 'checkpoints')
  if not rows:  # no step had begun
    return Stop(name, code, float('nan'), ended - sent, 0.0, saved)
  # the only line: it is written when the last step has ended, right before the save
  idle = rows[-1]['time']
  return Stop(name, code, 1.0 / rows[-1]['steps_per_second'], max(0.0, idle - sent), ended - idle,
              saved)


def soak(directory: pathlib.Path, num: int, seed: int, seconds: float) -> list[Stop]:
  """The outcomes of so many signals, each printed."""
  # a shell starts jobs in the background with SIGINT ignored, and so would this its own
  signal.signal(signal.SIGINT, signal.default_int_handler)
  directory.mkdir(parents=True, exist_ok=True)
  images(directory / 'images.npz')
  random_, stops = random.Random(seed), []
  batch_size = batch_for(directory, seconds)
  for number in range(num):
    name = ('SIGTERM', 'SIGINT')[number % 2]
    result = stop(directory, number, name, batch_size, random_.uniform(1.0, 5.0) * seconds)
    stops.append(result)
    print(f'{name}: exit {result.code}, no step under way after {result.waited:.2f} s = '
          f'{result.waited / result.step:.2f} steps of {result.step:.2f} s, save and exit '
          f'{result.rest:.2f} s, saved {result.saved}: {"right" if result.is_right() else "WRONG"}',
          flush=True)
  return stops


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--num', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--seconds', type=float, default=2.0)
  parser.add_argument('--dir', type=pathlib.Path, default=None)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    stops = soak(args.dir or pathlib.Path(folder), args.num, args.seed, args.seconds)
  right = sum(result.is_right() for result in stops)
  print(f'{right} of {len(stops)} signals were obeyed within two steps and a save (seed '
        f'{args.seed}); the longest wait was {max(r.waited / r.step for r in stops):.2f} steps')
  raise SystemExit(right < len(stops))


if __name__ == '__main__':
  main()
