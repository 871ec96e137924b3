"""Measures genjax beside its peers and prints the tables.

python -m benchmarks.run --suite=train [--rounds=9] [--only=vae,dit] [--out=FILE.md]

Suites: train, sample (ratios to PyTorch, zuko, diffusers), loop (ours over its own jitted step),
startup (process start to first step), torch_free (K steps a dispatch over one), metrics (figures of
samples: times, memory, agreement).
`--suite=train,loop` runs several into one file. Peers: pip install -r benchmarks/requirements.txt.
"""

import contextlib
import importlib.util
import sys
import tempfile
import time

from absl import flags

import experiments
from benchmarks import metrics, report, rounds, startup, worker, workloads
from genjax import disk
from genjax.types import BadInput

MODES = ('auto', 'wall', 'cpu')
SUITE = flags.DEFINE_list('suite', None, 'train, sample, loop, startup, torch_free, '
                          'metrics.', required=True)
ROUNDS = flags.DEFINE_integer('rounds', 9, 'Clean rounds per comparison.', lower_bound=1)
ONLY = flags.DEFINE_list('only', None, 'Workloads of the suites; none: all.')
OUT = flags.DEFINE_string('out', None, 'Markdown file for the tables; none: only printed.')
MODE = flags.DEFINE_enum('mode', 'auto', MODES, 'wall: two threads, by the clock; cpu: one thread, '
                         'CPU seconds; auto: wall, and cpu where too few rounds are clean.')
PATIENCE = flags.DEFINE_integer('patience', rounds.PATIENCE, 'Rounds discarded, in multiples of '
                                '--rounds, before the machine is given up as busy.', lower_bound=1)
BLOCK = flags.DEFINE_float('block', 0.2, 'Seconds of a block.', lower_bound=0.001)
CORES = {'wall': 2, 'cpu': 1}


def main(argv):
  if argv[1:]:
    raise BadInput(f'{argv[1]!r}: allowed: flags, --suite={",".join(SUITES)}')
  for name in SUITE.value:
    if name not in SUITES:
      raise BadInput(f'unknown suite {name!r}; allowed: {", ".join(SUITES)}')
  known = [w for name in SUITE.value for w in SUITES[name][0]]
  for name in ONLY.value or ():
    if name not in known:
      raise BadInput(f'unknown workload {name!r}; allowed here: {", ".join(known)}')
  parts, modes = [], set()
  for name in SUITE.value:
    table, measure, columns, title = SUITES[name]
    started, rows, notes = time.perf_counter(), [], []
    for workload in table:
      if not ONLY.value or workload in ONLY.value:
        made, note, mode = measure(workload)
        rows, notes = rows + made, notes + note
        modes.add(mode)
        print(report.table(columns, made), file=sys.stderr, flush=True)
    seconds = time.perf_counter() - started
    parts += [f'## {title}', '', report.table(columns, rows), '', *notes,
              f'Measured in {seconds / 60:.1f} minutes.', '']
    text = '\n'.join([
        report.head(SUITE.value, BLOCK.value, rounds.MAX_FOREIGN, modes), *parts])
    if OUT.value:
      disk.write_bytes(OUT.value, text.encode())
  print(text)


def compare(workload: str, sides) -> tuple[rounds.Rounds, dict, str]:
  """Rounds of these sides of a workload, their facts, and the mode that it came to."""
  facts = {}

  def run(mode):
    with contextlib.ExitStack() as stack:
      started = {}
      for side in sides:
        started[side] = worker.start(workload, side, CORES[mode], BLOCK.value)
        stack.callback(started[side].close)
        facts[side] = started[side].facts
      return collect({side: w.block for side, w in started.items()}, mode)

  found, mode = in_some_mode(workload, run)
  return found, facts, mode


def collect(sides, mode: str) -> rounds.Rounds:
  """Rounds as the flags say; CPU seconds need no quiet machine."""
  return rounds.collect(sides, ROUNDS.value, gate=mode == 'wall', patience=PATIENCE.value)


def in_some_mode(workload: str, run) -> tuple[rounds.Rounds, str]:
  """run(mode) in the mode of the flags; auto: by CPU seconds where the clock found no quiet."""
  discarded = 0
  for mode in ('wall', 'cpu') if MODE.value == 'auto' else (MODE.value,):
    found = run(mode)
    discarded += found.discarded
    if len(found.kept) == ROUNDS.value:
      return found._replace(discarded=discarded), mode
  raise BadInput(f'{workload}: {len(found.kept)} of {ROUNDS.value} rounds were clean, '
                 f'{discarded} discarded; allowed: a quieter machine, or --mode=cpu')


