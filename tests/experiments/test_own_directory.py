"""A run directory is all that sampling, loading, guides and init_from need of a run."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest

import genjax
from genjax import configs, runs
from genjax.types import BadInput, DataSpec
from tests import programs
from tests.programs import content, refused

ARGUMENT = 'family=diffusion,objective=score_matching,denoiser.width=8,denoiser.num_blocks=1'
TINY = ('--config.steps=4', '--config.steps_per_dispatch=2', '--config.log.every=2',
        '--config.checkpoint.every=2', '--config.batch_size=8', '--config.evals.num_samples=20',
        '--config.optim.warmup=0', '--noevaluate')


def points(path, seed=0):
  np.savez(path, x=np.random.default_rng(seed).normal(size=(60, 3)).astype(np.float32))


def train(workdir, data, *flags):
  return programs.run('experiments.train', f'--config=configs/folder.py:path={data},{ARGUMENT}',
                      f'--workdir={workdir}', *programs.merged(*TINY, *flags))


@pytest.fixture(scope='module', name='trained')
def _trained(tmp_path_factory):
  """A run, and its data, which are no longer where they were."""
  root = tmp_path_factory.mktemp('own')
  points(root / 'points.npz')
  done = train(root / 'run', root / 'points.npz')
  assert done.code == 0, done.stderr
  (root / 'points.npz').rename(root / 'moved.npz')
  return root


@pytest.fixture(name='root')
def _root(trained, tmp_path):
  shutil.copytree(trained / 'run', tmp_path / 'run')
  shutil.copy(trained / 'moved.npz', tmp_path / 'moved.npz')
  return tmp_path


@pytest.mark.slow
def test_sampling_and_loading_need_no_data(trained, tmp_path):
  out = tmp_path / 'x.npz'
  done = programs.run('experiments.sample', f'--workdir={trained / "run"}', f'--out={out}',
                      '--num=3', '--num_steps=2')
  assert done.code == 0 and done.stderr == '', done.stderr
  assert np.load(out)['x'].shape == (3, 3)
  model, params, spec = genjax.load(trained / 'run')
  assert spec == DataSpec((3,), None, None) and model.sample and params
  run = runs.load(trained / 'run')
  assert run.dataset.identity['sha256'].keys() == {'train', 'validation', 'test'}
  assert type(run.dataset.splits['train']['x']).__name__ == 'ShapeDtypeStruct'


def test_a_guide_needs_no_data(trained):
  guided = runs.load(trained / 'run', sampler={
      'guidance': {'weight': 2.0, 'interval': (), 'autoguidance': str(trained / 'run')}})
  assert guided.params.keys() == {'model', 'guide'}


def test_evaluation_names_data_that_have_moved_or_changed(trained, root):
  before = content(root)
  done = programs.run('experiments.evaluate', f'--workdir={root / "run"}')
  refused(done, str(root / 'run'), 'points.npz', 'does not exist')
  points(root / 'other.npz', seed=1)
  here = shutil.copytree(root / 'run', root / 'here')
  record = runs.rundir.read(here)
  record['config']['data']['kw']['path'] = str(root / 'other.npz')
  runs.rundir.record(here, record)
  with pytest.raises(BadInput, match=r'have changed since its training: npz .*other\.npz: train, '
                                     r'validation, test \(sha256 \w{12} there, \w{12} now\)'):
    runs.load(here, with_data=True)
  assert {k: v for k, v in content(root).items() if k in before} == before


@pytest.mark.slow
def test_moved_data_with_the_same_content_are_the_same_run(root):
  done = train(root / 'run', root / 'moved.npz', '--config.steps=6')
  assert done.code == 0 and 'steps 4 to 6' in done.stdout, done.stderr
  changes = runs.rundir.read(root / 'run')['history'][0]['changes']
  assert changes['data.kw.path'][1] == str(root / 'moved.npz')
  done = programs.run('experiments.evaluate', f'--workdir={root / "run"}', '--metrics=likelihood')
  assert done.code == 0, done.stderr
  points(root / 'moved.npz', seed=1)
  refused(train(root / 'run', root / 'moved.npz', '--config.steps=8'), 'data set.sha256.train')


@pytest.mark.slow
def test_a_run_starts_at_one_whose_data_have_moved(root):
  done = train(root / 'new', root / 'moved.npz', f'--config.init_from={root / "run"}')
  assert done.code == 0, done.stderr
  assert runs.rundir.read(root / 'new')['init_from']['step'] == 4


def test_a_home_directory_is_expanded_wherever_a_path_stands(root, monkeypatch):
  done = programs.run('experiments.sample', '--workdir=~/run', '--out=~/x.npz', '--num=2',
                      '--num_steps=1', env={'HOME': str(root)})
  assert done.code == 0 and (root / 'x.npz').exists(), done.stderr
  monkeypatch.setenv('HOME', '/home/a,b')  # what a grammar would split
  config = configs.load('configs/folder.py:path=~/images,family=vae')
  configs.override(config, {'init_from': '~/run', 'evals.encoder': '~/e.npz'})
  assert (config.data.kw.path, config.init_from, config.evals.encoder) == (
      '/home/a,b/images', '/home/a,b/run', '/home/a,b/e.npz')
  assert runs.rundir.place('~/run') == pathlib.Path('/home/a,b/run')


@pytest.mark.parametrize('text, path', [
    ("'/data/a,b'", '/data/a,b'), ('"/data/a,b"', '/data/a,b'), ("'/it, [odd'", '/it, [odd'),
    ('"/it\'s, here"', "/it's, here"), ('/data/a b', '/data/a b'), ("'/plain'", '/plain')])
def test_quotes_protect_commas(text, path):
  config = configs.load(f'configs/folder.py:path={text},family=flow')
  assert (config.data.kw.path, config.model.family) == (path, 'flow')


@pytest.mark.parametrize('verb', ['sample', 'evaluate'])
def test_a_place_that_cannot_be_written_is_found_before_the_work(trained, verb):
  asked = {'sample': (f'--workdir={trained / "run"}', '--out=/proc/x.npz'),
           'evaluate': ('--samples=/no/such/samples', '--reference=digits:test',
                        '--out=/proc/x.json')}[verb]
  said = refused(programs.run(f'experiments.{verb}', *asked), 'cannot write', '/proc/x.')
  assert 'samples' not in said  # the first that the work would have met


def test_an_evaluation_writes_its_record_and_table_together(tmp_path):
  samples = tmp_path / 'x.npz'
  np.savez(samples, x=np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
  done = programs.run('experiments.evaluate', f'--samples={samples}', f'--reference={samples}',
                      '--encoder=identity', '--metrics=fd', f'--out={tmp_path}/new/a.json')
  assert done.code == 0, done.stderr
  assert sorted(p.name for p in (tmp_path / 'new').iterdir()) == ['a.json', 'a.md']
  value = json.loads((tmp_path / 'new' / 'a.json').read_text())['metrics']['fd']['value']
  assert re.search(r'fd', (tmp_path / 'new' / 'a.md').read_text()) and abs(value) < 1e-3
