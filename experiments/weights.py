"""Installs the published weights of a feature network for evaluations.

python -m experiments.weights --encoder=inception [--file=PATH]

Without --file they come from the folder $GENJAX_WEIGHTS, or are downloaded.
"""

from absl import flags

import experiments
from genjax.encoders import weights
from genjax.types import BadInput

ENCODER = flags.DEFINE_string('encoder', None, f'One of: {", ".join(weights.WEIGHTS)}.')
FILE = flags.DEFINE_string('file', None, 'The published file, if you have it.')


def main(argv):
  """Prints the file of the weights, its size and the sha256 of its source; BadInput for others."""
  if len(argv) > 1 or not ENCODER.value:
    raise BadInput(f'usage: python -m experiments.weights --encoder=NAME [--file=PATH]; '
                   f'allowed: {", ".join(weights.WEIGHTS)}')
  name, place = ENCODER.value, weights.place(ENCODER.value)
  with experiments.progress(total=weights.WEIGHTS[name].bytes, unit='B', unit_scale=True,
                            leave=False, delay=1) as bar:
    arrays, card = weights.load(name, FILE.value,
                                progress=lambda done, total: bar.update(done - bar.n))
  if not place.exists():
    raise BadInput(f'{place} cannot be written; GENJAX_CACHE names another folder')
  count = sum(array.size for array in arrays.values())
  print(f'{name}: {place}, {place.stat().st_size / 1e6:.0f} MB, {count / 1e6:.1f} million numbers; '
        f'made of {card["file"]}, sha256 {card["sha256"]}')


if __name__ == '__main__':
  experiments.run(main)
