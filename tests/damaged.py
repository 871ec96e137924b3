"""A small run with all that stands around it on a disk, and the readers of its figures.

LIVE/cache holds prepared data, kept features and figures and compiled programs; LIVE/runs a run
with labels and an average of its parameters, measured under two samplers; LIVE/encoder.npz the
classifier that both were measured with; LIVE/table the table that the two measurements fill.
"""

import json
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Callable

import jax
import numpy as np

from genjax import data, disk, runs
from genjax.runs import samples
from genjax.tables import collect, render

ROOT = pathlib.Path(__file__).parents[1]
DATA = 'flipped'
CONFIG = (f'configs/tfds_images.py:data={DATA},family=diffusion,objective=score_matching,'
          'denoiser=dit,denoiser.patch=4,denoiser.width=32,denoiser.num_blocks=1,model.prediction=v,'
          'conditional=True,objective.label_dropout=0.1')
SETTINGS = {'steps': 40, 'batch_size': 64, 'log.every': 10, 'checkpoint.every': 20, 'ema': 0.9,
            'select.metric': '', 'select.every': 0, 'optim.warmup': 0,
            'evals.names': ('likelihood', 'frechet', 'prdc', 'novelty'), 'evals.num_samples': 256,
            'evals.kw.likelihood.num_repeats': 1, 'sampler.kw.num_steps': 4}
TABLE = '''
from configs import columns
sizes = {{'tiny': {{'seeds': 1}}}}
def sweep(add, size):
  for steps in (4, 2):
    add(f'{{steps}} steps', {config!r}, {{**{settings!r}, 'sampler.kw.num_steps': steps}})
def metrics():
  c = columns.column
  return [c('nll_bound_bpd', 'bound', axes=('num_repeats', 'estimator')),
          c('fd', 'FD', 'lower', axes=('sampler',), floor='fd_data', digits=6),
          c('precision', 'precision', axes=('sampler',), digits=6),
          c('train_seconds', 'seconds', source='provenance', digits=6)]
def note():
  return 'Two samplers of one run.'
'''


def make(root: pathlib.Path) -> pathlib.Path:
  """LIVE, filled by the programs as a user runs them; GENJAX_CACHE is set to the cache in it."""
  live = root / 'live'
  live.mkdir(parents=True)
  os.environ['GENJAX_CACHE'] = str(live / 'cache')
  os.environ.pop('GENJAX_DATA', None)
  write_idx(root / 'idx')
  settings = {**SETTINGS, 'evals.encoder': str(live / 'encoder.npz')}
  (root / 'table.py').write_text(TABLE.format(config=CONFIG, settings=settings))
  program('prepare', f'--data={DATA}', f'--from={root / "idx"}')
  program('encoder', f'--data={DATA}', f'--out={live / "encoder.npz"}', '--steps=60')
  program('table', 'run', f'--table={root / "table.py"}', f'--out={live / "table"}',
          f'--runs={live / "runs"}')
  return live


def write_idx(folder: pathlib.Path) -> None:
  """The bundled digits as the four idx files of an MNIST-like set."""
  digits = data.load('digits')
  folder.mkdir()
  for split, prefix in (('train', 'train'), ('test', 't10k')):
    x = disk.to_bytes(digits.splits[split]['x'][..., 0], 17)
    labels = digits.splits[split]['cond'].astype(np.uint8)
    for stem, array in (('images-idx3', x), ('labels-idx1', labels)):
      header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>i4').tobytes()
      (folder / f'{prefix}-{stem}-ubyte').write_bytes(header + array.tobytes())


def program(name: str, *arguments: str) -> None:
  """Runs python -m experiments.NAME. Raises RuntimeError with what it printed where it fails."""
  done = subprocess.run([sys.executable, '-m', f'experiments.{name}', *arguments], cwd=ROOT,
                        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
  if done.returncode:
    raise RuntimeError(f'experiments.{name} ends with {done.returncode}:\n{done.stdout}')


def readers(root: pathlib.Path) -> dict[str, Callable[[], dict[str, str]]]:
  """{name: read() -> {figure: its text}}: what the verbs of a user print, in this process."""
  live = root / 'live'
  [workdir] = (path.parent for path in (live / 'runs').glob('*/config.json'))
  return {
      'data': prepared,
      'collect': lambda: collected(root),
      'sample': lambda: sampled(workdir),
      'own samples': lambda: measured_samples(live, workdir),
      'evaluate --metrics=fd': lambda: evaluated(workdir, ('fd',)),
      'evaluate': lambda: evaluated(workdir, None)}


def prepared() -> dict[str, str]:
  """What training reads: the digest of every split, and the names and shapes beside them."""
  dataset = data.load(DATA)
  return {'spec': str(dataset.spec), 'identity': disk.to_json(dataset.identity),
          **{split: disk.digest(arrays) for split, arrays in dataset.splits.items()}}


def collected(root: pathlib.Path) -> dict[str, str]:
  """The table as `table collect` prints it, with a warning for each cell that it calls damaged."""
  from experiments import table as tables  # defines flags, which another program may define too
  live = root / 'live'
  table = tables.read(str(root / 'table.py'), 'tiny', str(live / 'table'), None, str(live / 'runs'))
  content = collect.collect(table.rows, table.cells, table.columns, 'commit')
  for cell in content['missing']:
    if cell['status'] == 'damaged':
      warnings.warn(cell['reason'], stacklevel=1)
  return {'missing': disk.to_json(content['missing']),
          'table': render.markdown(content, table.name, table.note, {})}


def sampled(workdir: pathlib.Path) -> dict[str, str]:
  """The parameters of a run, and what `sample` draws from them."""
  run, drawn = runs.load(workdir), samples.of_run(str(workdir), 16, None)
  leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(run.params))}
  return {'step': str(run.step), 'parameters': disk.digest(leaves),
          'x': disk.digest({'x': drawn.x})}


def measured_samples(live: pathlib.Path, workdir: pathlib.Path) -> dict[str, str]:
  """What `evaluate --samples` prints of the samples that stand in a run."""
  content = samples.evaluate(str(workdir / 'samples' / 'final.npz'), f'{DATA}:test',
                             ('fd', 'precision', 'novelty_knn'), str(live / 'encoder.npz'))
  return {'table': samples.table(content)}


def evaluated(workdir: pathlib.Path, names: tuple[str, ...] | None) -> dict[str, str]:
  """The metrics of `evaluate` and what eval.json then holds."""
  metrics = runs.evaluate(workdir, names=names)
  record = json.loads((workdir / 'eval.json').read_text())
  return {**{f'eval.json {name}': disk.to_json(value) for name, value in record['metrics'].items()},
          **{name: disk.to_json(value._asdict()) for name, value in metrics.items()},
          'seconds of training': str(record['provenance']['train_seconds']),
          'step': str(record['step'])}
