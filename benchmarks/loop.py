"""Our loop with loader, log and checkpoints, and the jitted step alone, on one config."""

import pathlib
import tempfile

import jax
from tqdm import tqdm

from benchmarks import ours, rounds
from experiments import config as configs
from genjax import build, sharding
from genjax.train import init, loop, writer


def side(text: str, which: str) -> rounds.Side:
  """A call makes as many steps as lie between two checkpoints of the config `text`.

  'loop': through genjax.train.loop, so with one checkpoint and every log line, in a temporary
  directory; 'bare': the same dispatches on rows that lie in memory.
  """
  config = configs.load(text)
  run = build.run(config)
  k, period = config.steps_per_dispatch, config.checkpoint.every
  state = init.initialise(run.init, jax.random.key(0), build.first_rows(config, run))
  dispatch = build.compiled_step(config, run, sharding.make_mesh())
  batches = build.batches(run.source, 0, k)
  rows, held = next(batches), {'state': state}
  directory = pathlib.Path(tempfile.mkdtemp(prefix='genjax-loop-'))
  write = writer.open_log(directory)

  def through_the_loop():
    plan = loop.Plan(int(held['state'].step) + period, k, config.log.every, period,
                     config.checkpoint.keep_last, config.checkpoint.keep_every, 0)
    held['state'] = loop.train(
        held['state'], {}, dispatch, batches, plan, directory / 'checkpoints', validate=None,
        write=write, progress=tqdm(disable=True))

  def bare():
    for _ in range(period // k):
      held['state'], held['metrics'] = dispatch(held['state'], rows)

  call = {'loop': through_the_loop, 'bare': bare}[which]
  return rounds.Side(call, lambda: jax.block_until_ready(held), period, ours.count(state.params),
                     {'batch_size': config.batch_size, 'k': k})
