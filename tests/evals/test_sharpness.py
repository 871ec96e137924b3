"""Sharpness: known values, blur lowers it and noise raises it, what stands next to it."""

import numpy as np

from genjax import data, encoders
from genjax.evals import sharpness
from tests.evals import asked

DIGITS = data.load('digits')
ENCODER = encoders.load('digits', DIGITS.spec)


def test_known_values():
  flat = np.full((1, 8, 8, 1), 5)
  ramp = np.arange(8)[None, :, None, None] * np.ones((1, 8, 8, 1), int)
  board = (np.indices((8, 8)).sum(0) % 2)[None, ..., None]
  # the Laplacian of the board is +-4
  np.testing.assert_allclose([sharpness.of_images(x)[0] for x in (flat, ramp, board)],
                             [0.0, 0.0, 16.0], atol=1e-12)


def test_noise_of_equal_pixels_has_twenty_times_their_variance():
  """4 neighbours and -4: 4 + 16."""
  x = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 1))
  expected = 20 * np.var(np.arange(256))
  assert abs(sharpness.of_images(x).mean() / expected - 1) < 0.02


def test_blur_lowers_it_and_the_data_stand_next_to_it():
  x = DIGITS.splits['train']['x'].astype(float)
  blurred = np.rint((x + np.roll(x, 1, 1) + np.roll(x, 1, 2) + np.roll(x, (1, 1), (1, 2))) / 4)
  out = asked.of_samples(sharpness, DIGITS, encoder=ENCODER, num_samples=400)(
      lambda n: (blurred[:n].astype(np.int32), {}))
  assert set(out) == {'sharpness', 'sharpness_data', 'sharpness_single'}
  value, of_data = out['sharpness'], out['sharpness_data']
  assert value.high < of_data.low and value.low < value.value < value.high
  assert value.card['unit'] == 'squared levels'
