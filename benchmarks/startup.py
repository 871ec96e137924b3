"""From the start of a process to its first train step, and to the end of its imports."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks import rounds, worker

IMPORTS = 'import jax, flax, optax; print(flush=True)'
POLL = 0.002  # seconds
LIMIT = 300.0


def cpu_of(pid: int) -> float:
  """CPU seconds of a process so far, all threads."""
  fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
  return (int(fields[11]) + int(fields[12])) / rounds.TICK


def timed(command: list[str], there, cores: int, env: dict) -> rounds.Block:
  """Starts the command, waits until there(process), and ends it."""
  busy, start = rounds.busy(), time.perf_counter()
  process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, preexec_fn=lambda: worker.restrict(cores))
  try:
    while not there(process):
      if process.poll() is not None or time.perf_counter() - start > LIMIT:
        raise RuntimeError(f'{" ".join(command)} did not get there: {process.stderr.read()}')
      time.sleep(POLL)
    wall, cpu = time.perf_counter() - start, cpu_of(process.pid)
    others = rounds.foreign(rounds.busy() - busy, cpu, wall)
  finally:
    process.kill()
    process.communicate()
  return rounds.Block(wall, cpu, others)


def sides(text: str, cores: int, cache: str) -> dict:
  """{'train', 'import'} -> function () -> Block for the config `text`.

  'train' is experiments.train itself in a new run directory with one step a dispatch, up to the
  line of metrics.jsonl that follows the first; compiled programs are kept in `cache`, which is
  filled before the first round.
  """
  env = {**os.environ, 'GENJAX_CACHE': cache}

  def train() -> rounds.Block:
    workdir = pathlib.Path(tempfile.mkdtemp(prefix='genjax-start-'))
    command = [sys.executable, '-m', 'experiments.train', f'--config={text}',
               f'--workdir={workdir}', '--noevaluate',
               *(f'--config.{key}=1' for key in ('steps', 'steps_per_dispatch', 'log.every',
                                                 'checkpoint.every'))]
    lines = workdir / 'metrics.jsonl'
    try:
      return timed(command, lambda _: lines.exists() and lines.stat().st_size, cores, env)
    finally:
      shutil.rmtree(workdir)

  def libraries() -> rounds.Block:
    return timed([sys.executable, '-c', IMPORTS], lambda p: p.stdout.readline(), cores, env)

  for _ in range(2):  # the first run compiles, the second brings the files into memory
    train()
  return {'train': train, 'import': libraries}
