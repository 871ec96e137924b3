"""Samples of any origin: the same figures from PNGs, an npz and arrays; one error for a mistake."""

import json

import numpy as np
import pytest
from PIL import Image

from genjax import data, encoders
from genjax.evals import frechet, two_sample
from genjax.runs import samples
from genjax.types import BadInput
from tests import programs
from tests.evals import asked

DIGITS = data.load('digits')
N = 300


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """Noisy training digits as levels, and on disk as other code would write them."""
  root = tmp_path_factory.mktemp('made')
  rng = np.random.default_rng(0)
  x = DIGITS.splits['train']['x'][rng.permutation(1197)[:N]].astype(int)
  levels = np.clip(x + rng.integers(-2, 3, x.shape), 0, 16)
  pixels = np.rint(levels * 255 / 16).astype(np.uint8)
  (root / 'png').mkdir()
  for i, image in enumerate(pixels):
    Image.fromarray(image[..., 0]).save(root / 'png' / f'{i:04d}.png')
  np.savez(root / 'x.npz', x=pixels)
  return root, levels


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path / 'cache'))
  return tmp_path / 'cache'


def figures(found):
  return {name: (v.value, v.low, v.high) for name, v in found['metrics'].items()}


def test_png_and_npz_give_the_figures_of_the_arrays(made):
  root, levels = made
  found = [samples.evaluate(str(root / name), 'digits:test', ['fd', 'precision'])
           for name in ('png', 'x.npz')]
  assert figures(found[0]) == figures(found[1])
  assert found[0]['samples']['sha256'] == found[1]['samples']['sha256']
  encoder = encoders.load('digits', DIGITS.spec)
  run = asked.of_samples(frechet, DIGITS, encoder=encoder, num_samples=N)
  order = two_sample.shuffled(levels)
  direct = run(lambda n: (order[:n], {}))['fd']
  assert figures(found[0])['fd'] == pytest.approx((direct.value, direct.low, direct.high), rel=1e-6)
  plain = frechet.frechet_distance(encoder.features(levels),
                                   encoder.features(DIGITS.splits['test']['x']))[0]
  assert direct.value == pytest.approx(plain, rel=1e-5)
  assert {'fd', 'fd_data', 'fd_single', 'precision'} <= set(found[0]['metrics'])
  assert 'recall' not in found[0]['metrics']


def test_a_second_call_computes_nothing(made, cache, monkeypatch):
  root = made[0]
  first = samples.evaluate(str(root / 'png'), 'digits:test', ['fd'])
  assert list((cache / 'features').iterdir())

  def never(*_, **__):
    raise AssertionError('computed again')

  monkeypatch.setattr(frechet, 'frechet_distance', never)
  monkeypatch.setattr(encoders.classifier, '_apply', never)
  assert samples.evaluate(str(root / 'x.npz'), 'digits:test', ['fd'])['metrics'] == first['metrics']
  with pytest.raises(AssertionError, match='computed again'):
    samples.evaluate(str(root / 'x.npz'), 'digits:test', ['fd'], num_samples=N - 1)


def test_feature_vectors_against_feature_vectors(tmp_path):
  rng = np.random.default_rng(0)
  for name, n in (('a', 200), ('b', 150), ('train', 150)):
    np.savez(tmp_path / f'{name}.npz', x=rng.standard_normal((n, 5)).astype(np.float32))
  a, b, train = (str(tmp_path / f'{name}.npz') for name in ('a', 'b', 'train'))
  found = samples.evaluate(a, b, ['fd'], encoder='identity')['metrics']
  assert set(found) == {'fd', 'fd_single'} and found['fd'].value < 1
  assert found['fd'].card['n_generated'] == 200 and found['fd'].card['n_reference'] == 150
  with pytest.raises(BadInput, match='novelty_knn.*--train='):
    samples.evaluate(a, b, ['novelty_knn'])
  both = samples.evaluate(a, b, ['fd', 'novelty_knn'], train=train)['metrics']
  assert {'fd_data', 'novelty_knn'} <= set(both) and both['fd'] == found['fd']
  with pytest.raises(BadInput, match='class probabilities|classified_09'):
    samples.evaluate(a, b, ['classified_09'])


