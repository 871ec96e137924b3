"""A folder of one's own through the programs: names of classes, pictures, folders, other sizes."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import programs
from tests.programs import refused

TINY = ('--config.steps=2', '--config.steps_per_dispatch=1', '--config.log.every=2',
        '--config.checkpoint.every=2', '--config.batch_size=8', '--config.sampler.kw.num_steps=2',
        '--noevaluate')
ARGUMENT = ('family=diffusion,objective=score_matching,denoiser=dit,denoiser.width=16,'
            'denoiser.num_blocks=1,denoiser.num_heads=2,denoiser.patch=4,conditional=True')
CLASSES = ('cat', 'dog', 'owl')


def save(root, size=(8, 8), num=9):
  for split in ('train', 'test'):
    for c, name in enumerate(CLASSES):
      (root / split / name).mkdir(parents=True)
      for i in range(num):
        Image.fromarray(np.full((*size, 3), 20 * i + c, np.uint8)).save(
            root / split / name / f'{i}.png')
  return root


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run on a folder whose path is given relative to the home directory, and what it said."""
  root = tmp_path_factory.mktemp('own')
  save(root / 'photos')
  done = programs.run('experiments.train', f'--config=configs/folder.py:path=~/photos,{ARGUMENT}',
                      f'--workdir={root / "run"}', *TINY, env={'HOME': str(root)})
  assert done.code == 0, done.stderr
  return root, done.stdout


def sample(root, out, *flags):
  done = programs.run('experiments.sample', f'--workdir={root / "run"}', f'--out={out}', *flags)
  assert done.code == 0 and done.stderr == '', done.stderr
  return done.stdout


def test_one_line_says_what_was_read_and_the_run_knows_the_absolute_path(trained):
  root, said = trained
  counts = ', '.join(f'{name} ' for name in CLASSES)
  [line] = [line for line in said.splitlines() if line.startswith('folder: ')]
  assert line.startswith('folder: 54 images 8x8 RGB, 256 levels (0 to 162 occur), 3 classes (cat ')
  assert line.endswith(f'; train 24, validation 3, test 27; from {root}/photos')
  assert all(name in line for name in counts.split(', '))
  config = json.loads((root / 'run' / 'config.json').read_text())['config']
  assert config['data']['kw']['path'] == str(root / 'photos')


def test_a_class_is_asked_for_by_its_name(trained):
  root, _ = trained
  said = sample(root, root / 'x.npz', '--num=3', '--cond=owl')
  assert '3 samples of owl 3 of step 2' in said
  file = np.load(root / 'x.npz')
  assert file['labels'].tolist() == [2, 2, 2] and file['classes'].tolist() == list(CLASSES)
  assert file['x'].shape == (3, 8, 8, 3)


def test_a_class_of_no_such_name_is_refused(trained):
  root, _ = trained
  refused(programs.run('experiments.sample', f'--workdir={root}/run', f'--out={root}/no.png',
                       '--cond=owll'), 'cond=owll', "did you mean 'owl'", 'cat, dog, owl')


@pytest.mark.slow
def test_a_folder_gets_one_image_a_sample_with_the_name_of_its_class(trained):
  root, _ = trained
  out = root / 'drawn'
  assert 'none 1' not in sample(root, f'{out}/', '--num=5')
  names = sorted(path.name for path in out.iterdir())
  assert [name[:6] for name in names] == [f'{i:05d}-' for i in range(5)]
  assert all(name[6:-4] in CLASSES for name in names)
  sample(root, root / 'same.npz', '--num=5')
  drawn = np.load(root / 'same.npz')
  for name, x, label in zip(names, drawn['x'], drawn['labels'], strict=True):
    np.testing.assert_array_equal(np.asarray(Image.open(out / name)), x)
    assert name[6:-4] == CLASSES[label]
  assert not list(root.glob('.drawn*'))
  refused(programs.run('experiments.sample', f'--workdir={root}/run', f'--out={out}/'),
          f'{out}/ has files already', 'a new or an empty folder')


@pytest.mark.slow
def test_names_stand_below_the_images_of_a_picture(trained):
  root, _ = trained
  sample(root, root / 'one.png', '--num=4', '--cond=cat')
  sample(root, root / 'all.png', '--num=4')
  with Image.open(root / 'one.png') as one, Image.open(root / 'all.png') as named:
    assert one.width == named.width == 2 * 50 + 2
    assert (one.height, named.height) == (2 * 50 + 2, 2 * 62 + 2)
    assert (np.asarray(named)[52:62] != 128).any()  # letters


