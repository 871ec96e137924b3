"""Codes of an autoencoder: what is written is what is read, by rows, and damage is named."""

import hashlib
import json
from concurrent import futures

import jax
import numpy as np
import pytest

from genjax import configs, data, wiring
from genjax.data import latents, records, store
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, DataSpec, Model
from tests import programs

SCALE = 0.5
N = {'train': 200, 'test': 40}
FIRST, SECOND = 'train-00000.array_record', 'train-00001.array_record'


@pytest.fixture(scope='module')
def moments():
  """{split: (mean, std, label)}: digits by a linear encoder to [8, 8, 4]."""
  digits = data.load('digits')
  random = np.random.RandomState(0)
  matrix = random.normal(size=(64, 256)) / 8
  out = {}
  for split, n in N.items():
    x = digits.splits[split]['x'][:n].reshape(n, 64) / 8.0 - 1.0
    mean = (x @ matrix).astype(np.float16).reshape(n, 8, 8, 4)
    std = random.uniform(0.01, 0.1, size=mean.shape).astype(np.float16)
    out[split] = mean, std, digits.splits[split]['cond'][:n]
  return out


def write(path, moments, **kw):
  latents.write(path, {split: zip(*parts, strict=True) for split, parts in moments.items()}, **{
      'scale_factor': SCALE, 'autoencoder': 'linear', 'autoencoder_sha256': 'ab' * 32,
      'num_classes': 10, 'records_per_file': 64, **kw})
  return path


@pytest.fixture
def codes(moments, tmp_path):
  return write(tmp_path / 'codes', moments)


def load(path, **kw):
  return data.load('latents', path=str(path), **kw)


def test_columns_are_what_was_written(codes, moments):
  sets = load(codes)
  assert sets.spec == DataSpec((8, 8, 4), None, 10)
  assert data.properties(sets) == {'continuous', 'code', 'labels', 'training_set'}
  assert {split: len(a['x']) for split, a in sets.splits.items()} == {
      'train': 180, 'validation': 20, 'test': 40}
  mean, std, label = moments['test']
  test = sets.splits['test']
  for key, expected in (('x', mean.astype(np.float32) * np.float32(SCALE)),
                        ('std', std.astype(np.float32) * np.float32(SCALE)), ('cond', label)):
    column = test[key]
    assert (column.shape, column.ndim) == (expected.shape, expected.ndim)
    assert len(column) == 40 and column.dtype == expected.dtype
    for index in (np.array([3, 39, 0, 3]), [5, 1], slice(2, 30, 7), slice(None), 7, -1,
                  np.arange(40) % 3 == 0, np.array([], int)):
      got = column[index]
      assert got.dtype == column.dtype and type(got) is np.ndarray
      np.testing.assert_array_equal(got, expected[index])
    np.testing.assert_array_equal(np.asarray(column), expected)
    with pytest.raises(IndexError):
      column[[40]]


def test_validation_is_carved_from_train(codes, moments):
  sets = load(codes)
  parts = [sets.splits[split]['x'][:] for split in ('train', 'validation')]
  expected = moments['train'][0].astype(np.float32) * np.float32(SCALE)
  seen = [x.tobytes() for part in parts for x in part]
  assert sorted(seen) == sorted(x.tobytes() for x in expected)
  assert 'validation = 20 of train' in sets.identity['recipe']


def test_a_batch_reads_its_records_once(codes, monkeypatch):
  train, reads = load(codes).splits['train'], []
  read = records.Records.read
  monkeypatch.setattr(records.Records, 'read',
                      lambda self, rows: reads.append(rows) or read(self, rows))
  batch = data.batches(train, 32)[5]
  assert set(batch) == {'x', 'std', 'cond'} and [len(rows) for rows in reads] == [32]
  assert train['x'][:4].shape == (4, 8, 8, 4) and len(reads[1]) == 4  # and no more than asked for


@pytest.mark.parametrize('num_threads', [None, 4])
def test_loader_reads_ahead_and_resumes(codes, num_threads):
  source = data.batches(load(codes).splits['train'], 32, seed=1)
  assert source.is_mapped
  reader = data.loader(source, 3, num_threads=num_threads)
  assert type(reader).__module__.startswith('grain')
  for i in range(3, 25):
    batch, expected = next(reader), source[i]
    for key in ('x', 'std', 'cond'):
      np.testing.assert_array_equal(batch[key], expected[key])


