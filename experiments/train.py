"""Trains what a config describes, evaluates it, and leaves a run directory; resumes one.

python -m experiments.train --config=configs/digits.py:family=vae,objective=kl --workdir=runs/vae

Exit code 42: stopped by SIGTERM, SIGINT (Ctrl-C), SIGHUP or SIGUSR1, and saved; the same command
goes on. A second Ctrl-C ends it at once.
"""

import functools
import itertools
import math

import jax
from absl import flags
from ml_collections import config_flags

import experiments
from experiments import evaluating
from genjax import data, memory, runs, sharding, wiring
from genjax.cluster import checkpoint, hosts, lease, preempt
from genjax.evals import card
from genjax.pod import flops
from genjax.runs import origins, profile, rundir, writer
from genjax.train import loop
from genjax.types import BadInput

CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train: FILE.py[:argument].')
WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory; resumed if it exists.')
DRY = flags.DEFINE_bool('dry', False, 'Print shapes, parameters, FLOPs and memory of one step.')
EVALUATE = flags.DEFINE_bool('evaluate', True, 'Evaluate on the test split at the end.')
PROFILE = flags.DEFINE_integer('profile', None, 'Trace the 5 dispatches from this step on into '
                               'WORKDIR/profile (TensorBoard, Perfetto).', lower_bound=0)

LINES = 10  # of the summary at the end
STOPPED = ('stopped before the first step:'
           ' there was nothing to save; the same command starts again')


def main(_):
  config = CONFIG.value
  if DRY.value:
    return dry(config, wiring.run(config), WORKDIR.value)
  wiring.check(config)
  workdir = rundir.place(WORKDIR.value)
  # first of all: the data of a second launch would take the memory of the run that goes on
  with lease.held(workdir, config.mesh.heartbeat) as check_owned:
    # all hosts are here now, and look at their devices before one of them reads its data for long
    mesh, run = wiring.mesh(config), wiring.run(config)
    with sharding.on(mesh):
      train(config, run, workdir, mesh, check_owned)
      preempt.finished('stopped in the evaluation: the training is saved; the same command '
                       'evaluates it')
      if EVALUATE.value:
        progress, tick = evaluating.progress()
        metrics = runs.evaluate(workdir, progress=progress, tick=tick)
        experiments.say(card.summary(metrics, LINES, workdir / 'eval.json'))
  return None


def train(config, run: wiring.Run, workdir, mesh, check_owned) -> None:
  """From the checkpoint in the run directory, or the start, to config.steps.

  Nothing is written before the train step is compiled but the lease, whose check is `check_owned`:
  until then a preemption, or a mistake in the config, leaves the directory as it was.
  """
  selection = wiring.selection(config, run)
  validate, begins, warning = checked(config, run, workdir)
  _, record = rundir.agree(workdir, config.to_dict(), run.dataset.identity, begins,
                           runs.facts(run.dataset))
  directory = rundir.checkpoints(workdir)
  like = wiring.abstract_state(config, run, mesh)
  restored = restore(config, directory, like)
  state, meta, start, _ = restored or (None, {}, 0, ())
  experiments.say('\n'.join(filter(None, (
      headline(config, run, like, start), warning, data.summary(run.dataset)))))
  if run.objective.fit:
    return fit(config, run, workdir, begin(workdir, record, start, check_owned), like, restored,
               begins)
  k = config.steps_per_dispatch
  dispatch = wiring.compiled_step(config, run, mesh)
  hosts.meet('the first step')
  if restored is None:
    state = origins.start(config, run, like, begins)
  log = with_mfu(config, run, mesh, begin(workdir, record, start, check_owned))
  if PROFILE.value is not None:
    dispatch = profile.traced(dispatch, workdir / 'profile', itertools.count(start, k),
                              PROFILE.value)
  plan = loop.Plan(config.steps, k, config.log.every, config.checkpoint.every,
                   config.checkpoint.keep_last, config.checkpoint.keep_every,
                   selection.every if selection else 0, config.nan_steps_allowed)
  with experiments.progress(total=config.steps, initial=start, unit='step') as progress:
    loop.train(state, meta, dispatch, wiring.batches(run.source, start, k, mesh), plan, directory,
               validate=validate, write=log, progress=progress, check_owned=check_owned)
  return None


