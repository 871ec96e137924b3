"""experiments.sample --edit: an image by path, through a trained run, to a picture and an npz."""

import re

import numpy as np
import pytest
from PIL import Image

from genjax import data, disk
from tests import programs
from tests.programs import refused

DIGITS = ('configs/digits.py:family=diffusion,objective=score_matching,denoiser=dit,'
          'denoiser.width=16,denoiser.num_blocks=1,denoiser.num_heads=2,conditional=True,'
          'objective.label_dropout=0.1')
TINY = ('--config.steps=4', '--config.steps_per_dispatch=2', '--config.checkpoint.every=2',
        '--config.select.metric=', '--config.batch_size=8', '--config.evals.names=cost',
        '--config.evals.num_samples=1', '--config.sampler.kw.num_steps=2')
CHEAP = ('--num=2', '--particles=2', '--num_steps=2')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  path = tmp_path_factory.mktemp('edit') / 'run'
  done = programs.run('experiments.train', f'--config={DIGITS}', f'--workdir={path}', *TINY)
  assert done.code == 0, done.stderr
  digit = disk.to_bytes(data.load('digits').splits['test']['x'][0], 17)
  Image.fromarray(digit[..., 0]).save(path.parent / 'digit.png')
  Image.fromarray(np.where(np.arange(8)[:, None] < 4, 255, np.zeros((8, 8))).astype(
      np.uint8)).save(path.parent / 'mask.png')
  return path


def edited(run, out, *flags):
  done = programs.run('experiments.sample', f'--workdir={run}', f'--image={run.parent}/digit.png',
                      f'--out={run.parent / out}', *CHEAP, *flags)
  assert done.code == 0 and done.stderr == '', done.stderr
  return done.stdout


@pytest.mark.slow
def test_what_is_known_is_kept_and_the_rest_is_drawn(run):
  flags = '--edit=inpaint', f'--mask={run.parent}/mask.png'
  said = edited(run, 'a.npz', *flags)
  first = dict(np.load(run.parent / 'a.npz'))
  digit = np.asarray(Image.open(run.parent / 'digit.png'))
  np.testing.assert_array_equal(first['truth'][..., 0], digit)
  np.testing.assert_array_equal(first['known'], np.arange(8)[:, None] >= np.full(8, 4))
  assert first['x'].shape == (2, 8, 8, 1) and first['x'].dtype == np.uint8
  np.testing.assert_array_equal(first['x'][:, 4:, :, 0], np.stack([digit[4:]] * 2))
  assert (first['x'][0, :4] != first['x'][1, :4]).any()
  np.testing.assert_array_equal(first['residual'], 0.0)
  # 24 on each of 256 examples; 20 of the start and 8 in each of two levels, for 2 particles of 2
  assert re.search(r'effective particles [12]\.\d of 2', said) and '6288 network ev' in said


@pytest.mark.slow
def test_an_edit_repeats_itself_and_another_seed_is_another(run):
  levels = []
  for seed in (0, 0, 1):
    edited(run, 'a.npz', '--edit=inpaint', '--mask=0,0,4,8', f'--seed={seed}')
    levels.append(np.load(run.parent / 'a.npz')['x'])
  np.testing.assert_array_equal(levels[0], levels[1])
  assert (levels[0] != levels[2]).any()


@pytest.mark.slow
def test_fewer_pixels_are_met_to_the_rounding_of_levels_and_shown(run):
  said = edited(run, 'a.png', '--edit=super_resolve', '--factor=2', '--cond=3')
  residuals = [float(r) for r in re.search(r'images in \[-1, 1\]\): (.*)', said)[1].split()]
  assert len(residuals) == 2 and max(residuals) <= 1 / 16
  with Image.open(run.parent / 'a.png') as picture:
    assert picture.width > picture.height > 200


@pytest.mark.slow
@pytest.mark.parametrize(('flags', 'words'), [
    (('--edit=inpaint', '--mask=0,0,8,8'), ('everything',)),
    (('--edit=super_resolve', '--factor=3'), ('3', '8x8')),
    (('--edit=super_resolve', '--cond=11'), ('11', '0..9')),
    (('--edit=super_resolve', '--particles=0'), ('--particles=0',)),
    (('--edit=super_resolve', '--noise=-1'), ('--noise=-1',)),
    (('--edit=super_resolve', '--noise=nan'), ('--noise=nan',)),
    (('--edit=super_resolve', '--num_steps=0'), ('--num_steps=0',)),
    (('--edit=super_resolve', '--guidance=2'), ('--guidance=2', '--edit')),
    (('--mask=0,0,4,4',), ('without --edit',))])
def test_refusals_write_nothing(run, flags, words):
  out = run.parent / 'refused.png'
  image = () if flags[0].startswith('--mask') else (f'--image={run.parent}/digit.png',)
  refused(programs.run('experiments.sample', f'--workdir={run}', f'--out={out}', *image, *flags),
          *words)
  assert not out.exists()
