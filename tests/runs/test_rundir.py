"""A run directory goes on only as the run that it is."""

import copy
import hashlib
import json
import subprocess

import jax
import pytest

from genjax import disk
from genjax.runs import rundir
from genjax.types import BadInput

FACTS = {'name': 'digits', 'shape': [8, 8, 1]}
IDENTITY = {'name': 'digits', 'kw': {}, 'recipe': 'v1', 'sha256': {'train': 'ab', 'test': 'cd'}}
CONFIG = {
    'seed': 0, 'steps': 100, 'batch_size': 8, 'steps_per_dispatch': 1,
    'data': {'name': 'digits', 'kw': {}}, 'model': {'family': 'vae', 'kw': {'hidden': (64, 64)}},
    'objective': {'name': 'kl', 'kw': {}}, 'networks': {'critic': {'name': 'mlp', 'kw': {}}},
    'sampler': {'name': 'ddim', 'kw': {}},
    'optim': {'name': 'adam', 'lr': 1e-3, 'b1': 0.9, 'b2': 0.999, 'eps': 1e-8,
              'weight_decay': 0.0, 'clip': 0.0,
              'warmup': 0, 'decay': 'constant'},
    'optim_by_player': {'model': {'lr': None, 'decay': None}}, 'ema': 0.0, 'log': {'every': 10},
    'checkpoint': {'every': 50, 'keep_last': 2, 'keep_every': 0},
    'select': {'metric': '', 'every': 0},
    'evals': {'names': ('nll',), 'num_samples': 9, 'kw': {}, 'encoder': ''}}


def changed(**values):
  config = copy.deepcopy(CONFIG)
  for key, value in values.items():
    *sections, last = key.split('__')
    section = config
    for name in sections:
      section = section[name]
    section[last] = value
  return config


def content(path):
  return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file()
          else '' for p in sorted(path.rglob('*'))}


def opened(workdir, config, identity):
  path, record = rundir.agree(workdir, config, identity, None, FACTS)
  rundir.record(path, record)
  return path


def refused(workdir, config, identity=IDENTITY):
  before = content(workdir)
  with pytest.raises(BadInput) as caught:
    opened(workdir, config, identity)
  assert content(workdir) == before
  return str(caught.value)


@pytest.fixture(name='run')
def _run(tmp_path):
  return opened(tmp_path / 'runs' / 'a', CONFIG, IDENTITY)