def test_threads_do_not_see_each_others_rows(codes, monkeypatch):
  test, reads = load(codes).splits['test'], []
  whole = {key: column[:] for key, column in test.items()}
  read = records.Records.read
  monkeypatch.setattr(records.Records, 'read',
                      lambda self, rows: reads.append(rows) or read(self, rows))
  with futures.ThreadPoolExecutor(1) as one, futures.ThreadPoolExecutor(1) as other:
    for key in test:  # by turns: a batch of either costs one read all the same
      for thread, rows in ((one, [3, 5]), (other, [8, 2, 9])):
        got = thread.submit(test[key].__getitem__, rows).result()
        np.testing.assert_array_equal(got, whole[key][rows])
  assert [rows.tolist() for rows in reads] == [[3, 5], [8, 2, 9]]


def test_prepare_draws_from_the_moments(codes):
  sets = load(codes)
  rows = {key: column[:] for key, column in sets.splits['test'].items()}
  still = data.prepare(rows, sets.spec)
  assert set(still) == {'x', 'cond'}
  np.testing.assert_array_equal(still['x'], rows['x'])
  drawn = [data.prepare(rows, sets.spec, jax.random.key(seed))['x'] for seed in (0, 0, 1)]
  np.testing.assert_array_equal(drawn[0], drawn[1])
  for x in drawn[1:]:
    z = (np.asarray(x) - rows['x']) / rows['std']  # 10240 standard normals
    assert abs(z.mean()) < 5 / np.sqrt(z.size) and abs(z.std() - 1) < 5 / np.sqrt(2 * z.size)
  assert not np.array_equal(drawn[0], drawn[2])


def test_identity_is_the_content(codes, moments, tmp_path):
  identity = load(codes).identity
  assert 'linear (sha256 ' + 'ab' * 32 in identity['recipe']
  codes.rename(tmp_path / 'moved')
  assert load(tmp_path / 'moved').identity == identity
  assert load(write(tmp_path / 'b', moments, records_per_file=1000)).identity == identity
  assert load(write(tmp_path / 'c', moments, scale_factor=0.25)).identity != identity
  label = (moments['test'][2] + 1) % 10
  other = {**moments, 'test': (*moments['test'][:2], label)}
  sha = load(write(tmp_path / 'd', other)).identity['sha256']
  assert sha['train'] == identity['sha256']['train'] and sha['test'] != identity['sha256']['test']


def read_all(path):
  for arrays in load(path).splits.values():
    arrays['x'][:]


def flipped(content, at):
  return content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]


