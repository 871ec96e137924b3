"""Data, encoders and checkpoints that are missing, damaged or somebody else's."""

import contextlib
import os
import shutil
import socket
import subprocess

import numpy as np
import pytest

from genjax.runs import rundir
from tests import programs
from tests.bad_input.conftest import TOY
from tests.programs import content, refused


def damage(path, how):
  """Flips a bit in the middle of a file, cuts it, or puts text in its place."""
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes({'flipped': bytes(data), 'truncated': bytes(data[:len(data) // 2]),
                    'foreign': b'somebody else wrote this'}[how])


def largest(checkpoint):
  """The file of a checkpoint that holds the arrays."""
  return max((p for p in checkpoint.rglob('*') if p.is_file() and p.parent != checkpoint),
             key=lambda p: p.stat().st_size)


def npz(path):
  np.savez(path, x=np.random.RandomState(0).randint(0, 256, (40, 4, 4, 1)).astype(np.uint8))
  return path


@pytest.mark.parametrize('how', ['missing', 'truncated', 'foreign', 'no key x', 'not finite'])
def test_data_file(tmp_path, train, how):
  path = npz(tmp_path / 'data.npz')
  if how == 'missing':
    path.unlink()
  elif how == 'no key x':
    np.savez(path, y=np.zeros((3, 2)))
  elif how == 'not finite':
    np.savez(path, x=np.full((30, 2), np.nan))
  else:
    damage(path, how)
  before = content(tmp_path)
  done = train(tmp_path / 'run', config=f'configs/folder.py:path={path},family=vae')
  refused(done, str(path), {'missing': 'does not exist', 'no key x': 'it has: y',
                            'not finite': '60 values of x are not finite'}.get(how, 'cannot read'))
  assert content(tmp_path) == before


@pytest.mark.parametrize('how', ['empty', 'foreign'])
def test_folder_of_images(tmp_path, train, how):
  (tmp_path / 'images').mkdir()
  if how == 'foreign':
    (tmp_path / 'images' / 'a.png').write_text('no picture')
  done = train(tmp_path / 'run', config=f'configs/folder.py:path={tmp_path / "images"},family=vae')
  refused(done, 'images', 'looked for .png' if how == 'empty' else 'a.png')
  assert not (tmp_path / 'run').exists()


def test_a_set_of_tfds_that_is_not_prepared_is_said_within_five_seconds(tmp_path):
  done = programs.run(
      'experiments.train', '--config=configs/tfds_images.py:data=mnist,family=vae',
      f'--workdir={tmp_path / "run"}', env={'GENJAX_DATA': str(tmp_path)})
  refused(done, "'mnist' is not prepared", 'python -m genjax prepare --data=mnist', '--from=')
  assert done.seconds < 5 and content(tmp_path) == {}


def test_preparing_without_a_network(tmp_path):
  with socket.socket() as closed:
    closed.bind(('127.0.0.1', 0))
    proxy = f'http://127.0.0.1:{closed.getsockname()[1]}'
  done = programs.run('experiments.prepare', '--data=mnist', f'--data_dir={tmp_path / "cache"}',
                      env=dict.fromkeys(('http_proxy', 'https_proxy', 'HTTPS_PROXY'), proxy))
  refused(done, "'mnist'", 'no connection to', 'train-images', '--from=DIR')
  assert done.seconds < 5 and os.listdir(tmp_path / 'cache') == []


@pytest.mark.parametrize('how', ['missing', 'truncated', 'flipped', 'foreign'])
def test_encoder(tmp_path, train, how):
  path = tmp_path / 'mine.npz'
  shutil.copy(programs.ROOT / 'genjax/encoders/weights/digits.npz', path)
  path.unlink() if how == 'missing' else damage(path, how)
  before = content(tmp_path)
  done = train(tmp_path / 'run', f'--config.evals.encoder={path}',
               config='configs/digits.py:family=implicit,objective=wasserstein')
  refused(done, str(path), 'cannot read' if how == 'missing' else 'is no encoder')
  assert content(tmp_path) == before


@pytest.mark.parametrize('how', ['truncated', 'flipped'])
def test_newest_checkpoint(run, train, how):
  damage(largest(run / 'checkpoints' / '20'), how)
  before = content(run)
  done = programs.run('experiments.sample', f'--workdir={run}', f'--out={run.parent}/x.npz')
  assert done.code == 0 and 'of step 10' in done.stdout
  assert 'warning: checkpoint 20' in done.stderr and 'damaged' in done.stderr
  assert content(run) == before
  done = train(run)
  assert done.code == 0 and 'Traceback' not in done.stderr, done.stderr
  assert 'warning: checkpoint 20' in done.stdout and 'steps 10 to 20' in done.stdout
  assert 'damaged' not in train(run).stdout  # it was written again


@pytest.mark.slow
@pytest.mark.parametrize('how', ['truncated', 'flipped'])
def test_all_checkpoints(run, train, how):
  for step in ('10', '20'):
    damage(largest(run / 'checkpoints' / step), how)
  before = content(run)
  for done in (train(run), train(run, '--config.steps=30'),
               programs.run('experiments.evaluate', f'--workdir={run}'),
               programs.run('experiments.sample', f'--workdir={run}', '--out=x.png')):
    refused(done, 'no checkpoint can be restored', 'checkpoint 20', 'checkpoint 10', str(run))
  assert content(run) == before


def test_run_of_another_version(run):
  record = rundir.read(run)
  del record['config']['sampler']
  rundir.record(run, record)
  before = content(run)
  for program, out in (('evaluate', ()), ('sample', (f'--out={run.parent}/x.npz',))):
    refused(programs.run(f'experiments.{program}', f'--workdir={run}', *out),
            'no sampler.name', 'this version')
  assert content(run) == before


def test_checkpoint_of_another_model(run, train, tmp_path):
  other = tmp_path / 'other'
  assert train(other, config=f'{TOY},model.covariance=diagonal').code == 0
  shutil.rmtree(run / 'checkpoints')
  shutil.copytree(other / 'checkpoints', run / 'checkpoints')
  before = content(run)
  for done in (train(run), train(run, '--config.steps=30'),
               programs.run('experiments.evaluate', f'--workdir={run}')):
    refused(done, 'checkpoint of another model', 'stored', 'wanted', 'float32')
  assert content(run) == before


def test_checkpoints_without_a_config(run, train):
  (run / 'config.json').unlink()
  before = content(run)
  refused(train(run), str(run), 'no config.json', 'another --workdir')
  assert content(run) == before


@pytest.mark.parametrize('how', ['truncated', 'flipped', 'foreign'])
def test_config_of_a_run(run, train, how):
  damage(run / 'config.json', how)
  before = content(run)
  for done in (train(run), programs.run('experiments.evaluate', f'--workdir={run}')):
    refused(done, f'{run / "config.json"}', 'damaged', 'allowed: the --workdir')
  assert content(run) == before


def test_another_trajectory_and_fewer_steps(run, train):
  before = content(run)
  refused(train(run, '--config.optim.lr=0.5'), 'optim.lr: ', ' there, 0.5 now', '--workdir')
  refused(train(run, '--config.steps=10'), 'steps=10', 'step 20', 'another --workdir')
  assert content(run) == before


@contextlib.contextmanager
def disk(path, options):
  """A small file system of its own at `path`; root may write past permissions, not past this."""
  path.mkdir(exist_ok=True)
  mount = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(path)]
  if subprocess.run(mount, capture_output=True).returncode:
    pytest.skip('mounting needs root')
  try:
    yield path
  finally:
    subprocess.run(['umount', str(path)], check=True)


def test_read_only_workdir(trained, train, tmp_path):
  with disk(tmp_path / 'disk', 'size=9m') as root:
    shutil.copytree(trained, root / 'run')
    subprocess.run(['mount', '-o', 'remount,ro', str(root)], check=True)
    before = content(root)
    for workdir in (root / 'new', root / 'run'):
      refused(train(workdir, '--config.steps=30'), str(workdir), 'ead-only')
    refused(programs.run('experiments.evaluate', f'--workdir={root}/run', '--metrics=likelihood'),
            str(root), 'ead-only')
    refused(programs.run('experiments.sample', f'--workdir={root}/run', f'--out={root}/x.npz'),
            f'{root}/x.npz', 'ead-only')
    assert content(root) == before


def test_workdir_below_a_file(train, tmp_path):
  (tmp_path / 'file').write_text('mine')
  before = content(tmp_path)
  refused(train(tmp_path / 'file' / 'run'), f'{tmp_path}/file')
  refused(train(tmp_path / 'file'), f'{tmp_path}/file')
  assert content(tmp_path) == before


def test_full_disk(train, tmp_path):
  flags = ('--config.steps=400', '--config.checkpoint.keep_last=400')
  with disk(tmp_path / 'disk', 'size=200k') as root:
    done = train(root / 'run', *flags)
    refused(done, 'No space left on device', str(root / 'run'))
    whole = sorted(p.name for p in (root / 'run' / 'checkpoints').iterdir())
    assert all(name.isdigit() for name in whole)
    sampled = programs.run('experiments.sample', f'--workdir={root}/run', f'--out={tmp_path}/x.npz')
    assert sampled.code == 0 and 'warning' not in sampled.stderr  # what was saved is whole
    assert f'of step {max(map(int, whole))} ' in sampled.stdout


def test_training_that_diverges(run, train):
  before = content(run / 'checkpoints')
  lines = (run / 'metrics.jsonl').read_text()
  new = run.parent / 'new'
  refused(train(new, '--config.optim.lr=1e38'), 'diverged at step 2:', 'model/loss=', 'model/nll=',
          f'last good checkpoint: none in {new}')
  assert not (new / 'checkpoints').exists()
  # the loss of the only step is finite, the state that it leads to is not
  refused(train(new.with_name('one'), '--config.optim.lr=1e39', '--config.steps=1',
                '--config.steps_per_dispatch=1', '--config.log.every=1'),
          'diverged', 'state of step 1 is not finite', 'params/model', 'model/loss=',
          'last good checkpoint: none')
  assert content(run / 'checkpoints') == before and (run / 'metrics.jsonl').read_text() == lines
