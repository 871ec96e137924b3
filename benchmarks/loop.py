"""Our loop with loader and log, with and without checkpoints, and the jitted step alone."""

import contextlib
import itertools
import pathlib
import sys
import tempfile

import jax
from tqdm import tqdm

from benchmarks import ours, rounds
from genjax import configs, sharding, wiring
from genjax.runs import writer
from genjax.train import init, loop


def side(text: str, which: str) -> rounds.Side:
  """A call makes as many steps as lie between two checkpoints of the config `text`.

  'saved': through genjax.train.loop, so with every log line and one checkpoint, in a temporary
  directory; 'loop': the same, cut off before the checkpoint by the end of the rows; 'bare': the
  same dispatches on rows that lie in memory.
  """
  config = configs.load(text)
  run = wiring.run(config)
  k, period = config.steps_per_dispatch, config.checkpoint.every
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  dispatch = wiring.compiled_step(config, run, sharding.make_mesh())
  batches = wiring.batches(run.source, 0, k)
  rows, held = next(batches), {'state': state}
  directory = pathlib.Path(tempfile.mkdtemp(prefix='genjax-loop-'))
  write = writer.open_log(directory)

  def stepped(state, rows):
    held['state'], metrics = dispatch(state, rows)
    return held['state'], metrics

  def through_the_loop(steps, save_every, rows):
    plan = loop.Plan(steps, k, config.log.every, save_every, config.checkpoint.keep_last,
                     config.checkpoint.keep_every, 0)
    loop.train(held['state'], {}, stepped, rows, plan, directory / 'checkpoints', validate=None,
               write=write, progress=tqdm(disable=True))

  def saved():
    through_the_loop(int(held['state'].step) + period, period, batches)

  def unsaved():
    with contextlib.suppress(StopIteration):
      through_the_loop(sys.maxsize, sys.maxsize, itertools.islice(batches, period // k))

  def bare():
    for _ in range(period // k):
      held['state'], held['metrics'] = dispatch(held['state'], rows)

  call = {'saved': saved, 'loop': unsaved, 'bare': bare}[which]
  return rounds.Side(call, lambda: jax.block_until_ready(held), period, ours.count(state.params),
                     {'batch_size': config.batch_size, 'k': k})
