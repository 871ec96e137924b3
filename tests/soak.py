"""Breaks training, evaluation and sampling again and again; the end must be that of unbroken runs.

python -m tests.soak --dir=/tmp/soak [--seed=0] [--kills=10] [--terms=20] [--only=kill,term,fault]

kill: SIGKILL of a run of one process, with one player and with two. term: SIGTERM to one of two
processes, in training, evaluation or sampling: both exit with 42. fault: SIGKILL of a worker and of
the coordinator, SIGSTOP of a worker: all exit within the heartbeat. What is compared is every array
of the last checkpoint, every metric and every sample, bit by bit.
"""

import argparse
import json
import pathlib
import random
import signal
import time

import numpy as np

from tests import jobs

STEPS, HEARTBEAT = 1500, 10
RUNS = {  # a run of one player and one of two
    'one_player': 'configs/digits.py:family=vae,objective=kl',
    'through_sampless': 'configs/digits.py:family=implicit,objective=wasserstein',
}
TIMED = ('samples_per_second',)  # metrics that no two runs share
EXIT = 42
PHASES = ('compile', 'train', 'evaluate', 'sample')


def arguments(config: str, workdir: pathlib.Path, *more: str) -> list[str]:
  return [f'--config={config}', f'--workdir={workdir}', f'--config.steps={STEPS}',
          '--config.steps_per_dispatch=5', '--config.log.every=5', '--config.checkpoint.every=50',
          '--config.optim.decay=constant', f'--config.mesh.heartbeat={HEARTBEAT}', *more]


def train(config: str, workdir: pathlib.Path, layout: str, *more: str):
  return jobs.launch('experiments.train', layout, workdir.with_suffix('.log'),
                     *arguments(config, workdir, *more))


def sample(workdir: pathlib.Path, layout: str):
  return jobs.launch('experiments.sample', layout, workdir.with_suffix('.log'),
                     f'--workdir={workdir}', '--num=512', f'--out={workdir / "drawn.npz"}')


def last_logged(workdir: pathlib.Path) -> int:
  """The last step in metrics.jsonl; 0 before the first line, or when it is half written."""
  path = workdir / 'metrics.jsonl'
  lines = path.read_text().splitlines() if path.exists() else []
  for line in reversed(lines):
    if line.endswith('}'):
      return json.loads(line)['step']
  return 0


def at_end(workdir: pathlib.Path) -> bool:
  return (workdir / 'checkpoints' / str(STEPS) / 'checkpoint.json').exists()


def outcome(workdir: pathlib.Path) -> dict:
  """What must be equal: digests of the last checkpoint, metrics, drawn samples; if they are there.
  """
  assert at_end(workdir), f'{workdir} is not at step {STEPS}'
  index = json.loads((workdir / 'checkpoints' / str(STEPS) / 'checkpoint.json').read_text())
  found = {'arrays': index['content']['arrays'], 'meta': index['content']['meta']}
  if (workdir / 'eval.json').exists():
    metrics = json.loads((workdir / 'eval.json').read_text())['metrics']
    found['metrics'] = {k: v['value'] for k, v in metrics.items() if k not in TIMED}
  if (workdir / 'drawn.npz').exists():
    found['drawn'] = np.load(workdir / 'drawn.npz')['x'].tobytes()
  return found


def printed(workdir: pathlib.Path, words: str) -> int:
  """How often the lead process of all jobs of a run has printed the words."""
  log = workdir.with_suffix('.log.0')
  return log.read_text().count(words) if log.exists() else 0


def stray(workdir: pathlib.Path) -> list[str]:
  """Half-written files that a program left behind; a killed save leaves one hidden folder."""
  return [str(p) for p in workdir.rglob('.*') if not p.name.startswith('.tmp-')]


def killed(config: str, directory: pathlib.Path, kills: int, seed: int) -> list[int]:
  """SIGKILL of a run of one process at random steps, which it returns."""
  random_, layout, steps = random.Random(seed), '1x1f1', []
  straight, broken = directory / 'straight', directory / 'killed'
  plain = ('--noevaluate', '--config.select.metric=')
  assert jobs.finish(train(config, straight, layout, *plain)) == [0]
  for target in sorted(random_.randrange(1, STEPS) for _ in range(kills)):
    job = train(config, broken, layout, *plain)
    jobs.wait_until(lambda at=target: last_logged(broken) >= at, job)
    time.sleep(random_.uniform(0, 0.2))  # anywhere in a step, a log line or a save
    job[0].send_signal(signal.SIGKILL)
    jobs.finish(job)
    steps.append(last_logged(broken))
  assert jobs.finish(train(config, broken, layout, *plain)) == [0]
  assert outcome(straight) == outcome(broken), f'differs after kills at {steps}, seed {seed}'
  return steps


