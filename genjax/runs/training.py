"""A training from its config to its evaluation, in one run directory.

The program experiments.train and `genjax.train` call it. say(text) prints; progress(...) returns a
progress bar, with the interface of tqdm.
"""

import functools
import itertools
import math
from collections.abc import Callable, Collection

import jax
from tqdm import tqdm

from genjax import configs, data, identity, memory, sharding, wiring
from genjax.cluster import hosts, lease, preempt
from genjax.evals import card
from genjax.pod import flops
from genjax.runs import measuring, opening, origins, profile, rundir, writer
from genjax.train import loop
from genjax.types import BadInput

LINES = 10  # lines of the summary at the end


def train(config, workdir, *, evaluate: bool = True, trace: int | None = None,
          given: Collection[str] = (), say: Callable = print, progress: Callable = tqdm) -> dict:
  """{metric: Value} on the test split, after training what a config describes, or resuming it.

  config: a ConfigDict, which is not changed.
  workdir: a new directory, or that of an earlier launch of the same config, which is resumed bit
    for bit.
  evaluate: measure at the end; otherwise the result is {}.
  trace: the step from which 5 dispatches are traced into WORKDIR/profile.
  given: keys of the config that the user set one by one; a warning about one of them is an error.
  Raises BadInput for a mistake in the config, a directory of another run or owned by another
  launch, and a training that diverged.
  """
  config = config.copy_and_resolve_references()
  configs.resolve(config)
  wiring.check(config)
  workdir = rundir.place(workdir)
  # first, since the data of a second launch would take memory from the running one
  with lease.held(workdir, config.mesh.heartbeat) as check_owned:
    # all hosts are here, and initialise their devices before one of them reads data for long
    mesh, training = wiring.mesh(config), wiring.run(config)
    with sharding.on(mesh):
      _train(config, training, workdir, mesh, check_owned, given, trace, say, progress)
      preempt.finished('stopped in the evaluation: the training is saved; the same command '
                       'evaluates it')
      if not evaluate:
        return {}
      over, tick = measuring.shown(progress)
      metrics = measuring.evaluate(workdir, progress=over, tick=tick)
      say(card.summary(metrics, LINES, workdir / 'eval.json'))
      return metrics


def _train(config, training: wiring.Run, workdir, mesh, check_owned, given, trace, say,
           progress) -> None:
  """Trains from the checkpoint in the run directory, or from scratch, to config.steps.

  Until the train step is compiled only the lease is written (`check_owned` checks it), so a
  preemption or a mistake in the config leaves the directory unchanged.
  """
  selection = wiring.selection(config, training)
  validate, warning = checked(config, training, given)
  like = wiring.abstract_state(config, training, mesh)
  start = opening.start(config, training, workdir, like)
  for text in start.warnings:
    say(f'warning: {text}')
  say('\n'.join(filter(None, (headline(config, training, like, start.step), warning,
                              data.summary(training.dataset)))))
  begin = functools.partial(_begin, workdir, start.record, start.step, check_owned)
  directory = rundir.checkpoints(workdir)
  if training.objective.fit:
    log = begin()
    if not start.restored:
      loop.fit(start.state, functools.partial(wiring.fit, config, training), directory, log)
    return
  k = config.steps_per_dispatch
  dispatch = wiring.compiled_step(config, training, mesh)
  hosts.meet('the first step')
  state = start.state()
  log = _with_mfu(config, training, mesh, begin())
  if trace is not None:
    dispatch = profile.traced(dispatch, workdir / 'profile', itertools.count(start.step, k), trace)
  plan = loop.Plan(config.steps, k, config.log.every, config.checkpoint.every,
                   config.checkpoint.keep_last, config.checkpoint.keep_every,
                   selection.every if selection else 0, config.nan_steps_allowed)
  with progress(total=config.steps, initial=start.step, unit='step') as bar:
    batches = wiring.batches(training.source, start.step, k, mesh)
    loop.train(state, start.meta, dispatch, batches, plan, directory, validate=validate, write=log,
               progress=bar, check_owned=check_owned)


def checked(config, training: wiring.Run, given: Collection[str] = ()) -> tuple:
  """(validate or None, a warning or '') of a run; BadInput for a mistake in the config.

  The evaluators are built only to raise BadInput. A warmup that is longer than the run is an error
  if it is among the keys `given`, else a warning.
  """
  beyond = wiring.warmup_beyond_the_run(config, training.objective)
  if beyond and 'optim.warmup' in given:
    raise BadInput(f'{beyond}; allowed: 0 to that number, or more steps')
  validate, names = wiring.validator(config, training, preempt.check), config.evals.names
  wiring.evaluators(config, training.dataset, training.model, 'test', names, optional=names)
  return validate, beyond and f'warning: {beyond}'


def _begin(workdir, record, start: int, check_owned):
  """The log on the lead host, after writing config.json; on other hosts a log without effect."""
  if not hosts.is_lead():
    return lambda step, metrics: None
  check_owned()
  rundir.record(workdir, record)
  log = writer.open_log(workdir, start)

  def write(at, metrics):
    check_owned()
    log(at, metrics)

  return write


def _with_mfu(config, training: wiring.Run, mesh, log):
  """The log, which adds 'mfu': model FLOPs per second over the devices' matrix rate."""
  if not config.log.mfu:
    return log
  per_step = wiring.model_flops(config, training)
  rate = flops.matrix_rate(wiring.model_dtype(config)) * mesh.size

  def write(at, metrics):
    speed = metrics.get('steps_per_second')
    log(at, {**metrics, **({'mfu': per_step * speed / rate} if speed else {})})

  return write


def headline(config, training: wiring.Run, like, start: int) -> str:
  """One line about a training: model, objective, data, number of parameters, global batch."""
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like.params))
  of_hosts = f' of {hosts.count()} hosts' if hosts.count() > 1 else ''
  return (f'{identity.title(config)} ({training.estimator}) on '
          f'{training.dataset.name}: {count:,} parameters, global batch {config.batch_size} on '
          f'{jax.device_count()} {jax.default_backend()} device(s){of_hosts}, '
          f'steps {start} to {config.steps}')


def dry(config, workdir=None, *, given: Collection[str] = (), say: Callable = print) -> None:
  """Reports shapes, parameters, FLOPs and memory of one step; allocates no parameter.

  Raises BadInput as training would, for a mistake in the config and for a step that needs more
  memory than this machine has.
  """
  training, mesh = wiring.run(config), wiring.mesh(config)
  like = wiring.abstract_state(config, training, mesh)
  say(headline(config, training, like, 0))
  _, warning = checked(config, training, given)
  origins.origin(config, training.dataset, workdir)
  say('\n'.join(filter(None, (warning, data.summary(training.dataset)))))
  for path, leaf in jax.tree_util.tree_leaves_with_path(like.params):
    say(f'  {jax.tree_util.keystr(path, simple=True, separator="/")}: '
        f'{leaf.dtype.name}{list(leaf.shape)}')
  if training.step is None:
    say('fitted in closed form or by EM: no gradient step')
    return
  work = flops.of(training.step, wiring.abstract_state(config, training),
                  wiring.abstract_rows(config, training))
  program = wiring.compiled_step(config, training, mesh, k=1)
  state = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
  say(f'one step: {work:.3e} FLOPs in products of matrices and convolutions, '
      f'{memory.of(program).temporaries / 2**20:.1f} MiB temporary, {state / 2**20:.1f} MiB state')
