"""Kills a training run again and again, and compares its end with an uninterrupted one, bit by bit.

python -m tests.soak --kills=10 --seed=0 --dir=/tmp/soak
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
STEPS = 600
RUNS = {  # a run of one player and one of two
    'one_player': 'configs/digits.py:family=vae,objective=kl',
    'two_players': 'configs/digits.py:family=implicit,objective=wasserstein',
}


def command(config: str, workdir: pathlib.Path) -> list[str]:
  return [sys.executable, '-m', 'experiments.train', f'--config={config}', f'--workdir={workdir}',
          f'--config.steps={STEPS}', '--config.steps_per_dispatch=5', '--config.log.every=5',
          '--config.checkpoint.every=50', '--config.select.every=0',
          '--config.optim.decay=constant', '--noevaluate']


def last_logged(workdir: pathlib.Path) -> int:
  """The last step in metrics.jsonl; 0 before the first line, or when it is half written."""
  path = workdir / 'metrics.jsonl'
  lines = path.read_text().splitlines() if path.exists() else []
  for line in reversed(lines):
    if line.endswith('}'):
      return json.loads(line)['step']
  return 0


def digests(workdir: pathlib.Path) -> dict:
  """What the last checkpoint says of every array: its dtype, shape and digest."""
  directory = workdir / 'checkpoints'
  newest = max((p for p in directory.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
  assert int(newest.name) == STEPS, f'{newest} is not the last step, {STEPS}'
  return json.loads((newest / 'checkpoint.json').read_text())['content']['arrays']


def killed_run(config: str, workdir: pathlib.Path, kills: int, rng: random.Random) -> list[int]:
  """Runs to the end through `kills` SIGKILLs; returns the steps logged at each kill."""
  steps = []
  targets = sorted(rng.randrange(1, STEPS) for _ in range(kills))
  for target in targets:
    process = subprocess.Popen(command(config, workdir), cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while process.poll() is None and last_logged(workdir) < target:
      time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.2))  # anywhere in a step, a log line or a save
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps.append(last_logged(workdir))
  subprocess.run(command(config, workdir), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
  return steps


def soak(config: str, directory: pathlib.Path, kills: int, seed: int) -> list[int]:
  """Raises AssertionError unless the killed run ends as the uninterrupted one, bit for bit."""
  straight, killed = directory / 'straight', directory / 'killed'
  subprocess.run(command(config, straight), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
  steps = killed_run(config, killed, kills, random.Random(seed))
  assert digests(straight) == digests(killed), f'differs after kills at {steps}, seed {seed}'
  return steps


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=10)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--dir', type=pathlib.Path, required=True)
  args = parser.parse_args()
  for name, config in RUNS.items():
    steps = soak(config, args.dir / name, args.kills, args.seed)
    print(f'{name}: identical after kills at steps {steps} (seed {args.seed})', flush=True)


if __name__ == '__main__':
  main()