def test_samples_of_another_size_are_resized_where_that_is_asked(trained, tmp_path):
  root, _ = trained
  save(tmp_path / 'large', size=(16, 16), num=3)
  flags = (f'--samples={tmp_path}/large/train', f'--reference={root}/photos/test',
           '--encoder=identity', '--metrics=fd')
  refused(programs.run('experiments.evaluate', *flags), '(16, 16, 3)', '(8, 8, 3)')
  out = tmp_path / 'fd.json'
  done = programs.run('experiments.evaluate', *flags, '--resize', f'--out={out}')
  assert done.code == 0, done.stderr
  written = json.loads(out.read_text())
  assert written['metrics']['fd']['card']['resize'] == 'Lanczos to 8x8'
  assert '9 resized to 8x8 by Lanczos' in done.stdout
  # images of one colour are the same at any size
  save(tmp_path / 'small', num=3)
  same = programs.run('experiments.evaluate', f'--samples={tmp_path}/small/train', *flags[1:],
                      f'--out={tmp_path}/same.json')
  assert same.code == 0, same.stderr
  other = json.loads((tmp_path / 'same.json').read_text())['metrics']['fd']
  assert other['value'] == written['metrics']['fd']['value'] and 'resize' not in other['card']


@pytest.mark.parametrize(('where', 'words'), [
    ('{root}/photos', ('the splits test, train', 'photos/train')),
    ('{root}/photos/test', ('--data=folder --path={root}/photos --out=',))])
def test_a_reference_names_its_split_and_the_hint_its_encoder(trained, where, words):
  root, _ = trained
  refused(programs.run('experiments.evaluate', f'--samples={root}/photos/train',
                       f'--reference={where.format(root=root)}', '--metrics=fd'),
          *(word.format(root=root) for word in words))


@pytest.mark.slow
def test_the_encoder_of_a_folder_is_trained_by_its_path(trained):
  root, _ = trained
  out = root / 'encoder.npz'
  done = programs.run('experiments.encoder', '--data=folder', f'--path={root}/photos',
                      f'--out={out}', '--steps=2', '--batch_size=8', '--network=conv',
                      '--network_kw={"width": 8}')
  assert done.code == 0 and 'folder: 54 images' in done.stdout, done.stderr
  done = programs.run('experiments.evaluate', f'--samples={root}/photos/train', '--metrics=fd',
                      f'--reference={root}/photos/test', f'--encoder={out}')
  assert done.code == 0 and '| fd |' in done.stdout, done.stderr


def test_what_an_encoder_cannot_be_trained_on_or_with_is_refused(trained):
  root, _ = trained
  out = root / 'no.npz'
  refused(programs.run('experiments.encoder', '--data=folder', f'--path={root}/photos/train/cat',
                       f'--out={out}'), 'no labels to learn from', 'DIR/CLASS/*.png')
  refused(programs.run('experiments.encoder', '--data=folder', f'--out={out}'), 'needs path')
  refused(programs.run('experiments.encoder', '--data=npz', '--data_kw=[1]', f'--out={out}'),
          '--data_kw=[1]', 'JSON object')
  of_photos = 'experiments.encoder', '--data=folder', f'--path={root}/photos', f'--out={out}'
  refused(programs.run(*of_photos, '--network=cnov'), 'cnov', 'mlp', 'conv')
  refused(programs.run(*of_photos, '--network=conv', '--network_kw={"wdith": 8}'), 'wdith', 'width')
  refused(programs.run(*of_photos, '--network_kw={"width": 8}'), '--network=mlp or conv')


@pytest.mark.slow
def test_a_flow_on_columns_of_other_scales_has_the_likelihood_of_the_gaussian(tmp_path):
  """Entropy of N(0, diag(1, 1000^2)), 2 (1 + log 2 pi) / 2 + log 1000 = 9.746 nats of the raw x."""
  x = np.random.RandomState(0).standard_normal((4000, 2)) * [1, 1000] + [3, -500]
  np.savez(tmp_path / 'x.npz', x=x)
  done = programs.run(
      'experiments.train', '--config=configs/folder.py:path='
      f'{tmp_path}/x.npz,family=flow,objective=kl,data.standardise=True', '--config.steps=600',
      '--config.log.every=200', '--config.checkpoint.every=600', '--config.optim.lr=0.003',
      '--config.evals.names=likelihood', f'--workdir={tmp_path}/run')
  assert done.code == 0 and 'warning' not in done.stderr, done.stderr
  found = json.loads((tmp_path / 'run' / 'eval.json').read_text())['metrics']['nll_exact_nats']
  assert found['value'] == pytest.approx(9.746, abs=0.15)
  samples = np.load(tmp_path / 'run' / 'samples' / 'final.npz')['x']
  np.testing.assert_allclose(samples.std(0), [1, 1000], rtol=0.15)
  assert (np.abs(samples.mean(0) - [3, -500]) < [0.3, 300]).all()
