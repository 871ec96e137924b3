"""The encoder that changes nothing: pixels, coordinates, or feature vectors made elsewhere."""

import numpy as np

from genjax.encoders.encoder import Encoder
from genjax.types import BadInput, DataSpec


def make(spec: DataSpec) -> Encoder:
  """The Encoder whose features are x itself (integer levels, coordinates), flattened to [N, D]."""

  def features(x):
    x = np.asarray(x)
    if x.shape[1:] != tuple(spec.shape):
      raise BadInput(f"encoder 'identity' got examples of shape {x.shape[1:]}; "
                     f'allowed: {tuple(spec.shape)}')
    return x.reshape(len(x), -1).astype(np.float32)

  card = {'name': 'identity', 'sha256': None, 'dim': int(np.prod(spec.shape)),
          'input': 'coordinates' if spec.levels is None else f'levels 0..{spec.levels - 1}'}
  return Encoder('identity', spec, features, None, card)
