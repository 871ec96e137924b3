"""Each way to the input of a feature network against its definition and against the library."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from genjax.encoders import resize
from genjax.types import BadInput

# up, down, both at once, as it is, a single pixel
SIZES = [(1, 1), (2, 3), (32, 32), (7, 401), (299, 299), (300, 298), (613, 340)]


def images(height, width, channels=3, batch=2, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (batch, height, width, channels), np.uint8)


def in_float64(x, half_pixel):
  """Bilinear to 299, one axis after the other, from its definition."""
  x = x.astype(np.float64)
  for axis in (1, 2):
    n = x.shape[axis]
    at = np.arange(299) * n / 299
    if half_pixel:
      at = ((np.arange(299) + 0.5) * n / 299 - 0.5).clip(0)
    low = np.floor(at + 1e-9).astype(int)
    share = (at - low).reshape(-1, *[1] * (3 - axis))
    high = (low + 1).clip(max=n - 1)
    x = (1 - share) * x.take(low, axis) + share * x.take(high, axis)
  return x


def bicubic_in_float64(x, size, after=lambda x: x):
  """Keys' kernel (a = -1/2), stretched by the scale where it shrinks; along rows, then columns.

  after: what happens to the result of each.
  """
  x = x.astype(np.float64)
  for axis in (2, 1):
    n = x.shape[axis]
    scale = n / size
    d = np.abs(np.arange(n) + 0.5 - (np.arange(size)[:, None] + 0.5) * scale) / max(scale, 1)
    w = np.where(d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * (d**3 - 5 * d**2 + 8 * d - 4))
    w = np.where(d < 2, w, 0)
    x = after(np.moveaxis(np.tensordot(w / w.sum(1, keepdims=True), x, (1, axis)), 0, axis))
  return x


def test_weights_known_by_hand():
  found = resize.bilinear_weights(2, 4, half_pixel=False)
  np.testing.assert_array_equal(found, [[1, 0], [0.5, 0.5], [0, 1], [0, 1]])
  found = resize.bilinear_weights(2, 4, half_pixel=True)
  np.testing.assert_array_equal(found, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
  found = resize.bilinear_weights(4, 2, half_pixel=False)  # not antialiased: two are not read
  np.testing.assert_array_equal(found, [[1, 0, 0, 0], [0, 0, 1, 0]])
  found = resize.bilinear_weights(4, 2, half_pixel=True)
  np.testing.assert_array_equal(found, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_each_path_is_its_definition(size):
  x = images(*size)
  found = {name: np.asarray(path(x)) for name, path in resize.RESIZES.items()}
  assert {a.dtype for a in found.values()} == {np.dtype(np.float32)}
  assert {a.shape for a in found.values()} == {(2, 299, 299, 3)}
  atol = 1e-6 + 2.5e-7 * max(size)  # places are rounded to float32
  np.testing.assert_allclose(found['tf1'], (in_float64(x, False) - 128) / 128, atol=atol)
  np.testing.assert_allclose(found['pt'], in_float64(x, True) / 127.5 - 1, atol=atol)
  expected = (bicubic_in_float64(x, 299).clip(0, 255) - 128) / 128
  np.testing.assert_allclose(found['clean'], expected, atol=1e-6)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_uint8_is_rounded_and_cut_after_each_axis(size):
  x = images(*size)
  found = resize.pil_bicubic_uint8(x, 224)
  assert found.dtype == np.uint8 and found.shape == (2, 224, 224, 3)
  expected = bicubic_in_float64(x, 224, lambda x: (x + 0.5).clip(0, 255.5) // 1)
  off = np.abs(found - expected)
  assert off.max() <= 1 and off.mean() < 0.01  # Pillow's weights are integers


@pytest.mark.parametrize('name', resize.RESIZES)
def test_of_the_size_that_is_wanted_nothing_but_the_scale_changes(name):
  x = images(299, 299)
  expected = x / 127.5 - 1 if name == 'pt' else (x - 128.0) / 128
  np.testing.assert_allclose(resize.RESIZES[name](x), expected, atol=2e-7)


@pytest.mark.parametrize('name', resize.RESIZES)
def test_extremes_stay_in_the_range(name):
  x = np.zeros((1, 8, 8, 1), np.uint8)
  x[:, ::2, ::2] = x[:, 1::2, 1::2] = 255  # bicubic overshoots on it
  found = np.asarray(resize.RESIZES[name](x))
  assert found.min() == -1 and found.max() == (1 if name == 'pt' else 127 / 128)


def test_clean_does_not_round_and_only_pillow_antialiases():
  x = images(40, 40)
  levels = resize.clean(x) * 128 + 128
  assert np.abs(levels - levels.round()).max() > 0.4
  stripes = np.zeros((1, 598, 598, 1), np.uint8)
  stripes[:, :, ::2] = 255
  assert np.ptp(resize.clean(stripes)[:, :, 5:-5]) < 0.01
  assert np.unique(resize.tf1(stripes)).tolist() == [127 / 128]  # every other column is not read


def test_paths_differ_on_small_images():
  x = images(32, 32)
  found = {name: np.asarray(path(x)) for name, path in resize.RESIZES.items()}
  found['jax'] = jax.image.resize(x / np.float32(127.5) - 1, (2, 299, 299, 3), 'bilinear')
  names = [*resize.RESIZES]
  for i, first in enumerate(names):
    for second in names[i + 1:]:
      assert np.abs(found[first] - found[second]).mean() > 0.02, (first, second)
  np.testing.assert_allclose(found['jax'], found['pt'], atol=1e-5)  # where it enlarges
  x = images(400, 400)
  default = jax.image.resize(x / np.float32(127.5) - 1, (2, 299, 299, 3), 'bilinear')
  assert all(np.abs(default - path(x)).mean() > 0.02 for path in resize.RESIZES.values())


def test_grey_is_repeated():
  x = images(20, 30, channels=1)
  for path in (*resize.RESIZES.values(), lambda x: resize.pil_bicubic_uint8(x, 224)):
    np.testing.assert_allclose(path(x), path(np.repeat(x, 3, -1)), atol=2e-7)


def test_inside_jit():
  x = images(20, 30)
  for name in set(resize.RESIZES) - set(resize.ON_HOST):
    path = resize.RESIZES[name]
    np.testing.assert_allclose(jax.jit(path)(x), path(x), atol=1e-6)
  for name in resize.ON_HOST:
    with pytest.raises(jax.errors.TracerArrayConversionError):
      jax.jit(resize.RESIZES[name])(x)


@pytest.mark.parametrize('x', [
    images(4, 4).astype(np.float32), images(4, 4, channels=4), images(4, 4)[0], images(4, 4)[:, :0],
    images(4, 4).astype(np.int32)], ids=lambda x: f'{x.dtype} {x.shape}')
def test_what_is_no_image_is_refused(x):
  for path in (*resize.RESIZES.values(), lambda x: resize.pil_bicubic_uint8(x, 224)):
    with pytest.raises(BadInput, match=r'allowed: uint8 \[B, H, W, 1\]'):
      path(x)


def test_uint8_is_pillows_of_the_whole_image():
  for channels, mode in ((3, 'RGB'), (1, 'L')):
    x = images(50, 301, channels)
    for image, found in zip(x, resize.pil_bicubic_uint8(x, 224), strict=True):
      whole = Image.fromarray(image.squeeze()).resize((224, 224), Image.Resampling.BICUBIC)
      assert whole.mode == mode
      np.testing.assert_array_equal(found, np.asarray(whole.convert('RGB')))


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_pt_is_pytorchs(size):
  torch = pytest.importorskip('torch')
  x = images(*size)
  theirs = torch.nn.functional.interpolate(
      torch.tensor(x).permute(0, 3, 1, 2).float() / 255, (299, 299), mode='bilinear',
      align_corners=False)
  expected = (2 * theirs - 1).permute(0, 2, 3, 1).numpy()
  np.testing.assert_allclose(resize.pt(x), expected, atol=4e-7)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_tf1_is_torch_fidelitys(size):
  torch, package = pytest.importorskip('torch'), importlib.util.find_spec('torch_fidelity')
  if package is None:
    pytest.skip('torch_fidelity is not installed')
  place = pathlib.Path(package.origin).with_name('interpolate_compat_tensorflow.py')
  spec = importlib.util.spec_from_file_location('interpolate', place)  # the package wants more
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  x = images(*size)
  theirs = module.interpolate_bilinear_2d_like_tensorflow1x(
      torch.tensor(x).permute(0, 3, 1, 2).float(), (299, 299), align_corners=False)
  expected = ((theirs - 128) / 128).permute(0, 2, 3, 1).numpy()
  np.testing.assert_allclose(resize.tf1(x), expected, atol=4e-7)
