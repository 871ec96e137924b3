"""Our side: what the programs run, from a config, without the loop around it."""

import math
import pathlib
import tempfile

import jax
import numpy as np

from benchmarks import rounds
from genjax import configs, sharding, wiring
from genjax.train import init

LR = 1e-3
DATA = {'plane': {'data.name': 'ring8'}, 'digits': {'data.name': 'digits'},
        'vectors': {'data.name': 'gaussian'}}


def config_of(workload, k: int):
  """The workload's config: its sizes, Adam alone (no average, clipping or decay), K steps."""
  config = configs.load(workload.config)
  sizes = {f'{"networks." if section in config.networks else ""}{section}.kw.{key}': value
           for section, kw in workload.kw.items() for key, value in kw.items()}
  data = images() if workload.data == 'images' else DATA[workload.data]
  every = {'steps': 1000 * k, 'log.every': k, 'checkpoint.every': k, 'select.every': 0}
  configs.override(config, {
      **data, **sizes, **every, 'steps_per_dispatch': k, 'batch_size': workload.batch_size,
      'ema': 0.0, 'optim.lr': LR, 'optim.clip': 0.0, 'optim.decay': 'constant', 'optim.warmup': 0})
  return config


def images() -> dict:
  """Random images of 28x28 pixels and 256 levels: the time of a step does not depend on them."""
  path = pathlib.Path(tempfile.mkdtemp()) / 'images.npz'
  x = np.random.default_rng(0).integers(0, 256, (2000, 28, 28, 1), np.uint8)
  np.savez(path, x=x)
  return {'data.name': 'npz', 'data.kw.path': str(path)}


def train(workload, k: int) -> rounds.Side:
  """K train steps in one dispatch, on rows that lie in memory."""
  config = config_of(workload, k)
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  dispatch = wiring.compiled_step(config, run, sharding.make_mesh())
  rows = next(wiring.batches(run.source, 0, k))
  held = {'state': state}

  def call():
    held['state'], held['metrics'] = dispatch(held['state'], rows)

  def finish():
    jax.block_until_ready(held)

  return rounds.Side(call, finish, k, count(state.params), {})


def sample(workload) -> rounds.Side:
  """One batch of samples by the model's own sampler, jitted as the programs do."""
  config = config_of(workload, 1)
  run = wiring.run(config)
  params = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run)).params
  n = workload.batch_size
  keys = jax.random.split(jax.random.key(1), 4096)
  draw = jax.jit(lambda params, rng: run.model.sample(params, rng, n, None)[0])
  draw = sharding.compiled(draw.lower(params['model'], keys[0]))
  held, keys = {}, iter(keys)

  def call():
    held['x'] = draw(params['model'], next(keys))

  return rounds.Side(call, lambda: jax.block_until_ready(held), 1, count(params), {})


def product(size: int) -> rounds.Side:
  """One product of square matrices; a step is one product."""
  a = jax.numpy.ones((size, size))
  multiply, held = jax.jit(lambda a: a @ a), {}

  def call():
    held['product'] = multiply(a)

  return rounds.Side(call, lambda: jax.block_until_ready(held), 1, 0, {})


def count(tree) -> int:
  """Numbers in a tree of arrays."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
