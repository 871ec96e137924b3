"""A data set of a user's own: two round blobs in the plane."""

import numpy as np

from genjax.data import Dataset, identity
from genjax.types import DataSpec


def make(num_train: int = 256, seed: int = 0) -> Dataset:
  """Blobs around (-1, 0) and (1, 0); 64 points for validation, 64 for test."""
  rng = np.random.default_rng(seed)
  centres = rng.choice([-1.0, 1.0], (num_train + 128, 1)) * [1.0, 0.0]
  x = (centres + 0.3 * rng.normal(size=centres.shape)).astype(np.float32)
  splits = {'train': {'x': x[128:]}, 'validation': {'x': x[:64]}, 'test': {'x': x[64:128]}}
  kw = {'num_train': num_train, 'seed': seed}
  return Dataset('blobs', DataSpec((2,), None), splits,
                 identity('blobs', kw, 'normal, deviation 0.3', splits))