def common(found: rounds.Rounds, mode: str) -> dict:
  """The columns that every row has."""
  return {'mode': {'wall': 'wall', 'cpu': '1 thread'}[mode], 'rounds': len(found.kept),
          'discarded': found.discarded, 'foreign cores': f'{found.foreign:.2f}'}


def verdict(goal: float | None, met: bool) -> str:
  """The goal and whether it is reached; nothing where there is none."""
  return '' if goal is None else f'{goal} {"reached" if met else "NOT reached"}'


def require(name: str, peer: str) -> None:
  """Raises BadInput when a peer is not installed."""
  if importlib.util.find_spec(peer) is None:
    raise BadInput(f'{name} is compared with {peer}, which is not installed; allowed: after '
                   'pip install -r benchmarks/requirements.txt')


def against_peers(name: str):
  """Rows of one workload: a peer each."""
  workload = workloads.named(name)
  for peer in workload.sides:
    require(name, peer)
  found, facts, mode = compare(name, ('ours', *workload.sides))
  field, rows, notes = mode, [], []
  for peer in workload.sides:
    goal = workload.goals.get(peer)
    by_mode = rounds.ratio(found.kept, peer, 'ours', field)
    counts = [f'{facts[side]["parameters"]:,}' for side in ('ours', peer)]
    rows.append({
        'workload': f'{name}: {workload.what}', 'peer': peer,
        'parameters': ' / '.join(dict.fromkeys(counts)),
        'batch': workload.batch_size, 'K': workload.k,
        'ours, ms': report.show(rounds.seconds(found.kept, 'ours', field), 2, 1e3),
        'peer, ms': report.show(rounds.seconds(found.kept, peer, field), 2, 1e3),
        'ratio': report.show(by_mode),
        'CPU ratio': report.show(rounds.ratio(found.kept, peer, 'ours', 'cpu')),
        'goal': verdict(goal, by_mode.median >= (goal or 0.0)), **common(found, mode)})
    if goal and by_mode.median < goal:
      notes.append(f'* {name} against {peer}: goal {goal} not reached. Tried: '
                   f'{workload.tried or "nothing yet"}')
  return rows, notes, mode


def loop_over_step(name: str):
  """The row of one config: the loop's time over the bare step's, without and with a checkpoint."""
  found, facts, mode = compare(name, ('loop', 'saved', 'bare'))
  over = rounds.ratio(found.kept, 'loop', 'bare', mode)
  met = over.median <= workloads.MAX_OVERHEAD
  row = {'config': workloads.LOOP[name], 'parameters': f'{facts["loop"]["parameters"]:,}',
         'batch': facts['loop']['batch_size'], 'K': facts['loop']['k'],
         'loop, ms a step': report.show(rounds.seconds(found.kept, 'loop', mode), 3, 1e3),
         'bare, ms a step': report.show(rounds.seconds(found.kept, 'bare', mode), 3, 1e3),
         'loop / bare': report.show(over),
         'CPU ratio': report.show(rounds.ratio(found.kept, 'loop', 'bare', 'cpu')),
         'goal': verdict(workloads.MAX_OVERHEAD, met),
         'with a checkpoint / bare': report.show(rounds.ratio(found.kept, 'saved', 'bare', mode)),
         **common(found, mode)}
  return [row], [], mode


def start(name: str):
  """The row of one config: seconds to the first step, minus importing the libraries."""
  with tempfile.TemporaryDirectory(prefix='genjax-cache-') as cache:
    found, mode = in_some_mode(name, lambda mode: collect(
        startup.sides(workloads.STARTUP[name], CORES[mode], cache), mode))
  extra = rounds.difference(found.kept, 'train', 'import', mode)
  met = extra.median <= workloads.MAX_START
  row = {'config': workloads.STARTUP[name],
         'first step, s': report.show(rounds.seconds(found.kept, 'train', mode)),
         'import jax, flax, optax, s': report.show(rounds.seconds(found.kept, 'import', mode)),
         'difference, s': report.show(extra),
         'difference, CPU s': report.show(
             rounds.difference(found.kept, 'train', 'import', 'cpu')),
         'goal': verdict(workloads.MAX_START, met),
         **common(found, mode)}
  notes = [] if met else [f'* {name}: goal not reached. Tried: {workloads.TRIED_START}']
  return [row], notes, mode


