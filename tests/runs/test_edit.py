"""What the flags of --edit name: files, masks, matrices, and every refusal."""

import numpy as np
import pytest
from PIL import Image

from genjax import disk, prob
from genjax.numerics import measurements
from genjax.runs import edit, edit_task
from genjax.types import BadInput, DataSpec

GREY, COLOUR = DataSpec((8, 8, 1), 17, 10), DataSpec((8, 8, 3), 256, None)
POINTS = DataSpec((2,), None, None)
NOTHING = {'image': None, 'mask': None, 'factor': None, 'resize': False}
LEVELS = np.random.RandomState(0).randint(0, 17, (8, 8))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """A folder with images, masks and matrices, good and bad."""
  root, rng = tmp_path_factory.mktemp('edit'), np.random.RandomState(0)
  save = lambda name, a: Image.fromarray(np.asarray(a, np.uint8)).save(root / name)
  white = np.zeros((8, 8))
  white[5:, 2:] = 255
  save('image.png', disk.to_bytes(LEVELS, 17))
  save('colour.png', rng.randint(0, 256, (8, 8, 3)))
  save('large.png', np.kron(disk.to_bytes(LEVELS, 17), np.ones((3, 2))))
  save('mask.png', white)
  save('inverted.png', 255 - white)
  save('black.png', 0 * white)
  save('white.png', 0 * white + 255)
  save('grey.png', 0.5 * white)
  save('small.png', white[:4])
  (root / 'text.png').write_text('no image')
  matrix = rng.randn(3, 64)
  arrays = {'A': {'A': matrix}, 'wide': {'A': rng.randn(3, 63)}, 'none': {'y': np.zeros(3)},
            'nan': {'A': matrix * np.nan}, 'long': {'A': rng.randn(3, 2), 'y': np.zeros(4)},
            'both': {'A': matrix, 'y': np.zeros(3)}, 'zero': {'A': 0.0 * matrix},
            'words': {'A': np.array([['a'] * 64])},
            'plane': {'A': np.ones((1, 2)), 'y': np.ones(1)}}
  for name, content in arrays.items():
    np.savez(root / f'{name}.npz', **content)
  (root / 'text.npz').write_text('no npz')
  return root


def made(files, kind, spec=GREY, **given):
  paths = {k: str(files / v) if str(v).endswith('.png') else v for k, v in given.items()}
  kind = str(files / kind) if kind.endswith('.npz') else kind
  return edit_task.task(kind, spec, **{**NOTHING, **paths})


def test_a_mask_hides_what_is_white_and_a_box_what_is_in_it(files):
  by_file = made(files, 'inpaint', image='image.png', mask='mask.png')
  by_box = made(files, 'inpaint', image='image.png', mask='5,2,8,8')
  swapped = made(files, 'inpaint', image='image.png', mask='inverted.png')
  hidden = np.zeros((8, 8), bool)
  hidden[5:, 2:] = True
  x = np.asarray(prob.from_levels(LEVELS, 17))
  np.testing.assert_array_equal(by_file.y[..., 0], np.where(hidden, 0.0, x))
  np.testing.assert_array_equal(by_box.y, by_file.y)
  np.testing.assert_array_equal(swapped.y[..., 0], np.where(hidden, x, 0.0))
  assert by_file.name == '46 of 64 pixels'


def test_the_other_measurements_are_those_of_the_file(files):
  x = np.asarray(prob.from_levels(LEVELS, 17))
  small = made(files, 'super_resolve', image='image.png', factor=2)
  np.testing.assert_allclose(small.y[..., 0], x.reshape(4, 2, 4, 2).mean((1, 3)), atol=1e-6)
  assert made(files, 'super_resolve', image='image.png').y.shape == (2, 2, 1)
  matrix = np.load(files / 'A.npz')['A']
  np.testing.assert_allclose(made(files, 'A.npz', image='image.png').y, matrix @ x.ravel(),
                             atol=1e-4)
  assert made(files, 'plane.npz', POINTS).image is None
  colour = made(files, 'colourise', COLOUR, image='colour.png')
  np.testing.assert_allclose(colour.y, colour.image.mean(-1, keepdims=True), atol=1e-6)
  grey = made(files, 'colourise', COLOUR, image='image.png')  # its own measurement
  np.testing.assert_allclose(grey.y[..., 0], disk.to_bytes(LEVELS, 17) / 127.5 - 1.0, atol=1e-6)


def test_an_image_of_another_size_is_resized_where_that_is_asked(files):
  found = made(files, 'super_resolve', image='large.png', resize=True)
  x = np.asarray(prob.from_levels(LEVELS, 17))
  assert found.image.shape == (8, 8, 1) and np.abs(found.image[..., 0] - x).mean() < 0.2


