"""Synthetic cells and run directories for the tests of tables, which no training made."""

import json
import pathlib
import shlex

from genjax import disk
from genjax.tables import collect
from genjax.tables.cells import Row, cell

COMMIT = 'a' * 40


def config(seed, steps=10, **more):
  return {'seed': seed, 'steps': steps, 'data': {'name': 'digits'}, 'model': {'family': 'vae'},
          'objective': {'name': 'kl'}, 'sampler': {'name': 'ddim'}, 'log': {'every': 1},
          'evals': {'names': ['frechet'], 'encoder': ''}, **more}


def cells_of(rows, root, seeds):
  return [cell(row, seed, config(seed, family=row.config), str(root))
          for row in rows for seed in range(seeds)]


def card(metric='fd', **fields):
  return {'metric': metric, 'estimator': 'e', 'unit': 'u', 'split': 'test', 'n_generated': 100,
          'interval': {'reason': 'none'}, 'detail': {}, **fields}


def value(number, low=None, high=None, **fields):
  return {'value': number, 'low': low, 'high': high, 'card': card(**fields)}


def finish(cell, metrics, commit=COMMIT, **provenance):
  """Writes what a finished run leaves."""
  workdir = pathlib.Path(cell.workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  disk.write_record(workdir / 'eval.json', {
      'step': 10, 'selected': False, 'metrics': metrics,
      'provenance': {'commit': commit, 'config_hash': cell.config_hash, **provenance}})


def column(metric='fd', **fields):
  metric = (metric,) if isinstance(metric, str) else metric
  return {'metric': metric, 'label': metric[0], 'better': 'lower', 'split': 'test', 'axes': (),
          'floor': '', 'digits': 3, 'source': 'metric', 'detail': '', 'reduction': 'mean',
          'excess': False, **fields}


def table_of(rows, cells, columns=None):
  return collect.collect(rows, cells, columns or [column()], COMMIT)


ROWS = [Row('first row', 'c.py:a'), Row('second row', 'c.py:b')]


def begin(cell, config, step=None):
  """Writes what a run that was trained to `step` leaves, or one that has not saved."""
  workdir = pathlib.Path(cell.workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  disk.write_record(workdir / 'config.json', {'config': config, 'commit': COMMIT})
  if step:
    (workdir / f'checkpoints/{step}').mkdir(parents=True)
    (workdir / f'checkpoints/{step}/checkpoint.json').write_text('{}')


def grid(root, num, **more):
  """Cells of one training under several samplers."""
  made = [config(0, sampler={'name': f'sampler {i}'}, **more) for i in range(num)]
  rows = [Row(f'row {i}', 'c.py') for i in range(num)]
  return [cell(row, 0, each, str(root)) for row, each in zip(rows, made, strict=True)]


# what the commands of a fake cell do: log their name and, of a training, a checkpoint
FAKE = '''
import hashlib, json, pathlib, sys, time
kind, workdir, digest, config = sys.argv[1:]
log = pathlib.Path(workdir).parent / 'log'
with log.open('a') as file: file.write(f'{kind} begins\\n')
path = pathlib.Path(workdir)
def write(path, record):
  text = json.dumps(record, sort_keys=True, separators=(',', ':'))
  digest = hashlib.sha256(text.encode()).hexdigest()
  path.write_text(json.dumps({**record, 'sha256': digest}))
if kind == 'train':
  time.sleep(0.2)
  (path / 'checkpoints/10').mkdir(parents=True)
  (path / 'checkpoints/10/checkpoint.json').write_text('{}')
  write(path / 'config.json', {'config': json.loads(config)})
(path / 'evals').mkdir(exist_ok=True)
write(path / f'evals/{digest}.json', {'metrics': {}, 'provenance': {'config_hash': digest}})
with log.open('a') as file: file.write(f'{kind} ends\\n')
'''


def fake(cell, config):
  lines = {kind: shlex.join(['python', '-c', FAKE.replace('\\\\n', '\\n'), kind, cell.workdir,
                             cell.config_hash, json.dumps(config)])
           for kind in ('train', 'measure')}
  return cell._replace(**lines)
