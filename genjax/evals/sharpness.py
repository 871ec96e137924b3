"""Sharpness of images: the variance of their Laplacian, which blur lowers and noise raises."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals.kinds import OfSamples
from genjax.types import BadInput, Estimator

METRICS = ('sharpness',)
BLOCK = 4096  # images in float64 at once


def make() -> OfSamples:
  """Returns the evaluator of sharpness, sharpness_data and sharpness_single.

  The mean over samples of the variance over pixels of the Laplacian (1711.01558, Section 4), in
  squared levels. It is no distance: compare it with that of the data. Raises BadInput for images
  with sides below 3 pixels.
  """
  def measure(x, card):
    if min(x.shape[1:3]) < 3:
      raise BadInput(f'evaluator sharpness: images of {x.shape[1:3]}; allowed: sides from 3 pixels')
    values = np.concatenate([of_images(x[i:i + BLOCK])
                             for i in range(0, len(x), BLOCK)])
    own = card('sharpness', unit='squared levels', filter='4 neighbours, no border')
    return {'sharpness': cards.of_mean(values, own, 'population mean')}

  return OfSamples(measure, compares=False)


def of_images(x) -> np.ndarray:
  """The variance [N] over pixels and channels of the Laplacian of images x [N, H, W, C].

  x: integer levels; the filter is -4 at a pixel and 1 at its four neighbours, without those
  at the border.
  """
  x = np.asarray(x, np.float64)
  laplacian = (x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
               - 4.0 * x[:, 1:-1, 1:-1])
  return laplacian.reshape(len(x), -1).var(1)


ESTIMATORS = {'laplacian': Estimator(('sample', 'data.image'), make, 'samples')}