@pytest.mark.parametrize(('kind', 'spec', 'given', 'words'), [
    ('paint', GREY, {}, ('paint', 'inpaint')),
    ('inpaint', GREY, {}, ('--image',)),
    ('inpaint', GREY, {'image': 'image.png'}, ('--mask', 'TOP')),
    ('inpaint', GREY, {'image': 'absent.png', 'mask': 'mask.png'}, ('absent.png', 'read')),
    ('inpaint', GREY, {'image': 'text.png', 'mask': 'mask.png'}, ('text.png', 'read')),
    ('inpaint', GREY, {'image': 'large.png', 'mask': 'mask.png'}, ('16x24', '8x8', '--resize')),
    ('inpaint', GREY, {'image': 'colour.png', 'mask': 'mask.png'}, ('RGB', 'grey')),
    ('inpaint', COLOUR, {'image': 'image.png', 'mask': 'mask.png'}, ('RGB', 'grey')),
    ('inpaint', GREY, {'image': 'image.png', 'mask': 'small.png'}, ('8x4', '8x8')),
    ('inpaint', GREY, {'image': 'image.png', 'mask': 'black.png'}, ('nothing',)),
    ('inpaint', GREY, {'image': 'image.png', 'mask': 'white.png'}, ('everything',)),
    ('inpaint', GREY, {'image': 'image.png', 'mask': '0,0,8,8'}, ('everything',)),
    ('inpaint', GREY, {'image': 'image.png', 'mask': 'grey.png'}, ('besides 0 and 255',)),
    ('inpaint', GREY, {'image': 'image.png', 'mask': 'absent.png'}, ('absent.png', 'read')),
    ('inpaint', GREY, {'image': 'image.png', 'mask': '4,0,9,8'}, ('4,0,9,8', 'BOTTOM <= 8')),
    ('inpaint', GREY, {'image': 'image.png', 'mask': '4,4,4,8'}, ('4,4,4,8', 'TOP')),
    ('inpaint', GREY, {'image': 'image.png', 'mask': '1,2,3'}, ('1,2,3', 'TOP')),
    ('inpaint', GREY, {'image': 'image.png', 'mask': 'mask.png', 'factor': 2}, ('--factor=2',)),
    ('inpaint', POINTS, {'image': 'image.png', 'mask': 'mask.png'}, ('(2,)', 'no images')),
    ('super_resolve', GREY, {'image': 'image.png', 'factor': 3}, ('3', '8x8', 'divisor')),
    ('super_resolve', GREY, {'image': 'image.png', 'factor': 1}, ('1', 'at least 2')),
    ('super_resolve', GREY, {'image': 'image.png', 'mask': 'mask.png'}, ('--mask', 'inpaint')),
    ('colourise', GREY, {'image': 'image.png'}, ('grey',)),
    ('absent.npz', GREY, {'image': 'image.png'}, ('absent.npz', 'read')),
    ('text.npz', GREY, {'image': 'image.png'}, ('text.npz', 'read')),
    ('wide.npz', GREY, {'image': 'image.png'}, ('(3, 63)', '[M, 64]')),
    ('none.npz', GREY, {'image': 'image.png'}, ('no key A',)),
    ('nan.npz', GREY, {'image': 'image.png'}, ('finite',)),
    ('words.npz', GREY, {'image': 'image.png'}, ('numbers',)),
    ('zero.npz', GREY, {'image': 'image.png'}, ('rank 0',)),
    ('A.npz', GREY, {}, ('no y', '--image')),
    ('both.npz', GREY, {'image': 'image.png'}, ('one of them',)),
    ('long.npz', POINTS, {}, ('(4,)', '[3]'))])
def test_refusals(files, kind, spec, given, words):
  with pytest.raises(BadInput) as error:
    made(files, kind, spec, **given)
  for word in words:
    assert word in str(error.value), f'{word!r} is not in: {error.value}'


def test_what_is_seen_of_the_data_is_on_the_scale_of_x_and_of_the_class_asked_for():
  split = {'x': np.random.RandomState(1).randint(0, 17, (500, 8, 8, 1)), 'cond': np.arange(500) % 5}
  np.testing.assert_array_equal(edit.seen(split, GREY, None),
                                prob.from_levels(split['x'][:edit.SEEN], 17))
  np.testing.assert_array_equal(edit.seen(split, GREY, 3), prob.from_levels(split['x'][3::5], 17))


def test_the_figure_shows_truth_measurement_samples_and_where_they_disagree(files):
  task = made(files, 'inpaint', image='image.png', mask='mask.png')
  x = np.stack([LEVELS, (LEVELS + 8) % 17])[..., None]
  grid = prob.from_levels(x, 17)
  residual = np.asarray(measurements.residual(task.measurement, grid, task.y))
  assert residual[0] == 0.0 and residual[1] > 0.5
  top, below = edit.panels(task, edit.Edited(x, residual, 1.0, 1, 1.0), GREY)
  np.testing.assert_array_equal(top[0][0][..., 0], disk.to_bytes(LEVELS, 17))
  assert (top[1][0][5:, 2:] == 128).all() and len(top) == len(below) == 4
  np.testing.assert_array_equal(top[3][0], disk.to_bytes(x[1], 17))
  assert (below[2][0] == 0).all() and below[2][1] == '0'
  assert (below[3][0][:5] == 255).all() and (below[3][0][5:, 2:] == 0).all()