def checked(config, run: wiring.Run, workdir) -> tuple:
  """The validation and origin of a run, and a warning or ''; BadInput for a mistake in the config.

  The evaluators are made for their refusals alone. A warmup that the run is too short for is
  refused where a flag asks for it; of a config that `steps` shortens it is said.
  """
  beyond = wiring.warmup_beyond_the_run(config, run.objective)
  if beyond and 'optim.warmup' in config_flags.get_override_values(flags.FLAGS['config']):
    raise BadInput(f'{beyond}; allowed: 0 to that number, or more steps')
  validate, names = wiring.validator(config, run, preempt.check), config.evals.names
  wiring.evaluators(config, run.dataset, run.model, 'test', names, optional=names)
  return validate, origins.origin(config, run.dataset, workdir), beyond and f'warning: {beyond}'


def fit(config, run: wiring.Run, workdir, log, like, restored, begins) -> None:
  """The one step of a closed form or EM, unless it has been taken."""
  if restored is None:
    loop.fit(lambda: origins.start(config, run, like, begins),
             functools.partial(wiring.fit, config, run), rundir.checkpoints(workdir), log)


def begin(workdir, record, start: int, check_owned):
  """Writes config.json and opens the log, on the lead host; the others' log goes nowhere."""
  if not hosts.is_lead():
    return lambda step, metrics: None
  check_owned()
  rundir.record(workdir, record)
  log = writer.open_log(workdir, start)

  def write(at, metrics):
    check_owned()
    log(at, metrics)

  return write


def with_mfu(config, run: wiring.Run, mesh, log):
  """The log with 'mfu': model FLOPs a second as a share of what the devices can multiply."""
  if not config.log.mfu:
    return log
  per_step = wiring.model_flops(config, run)
  rate = flops.matrix_rate(wiring.model_dtype(config)) * mesh.size

  def write(at, metrics):
    speed = metrics.get('steps_per_second')
    log(at, {**metrics, **({'mfu': per_step * speed / rate} if speed else {})})

  return write


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
    experiments.say(f'warning: {warning}')
  return restored


def headline(config, run: wiring.Run, like, start: int) -> str:
  """One line: what is trained, on what, with how many parameters and which global batch."""
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like.params))
  of_hosts = f' of {hosts.count()} hosts' if hosts.count() > 1 else ''
  return (f'{config.model.family} by {config.objective.name} ({run.estimator}) on '
          f'{run.dataset.name}: {count:,} parameters, global batch {config.batch_size} on '
          f'{jax.device_count()} {jax.default_backend()} device(s){of_hosts}, '
          f'steps {start} to {config.steps}')


def dry(config, run: wiring.Run, workdir) -> None:
  """Prints shapes, parameters, FLOPs and memory of one step; allocates no parameter.

  Raises BadInput where training would: for a mistake in the config, and for a step that the memory
  of this machine cannot hold.
  """
  mesh = wiring.mesh(config)
  like = wiring.abstract_state(config, run, mesh)
  experiments.say(headline(config, run, like, 0))
  *_, warning = checked(config, run, workdir)
  experiments.say('\n'.join(filter(None, (warning, data.summary(run.dataset)))))
  for path, leaf in jax.tree_util.tree_leaves_with_path(like.params):
    experiments.say(f'  {jax.tree_util.keystr(path, simple=True, separator="/")}: '
                    f'{leaf.dtype.name}{list(leaf.shape)}')
  if run.step is None:
    return experiments.say('fitted in closed form or by EM: no gradient step')
  work = flops.of(run.step, wiring.abstract_state(config, run), wiring.abstract_rows(config, run))
  program = wiring.compiled_step(config, run, mesh, k=1)
  state = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
  experiments.say(
      f'one step: {work:.3e} FLOPs in products of matrices and convolutions, '
      f'{memory.of(program).temporaries / 2**20:.1f} MiB temporary, {state / 2**20:.1f} MiB state')
  return None


if __name__ == '__main__':
  experiments.run(main, stopped=STOPPED)
