"""Feature networks: `load(name, spec)` returns an Encoder for data of that spec."""

import pathlib
from collections.abc import Callable

from genjax.encoders import batched, classifier, identity, pretrained
from genjax.encoders.encoder import Encoder
from genjax.types import BadInput, DataSpec

WEIGHTS = pathlib.Path(__file__).parent / 'weights'
COMMITTED = {  # files in WEIGHTS and their hashes
    'digits': '9a55306de7723a9fcd5f7d85d9f843da83fb792602b04cf3a5603e83bb97665f',
    'fmnist': 'd4519d8b79829d59e97bbb55798389072b8082b93d592b31b0b8d7cd6fd1b798',
}
ENCODERS = ('identity', *COMMITTED, *pretrained.NETWORKS)


def load(name: str, spec: DataSpec, encoded: Callable = lambda n: None) -> Encoder:
  """The encoder of that name, or of a file `*.npz` from experiments.encoder, for data like spec.

  Its features are kept on disk, and encoded(n) is called after each n examples (`batched.keep`).
  Raises BadInput for an unknown name, for a file that is missing, damaged or no encoder, and for
  data that the encoder cannot read.
  """
  if name == 'identity':
    return identity.make(spec)
  if name.partition(':')[0] in pretrained.NETWORKS:
    return pretrained.make(name, spec, encoded)
  if name in COMMITTED:
    encoder = classifier.load(name, WEIGHTS / f'{name}.npz', COMMITTED[name])
  elif str(name).endswith('.npz'):
    encoder = classifier.load(pathlib.Path(name).stem, name)
  else:
    raise BadInput(f'encoder {name!r} is unknown; allowed: {", ".join(ENCODERS)}, or a file *.npz')
  return encoder._replace(
      features=batched.keep(encoder.features, encoder.card, encoder.spec, encoded))
