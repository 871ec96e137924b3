"""Levels to features through Inception and DINOv2, with random weights in the published place."""

import numpy as np
import pytest

from genjax import disk, encoders
from genjax.encoders import dinov2, inception, resize, weights
from genjax.types import BadInput, DataSpec

DIGITS = DataSpec((8, 8, 1), 17, 10)
X = np.random.default_rng(0).integers(0, 17, (3, 8, 8, 1))


@pytest.fixture
def random_weights(tmp_path, monkeypatch):
  """A small transformer and an Inception whose arrays are random."""
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  rng = np.random.default_rng(1)
  size = dinov2.Size(1, 64)
  monkeypatch.setitem(dinov2.SIZES, 'b', size)
  states = {'inception': inception.random_state(rng),
            'dinov2_b': dinov2.random_state(rng, *size)}
  monkeypatch.setattr(weights, 'load', lambda name: (states[name], {}))
  return states


def test_dinov2_reads_levels_of_any_size(random_weights):
  encoder = encoders.load('dinov2_b', DIGITS)
  images = resize.pil_bicubic_uint8(disk.to_bytes(X, 17), 224)
  params = dinov2.from_torch(random_weights['dinov2_b'], dinov2.SIZES['b'])
  expected = dinov2.apply(params, images)['cls']
  assert encoder.features(X).shape == (3, 64) and encoder.probs is None
  np.testing.assert_allclose(encoder.features(X), expected, rtol=1e-4, atol=1e-5)
  assert encoder.card['sha256'] == weights.WEIGHTS['dinov2_b'].sha256
  with pytest.raises(BadInput, match=r'\(3, 4, 4, 1\)|\(4, 4, 1\)'):
    encoder.features(np.zeros((3, 4, 4, 1), int))


@pytest.mark.slow
def test_inception_by_its_three_paths(random_weights):
  params = inception.from_torch(random_weights['inception'])
  found = {}
  for path, to_input in resize.RESIZES.items():
    encoder = encoders.load(f'inception:{path}', DIGITS)
    found[path] = encoder.features(X)
    expected = inception.apply(params, to_input(disk.to_bytes(X, 17)))
    np.testing.assert_allclose(found[path], expected['pool3'], rtol=1e-3, atol=1e-4)
    assert encoder.probs(X).shape == (3, 1008)
    np.testing.assert_allclose(encoder.probs(X).sum(1), 1.0, atol=1e-4)
    assert path in encoder.card['input']
  assert (encoders.load('inception', DIGITS).features(X) == found['tf1']).all()
  assert np.abs(found['tf1'] - found['pt']).max() > 1e-3
  assert np.abs(found['pt'] - found['clean']).max() > 1e-3


def test_what_they_cannot_read_is_refused(tmp_path, monkeypatch):
  for spec, words in ((DataSpec((2,), None, None), 'continuous'),
                      (DataSpec((8, 8, 2), 256, None), r'\(8, 8, 2\)')):
    with pytest.raises(BadInput, match=f'inception.*images of 1 or 3 channels.*{words}'):
      encoders.load('inception', spec)
  with pytest.raises(BadInput, match='bicubic.*inception:tf1, inception:clean, inception:pt'):
    encoders.load('inception:bicubic', DIGITS)
  with pytest.raises(BadInput, match='one input path'):
    encoders.load('dinov2_l:clean', DIGITS)
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  monkeypatch.setitem(weights.WEIGHTS, 'inception', weights.WEIGHTS['inception']._replace(
      url=(tmp_path / 'none.pth').as_uri()))
  with pytest.raises(BadInput, match='6726825d.*genjax weights --encoder=inception'):
    encoders.load('inception', DIGITS)