def dispatch_gain(name: str):
  """The row of one workload without peers: K steps in a dispatch over one."""
  workload = workloads.named(name)
  found, facts, mode = compare(name, ('ours', 'ours_1'))
  row = {'workload': f'{name}: {workload.what}', 'K': workload.k, 'batch': workload.batch_size,
         'parameters': f'{facts["ours"]["parameters"]:,}',
         'K a dispatch, ms': report.show(rounds.seconds(found.kept, 'ours', mode), 3, 1e3),
         'one a dispatch, ms': report.show(rounds.seconds(found.kept, 'ours_1', mode), 3, 1e3),
         'ratio': report.show(rounds.ratio(found.kept, 'ours_1', 'ours', mode)),
         **common(found, mode)}
  return [row], [], mode


def metric_against_peer(name: str):
  """The row of one metric: times, memory, and the difference of the figures."""
  metric = metrics.METRICS[name]
  require(name, metric.peer)
  found, facts, mode = compare(name, ('ours', metric.peer))
  times = rounds.ratio(found.kept, metric.peer, 'ours', mode)
  # where there is no goal, making the inputs may have taken more
  memory = metric.memory and (
      metrics.beyond(facts['ours']) / metrics.beyond(facts[metric.peer]))
  apart = metrics.difference(*(facts[side]['figures'] for side in ('ours', metric.peer)))
  row = {'metric': f'{name}: {metric.what}', 'peer': metric.peer,
         'ours, s': report.show(rounds.seconds(found.kept, 'ours', mode)),
         'peer, s': report.show(rounds.seconds(found.kept, metric.peer, mode)),
         'ratio': report.show(times),
         'CPU ratio': report.show(rounds.ratio(found.kept, metric.peer, 'ours', 'cpu')),
         'goal': verdict(metric.goal, times.median >= (metric.goal or 0.0)),
         'memory ratio': '-' if memory is None else f'{memory:.2f}',
         'memory goal': verdict(metric.memory, (memory or 0.0) <= (metric.memory or 0.0)),
         'apart': '-' if apart is None else f'{apart:.1e}',
         'apart goal': verdict(metric.tolerance, (apart or 0.0) <= (metric.tolerance or 0.0)),
         **common(found, mode)}
  for side, words in (('ours', 'ours'), (metric.peer, 'peer')):
    row[f'{words}: peak (beyond start), MiB'] = (
        f'{facts[side]["peak"] // metrics.MIB} ({metrics.beyond(facts[side]) // metrics.MIB})')
  return [row], [], mode


ROUND = ['mode', 'rounds', 'discarded', 'foreign cores']
PEERS = ['workload', 'peer', 'parameters', 'batch', 'K', 'ours, ms', 'peer, ms', 'ratio',
         'CPU ratio', 'goal', *ROUND]
# suite -> its workloads, what measures one, columns, title
SUITES = {
    'train': ({**workloads.PRODUCT, **workloads.TRAIN}, against_peers, PEERS,
              'One training step, against peers'),
    'sample': (workloads.SAMPLE, against_peers, PEERS, 'One batch of samples, against peers'),
    'loop': (workloads.LOOP, loop_over_step,
             ['config', 'parameters', 'batch', 'K', 'loop, ms a step', 'bare, ms a step',
              'loop / bare', 'CPU ratio', 'goal', 'with a checkpoint / bare', *ROUND],
             'The loop with loader and log over the bare jitted step'),
    'startup': (workloads.STARTUP, start,
                ['config', 'first step, s', 'import jax, flax, optax, s', 'difference, s',
                 'difference, CPU s', 'goal', *ROUND],
                'Process start to first step, compilation cache warm'),
    'torch_free': (workloads.TRAIN, dispatch_gain,
                   ['workload', 'parameters', 'batch', 'K', 'K a dispatch, ms',
                    'one a dispatch, ms', 'ratio', *ROUND],
                   'K steps in one dispatch over one step'),
    'metrics': (metrics.METRICS, metric_against_peer,
                ['metric', 'peer', 'ours, s', 'peer, s', 'ratio', 'CPU ratio', 'goal',
                 'ours: peak (beyond start), MiB', 'peer: peak (beyond start), MiB',
                 'memory ratio', 'memory goal', 'apart', 'apart goal', *ROUND],
                'Metrics of samples, against peers'),
}


if __name__ == '__main__':
  experiments.run(main)
