"""The newcomer's folder and commands: the same on every machine, and what the README says."""

import numpy as np

from genjax import disk
from tests import journey


def test_the_folder_is_of_split_and_class_folders_and_always_the_same(tmp_path):
  from PIL import Image
  journey.write_images(tmp_path, {'train': 3, 'test': 2})
  files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob('*.png'))
  assert [str(file) for file in files[:3]] == ['test/circle/000.png', 'test/circle/001.png',
                                               'test/square/000.png']
  assert len(files) == 15
  x = np.stack([np.asarray(Image.open(tmp_path / file)) for file in files])
  assert x.shape == (15, 32, 32, 3)
  assert disk.digest({'x': x})[:16] == 'b893527fd0c44eec'


def test_a_shape_covers_what_it_should():
  """Areas of a disc, a square and a triangle of side 80, to within their edge."""
  height, width = np.mgrid[:101, :101] - 50.0
  areas = {shape: int(journey.inside(shape, height, width, 80).sum()) for shape in journey.SHAPES}
  for shape, area in (('circle', np.pi * 40**2), ('square', (2 * 80 / 2.3) ** 2),
                      ('triangle', 80 * 80 / 2)):
    assert abs(areas[shape] - area) < 0.03 * area


def test_there_are_five_commands_and_shorter_ones_of_the_same():
  own, short = journey.commands(), journey.commands(20)
  assert len(own) == len(short) == 5
  assert [line[:3] for line in own] == [line[:3] for line in short]
  assert all(word.startswith('python') for word, *_ in own)
  assert [word for line in short for word in line if '=20' in word] == [
      '--config.steps=20', '--steps=20',
      '--table=configs/tables/own_data.py:path=photos,encoder=photos.npz,steps=20',
      '--config.steps=20']
