"""Trains one run from one state on several layouts of devices and processes, and compares.

python -m tests.layouts --dir=/tmp/layouts [--models=vae,wgan_gp,dit] [--layouts=1x1f1,2x2f2_1x1f1]

PxDfF: P processes of D devices each, F of which share the parameters; A_B: the first half of the
steps on A, the others, resumed, on B. Of each layout it prints the
largest relative difference of the first loss and gradient to those of 1x1f1, and after 20 steps the
distance of the parameters, beside the distance that a relative change of the first parameters by
1e-7 causes on 1x1f1. Layouts already run in --dir are not run again.
"""

import argparse
import json
import pathlib
import shutil

import jax
import numpy as np

from genjax import configs, runs, wiring
from genjax.cluster import checkpoint, shards
from genjax.runs import rundir
from genjax.train import init
from tests import jobs, programs

STEPS, B1 = 20, 0.9
COMMON = {'steps': STEPS, 'steps_per_dispatch': 1, 'batch_size': 16, 'checkpoint.every': 1,
          'checkpoint.keep_last': STEPS + 1, 'select.every': 0, 'select.metric': '',
          'log.every': 1, 'optim.decay': 'constant', 'optim.warmup': 0, 'optim.b1': B1,
          'optim.clip': 0.0}
MODELS = {
    'vae': ('configs/digits.py:family=vae,objective=kl', {}),
    'wgan_gp': ('configs/digits.py:family=implicit,objective=wasserstein', {}),
    'dit': ('configs/digits.py:family=diffusion,objective=score_matching,denoiser.patch=4', {}),
}
LAYOUTS = ('1x1f1', '1x2f2', '1x4f1', '1x4f4', '1x8f2', '2x1f1', '2x2f2', '4x1f4', '4x2f2',
           '2x2f2_1x1f1', '2x2f2_4x1f1')


def arguments(model: str, workdir: pathlib.Path, layout: str) -> list[str]:
  text, changes = MODELS[model]
  return [f'--config={text}', f'--workdir={workdir}', '--noevaluate',
          *(f'--config.{k}={v}' for k, v in {**COMMON, **changes}.items()),
          f'--config.mesh.fsdp={jobs.parse(layout)[2]}']


def start(model: str, workdir: pathlib.Path, perturbed: float = 0.0) -> None:
  """A run directory at step 0, its parameters multiplied by 1 + perturbed z with z normal."""
  text, changes = MODELS[model]
  config = configs.load(text)
  configs.override(config, {**COMMON, **changes})
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(config.seed), wiring.first_rows(config, run))
  random = np.random.default_rng(0)
  move = lambda a: np.float32(a * (1 + perturbed * random.standard_normal(a.shape)))
  state = state._replace(params=jax.tree.map(move, state.params))
  path, record = rundir.agree(workdir, config.to_dict(), run.dataset.identity, None,
                              runs.facts(run.dataset))
  rundir.record(path, record)
  checkpoint.save(rundir.checkpoints(path), 0, state, {'best': None})


def trained(model: str, origin: pathlib.Path, workdir: pathlib.Path, layout: str) -> None:
  """Trains a copy of `origin` to the end, unless that was done. Raises for a process that fails."""
  if (workdir / 'checkpoints' / str(STEPS)).exists():
    return
  shutil.rmtree(workdir, ignore_errors=True)
  shutil.copytree(origin, workdir)
  parts = layout.split('_')
  for i, part in enumerate(parts, start=1):
    codes = jobs.finish(jobs.launch(
        'experiments.train', part, workdir.with_suffix('.log'), *programs.merged(
            *arguments(model, workdir, part), f'--config.steps={STEPS * i // len(parts)}')), 600)
    assert codes == [0] * len(codes), f'{model} on {part}: {codes}, see {workdir}.log.0'


def state(workdir: pathlib.Path, step: int) -> dict[str, np.ndarray]:
  """{name: array} of a checkpoint, whoever wrote it."""
  path = workdir / 'checkpoints' / str(step)
  content = json.loads((path / 'checkpoint.json').read_text())['content']
  like = {name: jax.ShapeDtypeStruct(entry['shape'], entry['dtype'])
          for name, entry in content['arrays'].items()}
  made, damage = shards.read(path, content, like)
  assert not damage, damage
  return {name: np.asarray(a) for name, a in made.items()}


def first_losses(workdir: pathlib.Path) -> dict[str, float]:
  line = json.loads((workdir / 'metrics.jsonl').read_text().splitlines()[0])
  assert line['step'] == 1
  return {k: v for k, v in line.items() if k.endswith('/loss')}


def gradients(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """Of the first step: Adam's first moment after it is (1 - b1) times the gradient."""
  return {k: a / (1 - B1) for k, a in state(workdir, 1).items() if '/mu/' in k}


def relative(a: dict, b: dict) -> float:
  """The largest of |a - b| / |b| over arrays, norms of whole arrays."""
  return max(float(np.linalg.norm(np.subtract(a[k], b[k])) / max(np.linalg.norm(b[k]), 1e-30))
             for k in b)


def distance(a: pathlib.Path, b: pathlib.Path) -> float:
  """|theta_a - theta_b| / |theta_b| of all parameters after the last step."""
  x, y = ({k: v for k, v in state(w, STEPS).items() if k.startswith('params/')} for w in (a, b))
  difference = sum(float(((x[k] - y[k]) ** 2).sum()) for k in y)
  return (difference / sum(float((v**2).sum()) for v in y.values())) ** 0.5


def compare(model: str, directory: pathlib.Path, layouts) -> dict[str, dict]:
  """{layout: {'loss', 'gradient', 'distance', 'perturbed'}}, relative to 1x1f1."""
  directory.mkdir(parents=True, exist_ok=True)
  origin, moved = directory / f'{model}_start', directory / f'{model}_moved'
  for path, size in ((origin, 0.0), (moved, 1e-7)):
    if not (path / 'checkpoints').exists():
      start(model, path, size)
  one, other = directory / f'{model}_1x1f1', directory / f'{model}_1x1f1_moved'
  trained(model, origin, one, '1x1f1')
  trained(model, moved, other, '1x1f1')
  perturbed, found = distance(other, one), {}
  for layout in layouts:
    workdir = directory / f'{model}_{layout}'
    trained(model, origin, workdir, layout)
    found[layout] = {'loss': relative(first_losses(workdir), first_losses(one)),
                     'gradient': relative(gradients(workdir), gradients(one)),
                     'distance': distance(workdir, one), 'perturbed': perturbed}
  return found


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--dir', type=pathlib.Path, required=True)
  parser.add_argument('--models', default=','.join(MODELS))
  parser.add_argument('--layouts', default=','.join(LAYOUTS))
  args = parser.parse_args()
  print('model layout loss gradient distance perturbed')
  for model in args.models.split(','):
    for layout, row in compare(model, args.dir, args.layouts.split(',')).items():
      print(model, layout, *(f'{row[k]:.2e}' for k in ('loss', 'gradient', 'distance',
                                                       'perturbed')), flush=True)


if __name__ == '__main__':
  main()
