"""General codecs on the test split: known sizes, what is packed, what is refused."""

import gzip
import io

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.evals import codecs
from genjax.types import BadInput, DataSpec
from tests.evals import asked


def measured(x, levels, **kw):
  dataset = data.Dataset('tiny', DataSpec(x.shape[1:], levels), {'test': {'x': x}}, {})
  return asked.of_model(codecs, 'files', None, asked.task(dataset), **kw)({}, None)


def test_sizes_are_those_of_the_files():
  x = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
  values = measured(x, 256, num_images=2)
  assert set(values) == set(codecs.METRICS)
  assert values['gzip_bpd'].value == 8 * len(gzip.compress(x.tobytes(), 9)) / x.size
  files = []
  for image in x[:2]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG', optimize=True)
    files.append(file.getvalue())
  assert values['png_bpd'].value == 8 * sum(map(len, files)) / (2 * 192)
  assert values['png_bpd'].card['n_reference'] == 2 and values['xz_bpd'].card['n_reference'] == 6
  # noise cannot be compressed, and headers cost
  assert all(value.value > 8 for value in values.values())


def test_what_is_decoded_is_the_image():
  x = np.random.default_rng(1).integers(0, 256, (9, 7, 1)).astype(np.uint8)
  for options in codecs.PER_IMAGE.values():
    back = Image.open(io.BytesIO(codecs.encoded(x, options))).convert('L')
    np.testing.assert_array_equal(np.asarray(back), x[..., 0])


def test_binary_images_are_packed():
  x = np.random.default_rng(2).integers(0, 2, (500, 8, 8, 1)).astype(np.uint8)
  values = measured(x, 2)
  assert 1.0 < values['xz_bpd'].value < 1.05


def test_other_channels_are_refused():
  with pytest.raises(BadInput, match='images of 2 channels; allowed: 1 or 3'):
    measured(np.zeros((2, 8, 8, 2), np.uint8), 256)
