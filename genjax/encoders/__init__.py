"""Feature networks with committed weights: `load(name)` gives an Encoder."""

import pathlib

from genjax.encoders.classifier import Encoder
from genjax.encoders.classifier import load as load_file
from genjax.types import BadInput

WEIGHTS = pathlib.Path(__file__).parent / 'weights'
ENCODERS = {  # committed files and their hashes
    'digits': '9a55306de7723a9fcd5f7d85d9f843da83fb792602b04cf3a5603e83bb97665f',
    'fmnist': 'd4519d8b79829d59e97bbb55798389072b8082b93d592b31b0b8d7cd6fd1b798',
}


def load(name: str) -> Encoder:
  """A committed encoder by name, or a file `*.npz` that experiments.encoder wrote.

  Raises BadInput for an unknown name, and for a file that is missing, damaged or no encoder.
  """
  if name in ENCODERS:
    return load_file(name, WEIGHTS / f'{name}.npz', ENCODERS[name])
  if str(name).endswith('.npz'):
    return load_file(pathlib.Path(name).stem, name)
  raise BadInput(f'encoder {name!r} is unknown; allowed: {", ".join(ENCODERS)}, or a file *.npz')