def test_what_is_recorded(run):
  record = rundir.read(run)
  assert record['config'] == json.loads(json.dumps(CONFIG)) and record['data'] == IDENTITY
  assert record['facts'] == FACTS
  assert record['history'] == [] and 'cpu' in record['device']
  assert set(record['versions']) == {
      'python', 'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'numpy', 'genjax'}
  assert record['versions']['jax'] == jax.__version__
  assert rundir.provenance(run)['seed'] == 0


def test_the_same_config_changes_nothing(run):
  before = content(run)
  assert opened(run, CONFIG, IDENTITY) == run
  assert content(run) == before


@pytest.mark.parametrize('key,value', [
    ('seed', 1), ('batch_size', 16), ('steps_per_dispatch', 2), ('optim__lr', 2e-3),
    ('model__kw', {'hidden': (64, 32)}), ('objective__name', 'wasserstein'), ('ema', 0.9),
    ('optim_by_player__model__lr', 1e-4), ('optim__decay', 'cosine')])
def test_refusal_names_the_key_and_both_values(run, key, value):
  message = refused(run, changed(**{key: value}))
  name = 'model.kw.hidden' if key == 'model__kw' else key.replace('__', '.')
  line = next(line for line in message.splitlines() if line.strip().startswith(name + ':'))
  old = CONFIG
  for part in key.split('__'):
    old = old[part]
  if name == 'model.kw.hidden':
    old, value = old['hidden'], value['hidden']
  assert line.strip() == f'{name}: {json.dumps(old)} there, {json.dumps(value)} now'
  assert len([line for line in message.splitlines() if ' there, ' in line]) == 1


def test_a_new_key_is_named(run):
  message = refused(run, changed(model__kw={'hidden': (64, 64), 'latent': 3}))
  assert 'model.kw.latent: null there, 3 now' in message


def test_other_data_is_refused(run):
  message = refused(run, CONFIG, {**IDENTITY, 'sha256': {'train': 'ff', 'test': 'cd'}})
  assert 'data set.sha256.train: "ab" there, "ff" now' in message


def test_what_may_change_is_recorded(run):
  config = changed(steps=300, log__every=20, checkpoint__every=5, evals__names=('nll', 'frechet'),
                   sampler__name='ddpm', select__every=50, evals__encoder='digits')
  opened(run, config, IDENTITY)
  record = rundir.read(run)
  changes = record['history'][0]['changes']
  assert changes['steps'] == [100, 300] and changes['sampler.name'] == ['ddim', 'ddpm']
  assert set(changes) == {'steps', 'log.every', 'checkpoint.every', 'evals.names', 'sampler.name',
                          'select.every', 'evals.encoder'}
  assert record['config']['steps'] == 300 and record['created']
  opened(run, CONFIG, IDENTITY)
  assert len(rundir.read(run)['history']) == 2


@pytest.mark.parametrize('key', ['optim__decay', 'optim_by_player__model__decay'])
def test_steps_are_refused_where_the_learning_rate_depends_on_them(tmp_path, key):
  opened(tmp_path, changed(**{key: 'cosine'}), IDENTITY)
  assert 'steps: 100 there, 200 now' in refused(tmp_path, changed(**{key: 'cosine'}, steps=200))


@pytest.mark.parametrize('text', ['', '{"a": 1}', '[1]', 'not json', '\xff', '{"sha256": "0"}'])
def test_foreign_or_truncated_config(tmp_path, text):
  (tmp_path / 'config.json').write_text(text, encoding='latin-1')
  assert 'config.json' in refused(tmp_path, CONFIG)


@pytest.mark.parametrize('shape', [None, 3])
def test_a_directory_of_another_shape_is_refused_in_one_line(run, shape):
  record = rundir.read(run)
  assert record['shape'] == rundir.SHAPE
  disk.write_record(run / 'config.json', {**{k: v for k, v in record.items() if k != 'shape'},
                                          **({'shape': shape} if shape else {})})
  with pytest.raises(BadInput) as refusal:
    rundir.read(run)
  message = str(refusal.value)
  assert f'{run} is a run directory of shape {shape or 1}' in message and '\n' not in message
  assert f'commit {rundir.BEFORE}' in message
  assert message == refused(run, CONFIG)


def test_a_flipped_bit_in_the_config(run):
  path = run / 'config.json'
  path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
  assert 'damaged or was edited' in refused(run, CONFIG)


def test_directories_that_are_no_run(tmp_path):
  with pytest.raises(BadInput, match='is no run directory'):
    rundir.read(tmp_path / 'absent')
  (tmp_path / 'checkpoints').mkdir()
  assert 'has checkpoints but no config.json' in refused(tmp_path, CONFIG)
  with pytest.raises(BadInput, match='no --workdir'):
    opened(None, CONFIG, IDENTITY)
  (tmp_path / 'file').write_text('')
  with pytest.raises(OSError):
    opened(tmp_path / 'file' / 'run', CONFIG, IDENTITY)


def test_read_only(tmp_path):
  if subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', str(tmp_path)],
                    capture_output=True).returncode:
    pytest.skip('mounting needs root')
  try:
    opened(tmp_path / 'a', CONFIG, IDENTITY)
    subprocess.run(['mount', '-o', 'remount,ro', str(tmp_path)], check=True)
    before = content(tmp_path)
    for workdir, config in (('a', changed(steps=200)), ('new', CONFIG)):
      with pytest.raises(OSError, match='read-only|Read-only'):
        opened(tmp_path / workdir, config, IDENTITY)
    assert content(tmp_path) == before
  finally:
    subprocess.run(['umount', str(tmp_path)], check=True)


def test_training_time_is_that_of_the_logged_steps(run):
  (run / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in (
      {'step': 10, 'steps_per_second': 5.0}, {'step': 10, 'validation': 1.0},
      {'step': 30, 'steps_per_second': 10.0})))
  assert rundir.provenance(run)['train_seconds'] == 4.0


def test_a_log_that_ends_before_the_last_checkpoint_gives_no_training_time(run):
  (run / 'metrics.jsonl').write_text('{"step": 10, "steps_per_second": 5.0}\n')
  (run / 'checkpoints' / '10').mkdir(parents=True)
  assert rundir.provenance(run)['train_seconds'] == 2.0
  (run / 'checkpoints' / '20').mkdir()
  with pytest.raises(BadInput, match='metrics.jsonl is damaged: it ends at step 10.*of step 20'):
    rundir.provenance(run)
  (run / 'metrics.jsonl').unlink()
  assert rundir.provenance(run)['train_seconds'] is None


def test_commit_of_this_source():
  found = rundir.commit()
  assert found is None or len(found.removesuffix('-dirty')) == 40
