"""EDM's ladder of configurations (2206.00364, Table 2) under one sampler, deterministic Heun.

python -m experiments.table run --table=configs/tables/diffusion_edm.py --size=tiny
"""

from configs import columns

# one data set a size: an encoder is a protocol, and a column has one
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 1}, 'one-gpu': {'seeds': 1}}
DATA = {'tiny': 'digits', 'small': 'fashion_mnist', 'one-gpu': 'cifar10'}
# label -> choices, printed FID (unconditional CIFAR-10) and its row
SIMPLE = 'objective.weighting=simple'
LADDER = {
    'VP baseline': (('linear_beta', 'noise', SIMPLE), 3.01, 'A, VP'),
    'VE baseline': (('ve', 'noise', SIMPLE), 3.77, 'A, VE'),
    'VP, preconditioning': (('linear_beta', 'edm', SIMPLE), 2.29, 'D, VP'),
    'VE, preconditioning': (('ve', 'edm', SIMPLE), 3.10, 'D, VE'),
    'weighting and times': (('edm', 'edm', 'objective.weighting=edm'), 2.05, 'E, VP'),
}
PROTOCOL = ('Heun, 35 evaluations, the least of three FIDs of 50,000; rows from B on have other '
            'hyperparameters, from C on another capacity by resolution')


def sweep(add, size):
  """Rows: the steps of the ladder that are choices of path, prediction, weighting and times."""
  for label, ((schedule, prediction, weighting), fid, row) in LADDER.items():
    published = {'fd': {'value': fid, 'source': f'2206.00364, Table 2, {row}',
                         'protocol': PROTOCOL}} if size == 'one-gpu' else {}
    add(label, *columns.trained(
        DATA[size], f'model.schedule={schedule}', f'model.prediction={prediction}', weighting,
        sampler__name='heun', sampler__kw__num_steps=18), published)


def metrics():
  """Columns: quality, what is covered, novelty and cost of the samples."""
  return columns.sample_columns()


def note():
  """What a reader must know beside the figures."""
  return """
The rows of the paper that change hyperparameters (B), capacity (C) or data (F, augmentation) are
not here: they are no choice of path, prediction, weighting, times or sampler.
""" + columns.SAMPLES_NOTE