def test_the_default_metrics_and_the_table(made):
  found = samples.evaluate(str(made[0] / 'x.npz'), 'digits:test')
  assert set(samples.DEFAULT) | set(samples.NOVELTY) <= set(found['metrics'])
  table = samples.table(found)
  rows = [line.split(' | ')[0].strip('| ') for line in table.splitlines() if line.startswith('| ')]
  assert rows[0] == 'metric' and set(rows[1:]) == {*samples.DEFAULT, *samples.NOVELTY}


def test_the_program_writes_json_and_a_table(made, tmp_path):
  out = tmp_path / 'fd.json'
  arguments = (f'--samples={made[0] / "png"}', '--reference=digits:test', '--metrics=fd')
  done = programs.run('experiments.evaluate', *arguments, f'--out={out}')
  assert done.code == 0, done.stderr
  content = json.loads(out.read_text())
  assert set(content['metrics']['fd']) == {'value', 'low', 'high', 'card'}
  assert content['reference']['name'] == 'digits:test' and content['samples']['n'] == N
  assert out.with_suffix('.md').read_text() in done.stdout and '| fd |' in done.stdout


MISTAKES = {
    'no samples': ((), ('--workdir', '--samples')),
    'no reference': (('--samples={png}',), ('--reference', 'DATASET:split')),
    'samples that are not there': (('--samples=/nowhere', '--reference=digits:test'),
                                   ('/nowhere', 'folder of images')),
    'split of no name': (('--samples={png}', '--reference=digits:tst'), ("'tst'", 'digits:test')),
    'metric of no name': (('--samples={png}', '--reference=digits:test', '--metrics=fid'),
                          ("'fid'", "'fd'", 'kid')),
    'encoder of no name': (('--samples={png}', '--reference=digits:test', '--encoder=vgg'),
                           ("'vgg'", 'inception', 'dinov2_l')),
    'more than there are': (('--samples={png}', '--reference=digits:test', '--num_samples=301'),
                            ('301', '1 to 300')),
    'other sizes': (('--samples={wide}', '--reference=digits:test'), ('(8, 9, 1)', '(8, 8, 1)')),
    'other channels': (('--samples={rgb}', '--reference=digits:test'), ('(8, 8, 3)', '(8, 8, 1)')),
    'floats for images': (('--samples={float}', '--reference=digits:test'),
                          ('continuous', '17 levels')),
    'not finite': (('--samples={nan}', '--reference=digits:test'), ('not finite',)),
    'not an npz': (('--samples={text}', '--reference=digits:test'), ('cannot read',)),
    'too few': (('--samples={few}', '--reference=digits:test', '--metrics=coverage'),
                ('2 examples',)),
    'needs training examples': (('--samples={png}', '--reference={png}', '--encoder=identity',
                                 '--metrics=c_t'), ('c_t', '--train=')),
    'a run is asked by its config': (('--workdir=x', '--encoder=digits'), ('--encoder',)),
    'not a json': (('--samples={png}', '--reference=digits:test', '--out=a.txt'), ('a.txt',)),
}


@pytest.fixture(scope='module')
def broken(made, tmp_path_factory):
  root = tmp_path_factory.mktemp('broken')
  arrays = {'wide': np.zeros((9, 8, 9, 1), np.uint8), 'rgb': np.zeros((9, 8, 8, 3), np.uint8),
            'float': np.zeros((9, 8, 8, 1), np.float32),
            'nan': np.full((9, 8, 8, 1), np.nan, np.float32),
            'few': np.zeros((2, 8, 8, 1), np.uint8)}
  for name, x in arrays.items():
    np.savez(root / f'{name}.npz', x=x)
  (root / 'text.npz').write_text('no archive')
  return {'png': made[0] / 'png', **{p.stem: p for p in root.iterdir()}}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_is_one_message(name, broken, tmp_path):
  arguments, words = MISTAKES[name]
  before = programs.content(tmp_path)
  done = programs.run('experiments.evaluate', *(a.format(**broken) for a in arguments))
  programs.refused(done, *words)
  assert {k: v for k, v in programs.content(tmp_path).items() if 'xla' not in k} == before


def test_lossy_images_warn(made, tmp_path):
  for i in range(3):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f'{i}.jpg')
  with pytest.warns(UserWarning, match='3 of 3 files are compressed with loss'):
    samples.read(str(tmp_path), 17)