@pytest.mark.parametrize(('name', 'damage', 'words'), [
    (SECOND, lambda b: b[:-1000], 'bytes, not'),
    (SECOND, lambda b: b'foreign!' * (len(b) // 8) + b' ' * (len(b) % 8), 'damaged or foreign'),
    (SECOND, lambda b: flipped(b, len(b) // 4), 'damaged or foreign'),
    (SECOND, None, 'is missing'),
    (latents.INDEX, lambda b: b[:50], 'was not written by'),
    (latents.INDEX, lambda b: b.replace(b'"scale_factor": ', b'"scale_factor": 1'),
     'does not match its digest'),
    (latents.INDEX, lambda b: b'[]', 'was not written by'),
    (latents.INDEX, lambda b: b.replace(b'latents 1', b'latents 2'), 'genjax latents 2'),
    (latents.INDEX, lambda b: b.replace(b'shape', b'form'), 'was not written by'),
    (latents.INDEX, lambda b: b.replace(b'"name"', b'"nom"'), 'was not written by')])
def test_damage_is_named(codes, name, damage, words):
  path = codes / name
  content = path.read_bytes()
  path.unlink()
  if damage:
    path.write_bytes(damage(content))
  with pytest.raises(BadInput, match=words) as refusal:
    read_all(codes)
  assert str(path) in str(refusal.value) and "'latents'" in str(refusal.value)


def test_files_of_another_set_are_foreign(codes, moments, tmp_path):
  """Of the same size, as the metadata says, but of other records."""
  small = {split: tuple(part[:, :4] if part.ndim > 1 else part for part in parts)
           for split, parts in moments.items()}
  other = write(tmp_path / 'other', small) / SECOND
  (codes / SECOND).write_bytes(other.read_bytes())
  index = store.unsealed(json.loads((codes / latents.INDEX).read_text()))
  index['splits']['train']['files'][SECOND][0] = other.stat().st_size
  (codes / latents.INDEX).write_text(json.dumps(store.seal(index)))
  with pytest.raises(BadInput, match=f'{SECOND} is damaged or foreign'):
    read_all(codes)
  index['splits']['train']['files'][SECOND][1] = 63
  (codes / latents.INDEX).write_text(json.dumps(store.seal(index)))
  with pytest.raises(BadInput, match=f'{SECOND} is damaged .*holds 64 records, not 63'):
    read_all(codes)


def test_bad_arguments(codes, tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_DATA', str(tmp_path))
  for kw, words in (({'path': str(tmp_path / 'gone')}, 'gone.*genjax prepare --data=latents'),
                    ({}, f'no latents.json in .*{tmp_path.name}/latents.*genjax prepare'),
                    ({'path': 3}, 'path=3'), ({'paht': ''}, "did you mean 'path'"),
                    ({'path': str(codes), 'shape': (8, 8, 3)}, r'shape=\(8, 8, 3\).*\(8, 8, 4\)'),
                    ({'path': str(codes), 'num_classes': 7}, 'num_classes=7.*10')):
    with pytest.raises(BadInput, match=words):
      data.load('latents', **kw)
  assert load(codes, shape=(8, 8, 4), num_classes=10).spec.num_classes == 10
  codes.rename(tmp_path / 'latents')  # where the cache has them
  assert len(data.load('latents').splits['test']['x']) == 40


def example(mean=0.0, std=1.0, label=0, shape=(2, 2, 1)):
  return np.full(shape, mean), np.full(shape, std), label


@pytest.mark.parametrize(('examples', 'kw', 'words'), [
    ([example(), example(mean=np.nan)], {}, 'train example 1 .*not finite'),
    ([example(mean=1e5)], {}, 'not finite in float16'),
    ([example(std=-1)], {}, 'negative std'),
    ([example(label=3)], {}, r'label 3; allowed: 0\.\.2'),
    ([example(label=1.5)], {}, 'label 1.5'),
    ([example(), example(shape=(2, 1, 1))], {}, r'example 1 has mean \(2, 1, 1\)'),
    ([(*example()[:1], np.ones(3), 0)], {}, r'std \(3,\)'),
    ([], {}, 'train split is empty'),
    ([example()], {'scale_factor': 0.0}, 'scale_factor=0.0'),
    ([example()], {'records_per_file': 0}, 'records_per_file=0')])
def test_what_cannot_be_written_leaves_nothing(tmp_path, examples, kw, words):
  kw = {'scale_factor': 1.0, 'autoencoder': 'a', 'autoencoder_sha256': '', 'num_classes': 3, **kw}
  with pytest.raises(BadInput, match=words):
    latents.write(tmp_path / 'codes', {'train': iter(examples)}, **kw)
  with pytest.raises(BadInput, match='splits valid; allowed: train, validation, test'):
    latents.write(tmp_path / 'codes', {'valid': iter(examples)}, **kw)
  assert list(tmp_path.iterdir()) == []
  (tmp_path / 'codes').mkdir()
  with pytest.raises(BadInput, match='codes exists already'):
    latents.write(tmp_path / 'codes', {'train': iter(examples)}, **kw)


def prepare(tmp_path, *argv):
  return programs.run('experiments.prepare', '--data=latents', f'--data_dir={tmp_path / "cache"}',
                      *argv)


@pytest.mark.slow
def test_program(moments, tmp_path):
  npz, weights = tmp_path / 'npz', tmp_path / 'weights'
  npz.mkdir()
  weights.write_bytes(b'weights')
  flags = (f'--from={npz}', '--scale_factor=0.5', '--num_classes=10', '--autoencoder=linear')
  programs.refused(prepare(tmp_path, *flags[1:]), '--from, --weights')
  lost = prepare(tmp_path, *flags, f'--weights={tmp_path / "lost"}')
  programs.refused(lost, '--weights=', 'No such')
  flags = (*flags, f'--weights={weights}')
  programs.refused(prepare(tmp_path, *flags), 'no train*.npz')
  for split, (mean, std, label) in moments.items():
    for i, part in enumerate(np.array_split(np.arange(len(mean)), 3)):
      np.savez(npz / f'{split}-{i}.npz', mean=mean[part], std=std[part], label=label[part])
  whole = (npz / 'train-1.npz').read_bytes()
  (npz / 'train-1.npz').write_bytes(whole[:-100])
  programs.refused(prepare(tmp_path, *flags), 'train-1.npz', 'cannot read')
  np.savez(npz / 'train-1.npz', mean=mean, label=label)
  programs.refused(prepare(tmp_path, *flags), 'train-1.npz', 'std')
  np.savez(npz / 'train-1.npz', mean=mean, std=std, label=label[:-1])
  programs.refused(prepare(tmp_path, *flags), 'train-1.npz', 'do not belong together')
  assert list((tmp_path / 'cache').iterdir()) == []
  (npz / 'train-1.npz').write_bytes(whole)
  done = prepare(tmp_path, *flags)
  assert done.code == 0, done.stderr
  assert ('240 arrays (8, 8, 4), continuous, 10 classes; train 180, validation 20, test 40; in '
          in done.stdout)
  direct = write(tmp_path / 'direct', moments,
                 autoencoder_sha256=hashlib.sha256(b'weights').hexdigest())
  assert load(tmp_path / 'cache' / 'latents').identity == load(direct).identity
  programs.refused(prepare(tmp_path, *flags), 'exists already')
  programs.refused(programs.run('experiments.prepare', '--data=mnist', '--scale_factor=1'),
                   '--scale_factor', '--data=latents')


def test_likelihood_is_of_draws_as_training_is(tmp_path):
  """E -log p = D / 2 scale^2 for means of 0, deviations of 1 and log p = -|x|^2 / 2."""
  moments = ((np.zeros((4, 4, 1)), np.ones((4, 4, 1)), 0) for _ in range(2000))
  latents.write(tmp_path / 'codes', {'train': moments}, scale_factor=SCALE, autoencoder='none',
                autoencoder_sha256='', num_classes=1)
  sets = load(tmp_path / 'codes')
  model = Model(init=None, log_prob=lambda params, batch, rng: -sum_event(batch['x']**2) / 2)
  config = configs.load('configs/imagenet256.py')
  run = wiring.evaluators(config, sets, model, 'train', ('likelihood',))['likelihood']
  value = run({}, None)['nll_exact_nats']
  assert value.low < 16 / 2 * SCALE**2 < value.high and value.high - value.low < 0.2


@pytest.mark.slow
def test_a_run_on_codes(codes, tmp_path):
  """Trains, evaluates and samples; a picture is refused, samples are codes."""
  run = tmp_path / 'run'
  small = {'steps': 4, 'batch_size': 8, 'log.every': 2, 'checkpoint.every': 2, 'mesh.fsdp': 1,
           'log.mfu': False, 'data.kw.path': codes, 'data.kw.shape': '(8,8,4)',
           'data.kw.num_classes': 10, 'networks.denoiser.kw.width': 16,
           'networks.denoiser.kw.num_blocks': 2, 'networks.denoiser.kw.num_heads': 2,
           'sampler.kw.num_steps': 3, 'evals.num_samples': 50,
           'evals.kw.likelihood.num_repeats': 1}
  done = programs.run('experiments.train', '--config=configs/imagenet256.py', f'--workdir={run}',
                      *(f'--config.{key}={value}' for key, value in small.items()))
  assert done.code == 0, done.stderr
  found = json.loads((run / 'eval.json').read_text())['metrics']
  assert np.isfinite(found['nll_bound_nats']['value']) and 'novelty_knn' in found
  assert 'fd' not in found and 'precision' not in found
  assert found['nll_bound_nats']['card']['of'] == 'draws of N(mean, std^2)'
  for name in ('frechet', 'prdc', 'classified'):
    done = programs.run('experiments.evaluate', f'--workdir={run}', f'--metrics={name}')
    programs.refused(done, f"evaluator '{name}'", 'data.image', 'codes of an autoencoder',
                     'no decoder')
  assert sorted(p.name for p in (run / 'samples').iterdir()) == ['final.npz', 'reference.npz']
  out = tmp_path / 'out.npz'
  done = programs.run('experiments.sample', f'--workdir={run}', '--num=5', f'--out={out}')
  assert done.code == 0, done.stderr
  with np.load(out) as file:
    assert file['x'].shape == (5, 8, 8, 4) and file['x'].dtype == np.float32
  picture = programs.run('experiments.sample', f'--workdir={run}', f'--out={tmp_path / "a.png"}')
  programs.refused(picture, 'a.png', '(8, 8, 4) are no picture', 'FILE.npz')