def terminated(directory: pathlib.Path, terms: int, seed: int, layout: str = '2x1f1') -> list[str]:
  """SIGTERM to one of two processes in training, evaluation and sampling; where it hit."""
  random_, config = random.Random(seed), RUNS['one_player']
  straight, broken = directory / 'straight', directory / 'terminated'
  for job in (lambda: train(config, straight, layout), lambda: sample(straight, layout)):
    began = time.monotonic()
    assert jobs.finish(job()) == [0, 0], f'see {straight}.log.0'
  sampling = time.monotonic() - began
  phases = sorted((PHASES[random_.choice((0, 1, 1, 1, 2, 2, 3, 3))] for _ in range(terms)),
                  key=PHASES.index, reverse=True)
  hit = []
  while phases:
    phase, before = phases.pop(), last_logged(broken)
    # so many are still to come in training: none may run to the end
    step = before + random_.randrange(1, max(2, (STEPS - before) // (2 + phases.count('train'))))
    if phase == 'sample' and not at_end(broken):  # there must be something to sample
      assert jobs.finish(train(config, broken, layout)) == [0, 0], f'see {broken}.log.0'
    until = time.monotonic() + random_.uniform(0.1, 0.8) * sampling
    headlines = printed(broken, 'global batch')
    job = sample(broken, layout) if phase == 'sample' else train(config, broken, layout)
    reached = {'compile': lambda seen=headlines: printed(broken, 'global batch') > seen,
               'train': lambda at=step: last_logged(broken) >= at,
               'evaluate': lambda: at_end(broken),
               'sample': lambda at=until: time.monotonic() > at}[phase]
    if not jobs.wait_until(reached, job) and phase != 'sample':
      raise AssertionError(f'{phase}: ended before its SIGTERM, see {broken}.log.0')
    time.sleep(random_.uniform(0, {'evaluate': 2.0, 'sample': 0.0}.get(phase, 0.2)))
    victim = random_.randrange(2)
    job[victim].send_signal(signal.SIGTERM)
    began = time.monotonic()
    codes = jobs.finish(job, 60)
    where = f'{phase} at {last_logged(broken)}, process {victim}'
    print(f'  seed {seed}: {where}: {codes} after {time.monotonic() - began:.1f} s', flush=True)
    if codes == [0, 0] and phase in ('evaluate', 'sample'):
      phases.append(phase)  # it was done before it noticed: once more
      (broken / 'eval.json').unlink(missing_ok=True)
      continue
    assert codes == [EXIT, EXIT], f'{where}: exit codes {codes}, see {broken}.log.0'
    assert not stray(broken), stray(broken)
    hit.append(where)
  for job in (lambda: train(config, broken, layout), lambda: sample(broken, layout)):
    assert jobs.finish(job()) == [0, 0], f'see {broken}.log.0'
  assert outcome(straight) == outcome(broken), f'differs after {hit}, seed {seed}'
  return hit


def faults(directory: pathlib.Path, seed: int, layout: str = '2x1f1') -> dict[str, float]:
  """{fault: seconds until all others had exited}: a dead worker or coordinator, a frozen worker."""
  random_, config, seconds = random.Random(seed), RUNS['one_player'], {}
  straight, broken = directory / 'straight', directory / 'faulty'
  plain = ('--noevaluate', '--config.select.metric=')
  assert jobs.finish(train(config, straight, layout, *plain)) == [0, 0]
  cases = (('SIGKILL of a worker', 1, signal.SIGKILL), ('SIGKILL of the coordinator', 0,
           signal.SIGKILL), ('SIGSTOP of a worker', 1, signal.SIGSTOP))
  for number, (name, victim, fault) in enumerate(cases):
    job = train(config, broken, layout, *plain)
    target = number * STEPS // 4 + random_.randrange(1, STEPS // 5)
    assert jobs.wait_until(lambda at=target: last_logged(broken) >= at, job), f'{broken}.log.0'
    job[victim].send_signal(fault)
    began = time.monotonic()
    code = job[1 - victim].wait(6 * HEARTBEAT)
    seconds[name] = time.monotonic() - began
    print(f'  seed {seed}: {name} at {last_logged(broken)}: the other exits with {code} after '
          f'{seconds[name]:.1f} s (heartbeat {HEARTBEAT} s)', flush=True)
    assert code not in (0, 1, EXIT), code
    job[victim].kill()
    jobs.finish(job)
  assert jobs.finish(train(config, broken, layout, *plain)) == [0, 0]
  assert outcome(straight) == outcome(broken), f'differs after {seconds}, seed {seed}'
  return seconds


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=10)
  parser.add_argument('--terms', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--only', default='kill,term,fault')
  parser.add_argument('--dir', type=pathlib.Path, required=True)
  args = parser.parse_args()
  args.dir.mkdir(parents=True, exist_ok=True)
  for part in args.only.split(','):
    (args.dir / part).mkdir(exist_ok=True)
    if part == 'kill':
      for name, config in RUNS.items():
        (args.dir / name).mkdir(exist_ok=True)
        steps = killed(config, args.dir / name, args.kills, args.seed)
        print(f'{name}: identical after kills at steps {steps} (seed {args.seed})', flush=True)
    elif part == 'term':
      hit = terminated(args.dir / part, args.terms, args.seed)
      print(f'SIGTERM: {len(hit)} times, identical (seed {args.seed})', flush=True)
    else:
      faults(args.dir / part, args.seed)
      print(f'faults: identical after them (seed {args.seed})', flush=True)


if __name__ == '__main__':
  main()
