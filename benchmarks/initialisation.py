"""Seconds to make the initial state of a run: replayed on the host, and compiled by jax.jit.

python -m benchmarks.initialisation [--of=FILE.py:ARGUMENT ...] [--devices=1,8] [--rounds=3]

Every figure is of a process of its own, after imports, data and the shapes of the state: the replay
(genjax.train.init), jax.jit(init, out_shardings) with an empty compilation cache, and with the one
that it filled. The sides take turns. Devices are simulated; prints Markdown.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import flags

import experiments
from benchmarks import metrics, report, rounds
from experiments import config as configs
from genjax import data, sharding, wiring
from genjax.numerics import streams
from genjax.train import init

CONFIGS = ('configs/digits.py:family=vae',
           'configs/digits.py:family=diffusion,objective=score_matching',
           'configs/cifar10.py', 'configs/imagenet256.py:size=B')
SIDES = ('replayed', 'compiled, no cache', 'compiled, from the cache')
COLUMNS = ['config', 'devices', 'parameters',
           *(f'{side}, {unit}' for side in SIDES for unit in ('CPU s', 's', 'peak GiB'))]
TEXTS = flags.DEFINE_multi_string('of', CONFIGS, 'Configs to measure, each by a flag of its own.')
DEVICES = flags.DEFINE_list('devices', ['1', '8'], 'Numbers of simulated devices.')
ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds per figure.', lower_bound=1)
SIDE = flags.DEFINE_enum('side', None, SIDES, 'Measures one side in this process, on its devices.')


def main(argv):
  if SIDE.value:
    print(json.dumps(measured(configs.load(TEXTS.value[0]), SIDE.value)))
    return
  rows = [row(text, int(devices)) for devices in DEVICES.value for text in TEXTS.value]
  print(report.machine(), report.versions(), report.table(COLUMNS, rows), sep='\n\n')


def measured(config, side: str) -> dict:
  """{'wall', 'cpu': seconds, 'parameters', 'peak': GiB of this process} of one initialisation."""
  devices = jax.device_count()
  config.mesh.fsdp = min(config.mesh.fsdp, devices)
  made = wiring.run(config, data.declared(config.data.name, **wiring.plain(config.data.kw)))
  rows, rng = wiring.abstract_rows(config, made), streams.stream(config.seed, streams.Purpose.INIT)
  mesh = wiring.mesh(config)
  with sharding.on(mesh):
    like = wiring.abstract_state(config, made, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, like) if mesh.size > 1 else None
    wall, cpu = time.perf_counter(), time.process_time()
    if side == 'replayed':
      state = init.initialise(made.init, rng, rows, shardings)
    else:
      rows = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), rows)
      state = jax.jit(made.init, out_shardings=shardings)(rng, rows)
    jax.block_until_ready(state)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  return {'wall': wall, 'cpu': cpu, 'peak': metrics.peak() / 2**30,
          'parameters': sum(x.size for x in jax.tree.leaves(state.params))}


def row(text: str, devices: int) -> dict:
  """The medians of one config, all sides in turn, by the columns of the table."""
  figures = {side: [] for side in SIDES}
  for _ in range(ROUNDS.value):
    with tempfile.TemporaryDirectory(prefix='genjax-init-') as cache:
      for side in SIDES:
        figures[side].append(in_its_own_process(text, side, devices, cache))
  made = {'config': text, 'devices': devices,
          'parameters': f'{figures[SIDES[0]][0]["parameters"]:,}'}
  for side, found in figures.items():
    for unit, field in (('CPU s', 'cpu'), ('s', 'wall'), ('peak GiB', 'peak')):
      made[f'{side}, {unit}'] = report.show(rounds.summary(one[field] for one in found))
  return made


def in_its_own_process(text: str, side: str, devices: int, cache: str) -> dict:
  """What `measured` finds in a new process with that compilation cache."""
  env = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': cache,
         'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0', 'JAX_PLATFORMS': 'cpu',
         'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}'}
  done = subprocess.run([sys.executable, '-m', 'benchmarks.initialisation', f'--of={text}',
                         f'--side={side}'], env=env, capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(f'{text}, {side}, {devices} device(s): {done.stderr[-2000:]}')
  return json.loads(done.stdout.splitlines()[-1])


if __name__ == '__main__':
  experiments.run(main, needs_config=False)
