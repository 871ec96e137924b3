"""Measures a diffusion transformer on one accelerator, against the rates of that device alone.

python -m benchmarks.gpu [--size=B] [--batch=256] [--steps=500] [--out=FILE.json]

Prints the seconds of a bfloat16 train step, the share of the device's measured matrix rate that its
model FLOPs reach (goal 0.5), the peak memory beside what the compiler predicts (as
experiments.compile does for a pod), sampling over its network evaluations alone (goal 1.2 or less),
and how far the bfloat16 loss curve is from the float32 one. Images are random: 32x32x3, 256 levels.
"""

import json
import pathlib
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import experiments
from benchmarks import ours, report
from genjax import configs, disk, memory, sharding, wiring
from genjax.pod import flops
from genjax.train import init, step

SIZE = flags.DEFINE_enum('size', 'B', ['toy', 'S', 'B', 'L'], 'Of the transformer (toy: a test).')
BATCH = flags.DEFINE_integer('batch', 256, 'Images of a step, and samples drawn.', lower_bound=1)
STEPS = flags.DEFINE_integer('steps', 500, 'Of each loss curve.', lower_bound=2)
NUM_STEPS = flags.DEFINE_integer('num_steps', 50, 'Of the sampler.', lower_bound=2)
TIMED = flags.DEFINE_integer('timed', 20, 'Calls that are timed, after three that are not.',
                             lower_bound=1)
OUT = flags.DEFINE_string('out', None, 'JSON file for the figures; none: only printed.')
WARM_UP = 3
GOALS = {'utilisation': 0.5, 'sampling over its evaluations': 1.2}
TOY = {f'networks.denoiser.kw.{key}': value for key, value in {
    'width': 16, 'num_blocks': 1, 'num_heads': 2, 'patch': 8}.items()}


def main(argv):
  del argv
  with tempfile.TemporaryDirectory(prefix='genjax-gpu-') as directory:
    data = random_images(pathlib.Path(directory))
    found = {'device': jax.devices()[0].device_kind, 'versions': report.versions(),
             'size': SIZE.value, 'batch': BATCH.value}
    found |= train_step(config_of(data, 'bfloat16'))
    found |= sampling(config_of(data, 'bfloat16'))
    found |= curves(*(loss_curve(config_of(data, dtype)) for dtype in ('float32', 'bfloat16')))
  for key, value in found.items():
    goal = f' (goal {GOALS[key]})' if key in GOALS else ''
    print(f'{key}: {value:.6g}{goal}' if type(value) is float else f'{key}: {value}{goal}')
  if OUT.value:
    disk.write_bytes(OUT.value, (json.dumps(found, indent=2) + '\n').encode())


def random_images(directory: pathlib.Path) -> dict:
  """Overrides of a config that make its data random; no figure here depends on what they show."""
  path = directory / 'images.npz'
  x = np.random.default_rng(0).integers(0, 256, (max(512, BATCH.value), 32, 32, 3), np.uint8)
  np.savez(path, x=x)
  return {'data.name': 'npz', 'data.kw': {'path': str(path)}}


def config_of(data: dict, dtype: str):
  """DiT on CIFAR-10's sizes, one step a dispatch, no dropout."""
  size = 'S' if SIZE.value == 'toy' else SIZE.value
  config = configs.load(f'configs/cifar10.py:denoiser=dit,size={size}')
  every = {'steps': 10**6, 'steps_per_dispatch': 1, 'log.every': 1, 'checkpoint.every': 1}
  configs.override(config, {
      **data, **every, **(TOY if SIZE.value == 'toy' else {}), 'batch_size': BATCH.value,
      'networks.denoiser.kw.dtype': dtype, 'sampler.kw.num_steps': NUM_STEPS.value})
  return config


def started(config):
  """(run, its initial state, raw rows of the first steps, one after the other)."""
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  return run, state, wiring.batches(run.source, 0, 1)


def seconds(call) -> float:
  """Median seconds of a call, which returns what it waits for."""
  times = []
  for _ in range(WARM_UP + TIMED.value):
    start = time.perf_counter()
    jax.block_until_ready(call())
    times.append(time.perf_counter() - start)
  return statistics.median(times[WARM_UP:])


def train_step(config) -> dict:
  """Seconds, share of the matrix rate, memory of one step."""
  run, state, batches = started(config)
  begun = time.perf_counter()
  program = sharding.compiled(step.lower_step(
      *wiring.dispatched(config, run, sharding.make_mesh(devices=jax.devices()[:1]))))
  begun = time.perf_counter() - begun
  rows, held = jax.device_put(next(batches)), {'state': state}

  def call():
    held['state'], metrics = program(held['state'], rows)
    return metrics

  taken, work = seconds(call), wiring.model_flops(config, run)
  rate = flops.matrix_rate(wiring.model_dtype(config))
  kept = jax.devices()[0].memory_stats() or {}  # a processor keeps none
  return {'parameters': ours.count(state.params), 'compile, s': begun, 'step, s': taken,
          'model FLOPs a step': float(work), 'matrix rate, FLOP/s': rate,
          'utilisation': work / taken / rate,
          'peak memory predicted, bytes': memory.of(program).peak_memory,
          'peak memory of the process, bytes': kept.get('peak_bytes_in_use', 'unknown')}


def sampling(config) -> dict:
  """Seconds of a batch of samples, and of as many evaluations of the network one by one."""
  run, state, _ = started(config)
  params, n = state.params['model'], BATCH.value
  spec = run.dataset.spec

  def draw(params, rng):
    return run.model.sample(params, rng, n, None)

  def evaluate(params, x):  # as many as the sampler's, each on what the last one said
    t = jnp.full((n,), 0.5)
    return jax.lax.fori_loop(
        0, evaluations,
        lambda _, x: run.model.diffusion.denoise(params, x, t, None, None).x_0, x)

  drawn = sharding.compiled(jax.jit(draw).lower(params, jax.random.key(1)))
  evaluations = int(drawn(params, jax.random.key(1))[1])
  x = jax.random.normal(jax.random.key(2), (n, *spec.shape))
  floor = sharding.compiled(jax.jit(evaluate).lower(params, x))
  taken = seconds(lambda: drawn(params, jax.random.key(1)))
  least = seconds(lambda: floor(params, x))
  return {'network evaluations': evaluations, 'samples, s': taken, 'evaluations alone, s': least,
          'sampling over its evaluations': taken / least}


def loss_curve(config) -> np.ndarray:
  """The losses of the first steps: same seed, rows and noise whatever the dtype."""
  run, state, batches = started(config)
  dispatch = wiring.compiled_step(config, run, sharding.make_mesh(devices=jax.devices()[:1]))
  losses = []
  for _ in range(STEPS.value):
    state, metrics = dispatch(state, next(batches))
    losses.append(metrics['model/loss'])
  return np.array(jax.device_get(losses), np.float64)


def curves(full: np.ndarray, half: np.ndarray) -> dict:
  """The means of the last tenth of two loss curves, and how far apart the curves are."""
  last = -max(1, len(full) // 10)
  return {'loss float32': float(full[last:].mean()), 'loss bfloat16': float(half[last:].mean()),
          'largest difference of a loss, relative': float(np.max(np.abs(half / full - 1.0)))}


if __name__ == '__main__':
  experiments.run(main)
