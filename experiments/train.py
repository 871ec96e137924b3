"""Trains what a config describes, evaluates it, and leaves a run directory; resumes one.

python -m experiments.train --config=configs/digits.py:family=vae,objective=kl --workdir=runs/vae
"""

import functools
import math

import jax
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

import experiments
from genjax import build, runs, sharding
from genjax.evals import card
from genjax.train import checkpoint, init, loop, rundir, step, writer
from genjax.types import BadInput

CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train: FILE.py[:argument].')
WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory; resumed if it exists.')
DRY = flags.DEFINE_bool('dry', False, 'Print shapes, parameters, FLOPs and memory of one step.')
EVALUATE = flags.DEFINE_bool('evaluate', True, 'Evaluate on the test split at the end.')


def main(_):
  config = CONFIG.value
  run = build.run(config)
  if DRY.value:
    return print(dry(config, run))
  validate = build.validator(config, run)
  names = config.evals.names
  # made for their refusals alone, before anything is written
  build.evaluators(config, run.dataset, run.model, 'test', names, optional=names)
  workdir, record = rundir.agree(WORKDIR.value, config.to_dict(), run.dataset.identity)
  like = build.abstract_state(config, run)
  restored = restore(config, rundir.checkpoints(workdir), like)
  rundir.record(workdir, record)
  train(config, run, workdir, validate, like, restored)
  if EVALUATE.value:
    progress = functools.partial(tqdm, disable=None, unit='evaluator')
    print(card.describe(runs.evaluate(workdir, progress=progress)))
  return None


def restore(config, directory, like):
  """`checkpoint.restore`, its warnings printed; BadInput for a run that is beyond config.steps."""
  restored = checkpoint.restore(directory, like)
  if restored is None:
    return None
  _, _, step, warnings = restored
  if step > config.steps:
    raise BadInput(f'steps={config.steps}, but {directory} is at step {step} already; allowed: '
                   f'{step} or more, or another --workdir')
  for warning in warnings:
    print(f'warning: {warning}')
  return restored


def train(config, run: build.Run, workdir, validate, like, restored) -> None:
  """Runs the loop from what was restored, or from the start, to config.steps."""
  directory = rundir.checkpoints(workdir)
  rows = build.first_rows(config, run)
  key = jax.random.key(config.seed)
  state, meta, start, _ = restored or (None, {}, 0, ())
  print(headline(config, run, like, start))
  log = writer.open_log(workdir, start)
  if run.objective.fit:
    if restored is None:
      make = functools.partial(init.initialise, run.init, key, rows)
      loop.fit(make, functools.partial(build.fit, config, run), directory, log)
    return
  state = init.initialise(run.init, key, rows) if restored is None else state
  k = config.steps_per_dispatch
  mesh = sharding.make_mesh()
  dispatch = step.compile_step(run.step, k, mesh, like)
  plan = loop.Plan(config.steps, k, config.log.every, config.checkpoint.every,
                   config.checkpoint.keep_last, config.checkpoint.keep_every, config.select.every)
  with tqdm(total=config.steps, initial=start, disable=None, unit='step') as progress:
    loop.train(state, meta, dispatch, build.batches(run.source, start, k), plan, directory,
               validate=validate, write=log, progress=progress)


def headline(config, run: build.Run, like, start: int) -> str:
  """One line: what is trained, on what, with how many parameters and which global batch."""
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like.params))
  return (f'{config.model.family} by {config.objective.name} ({run.estimator}) on '
          f'{run.dataset.name}: {count:,} parameters, global batch {config.batch_size} on '
          f'{jax.device_count()} {jax.default_backend()} device(s), '
          f'steps {start} to {config.steps}')


def dry(config, run: build.Run) -> str:
  """Shapes, parameters, FLOPs and memory of one step; allocates no parameter."""
  like = build.abstract_state(config, run)
  lines = [headline(config, run, like, 0)]
  for path, leaf in jax.tree_util.tree_leaves_with_path(like.params):
    lines.append(f'  {jax.tree_util.keystr(path, simple=True, separator="/")}: '
                 f'{leaf.dtype.name}{list(leaf.shape)}')
  if run.step is None:
    return '\n'.join([*lines, 'fitted in closed form or by EM: no gradient step'])
  one_step = jax.jit(run.step, donate_argnums=0)
  compiled = one_step.lower(like, build.first_rows(config, run)).compile()
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  state = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
  return '\n'.join([
      *lines,
      f'one step: {cost["flops"]:.3e} FLOPs (loop bodies counted once), '
      f'{memory.temp_size_in_bytes / 2**20:.1f} MiB temporary, {state / 2**20:.1f} MiB state'])


if __name__ == '__main__':
  experiments.run(main)
