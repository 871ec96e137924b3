"""A run of the toy config through wiring, the train step and K steps a dispatch, in memory."""

import itertools

import jax
import numpy as np

from configs import toy2d
from genjax import sharding, wiring
from genjax.train import init


def config_of(argument: str, **settings):
  """configs/toy2d.py:argument with settings by dotted name (__ for the dot)."""
  config = toy2d.get_config(argument)
  for name, value in settings.items():
    *path, key = name.split('__')
    section = config
    for part in path:
      section = section[part]
    section[key] = value
  k = config.steps_per_dispatch
  config.log.every = config.checkpoint.every = config.steps // k * k
  return config


def train(config):
  """The Run, the model's parameters (their average if config.ema) and the last metrics."""
  run = wiring.run(config)
  if run.objective.fit:
    return run, wiring.fit(config, run), {}
  k = config.steps_per_dispatch
  state = init.initialise(run.init, jax.random.key(config.seed), wiring.first_rows(config, run))
  dispatch = wiring.compiled_step(config, run, sharding.make_mesh())
  metrics = {}
  for rows in itertools.islice(wiring.batches(run.source, 0, k), config.steps // k):
    state, metrics = dispatch(state, rows)
  metrics = {name: float(np.mean(value)) for name, value in jax.device_get(metrics).items()}
  return run, state.ema if config.ema else state.params['model'], metrics
