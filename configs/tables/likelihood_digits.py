"""The bundled digits: every family with a likelihood, next to general codecs.

python -m genjax table run --table=configs/tables/likelihood_digits.py --size=tiny
"""

from configs import likelihood

sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 3}}
# networks of images need sides of at least 16 pixels for a second level
WITHOUT = ('VAE: convolutions', 'VAE: convolutions, mixture of logistics', 'flow: convolutions',
           'diffusion: convolutional')
STEPS = {'tiny': 600, 'small': 3000}


def sweep(add, size):
  """Rows: the classical models, then those that are trained for the same number of steps."""
  steps = {label: STEPS[size] for label in likelihood.TRAINED if label not in WITHOUT}
  likelihood.rows(add, 'configs/digits.py', steps, {'batch_size': 64})


def metrics():
  """Columns: likelihood by kind, codecs, cost."""
  return likelihood.metrics()


def note():
  """What a reader must know next to the figures."""
  return likelihood.NOTE
