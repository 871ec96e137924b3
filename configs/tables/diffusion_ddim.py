"""DDIM's grid of steps and eta (2010.02502, Table 1): one training, twenty samplers or more.

python -m experiments.table run --table=configs/tables/diffusion_ddim.py --size=tiny
"""

from configs import columns

# one data set a size: an encoder is a protocol, and a column has one
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 1}, 'one-gpu': {'seeds': 1}}
DATA = {'tiny': 'digits', 'small': 'fashion_mnist', 'one-gpu': 'cifar10'}
STEPS = (10, 20, 50, 100, 1000)
# the printed FIDs by eta; sigma hat is DDPM's larger variance
PRINTED = {0.0: (13.36, 6.84, 4.67, 4.16, 4.04), 0.2: (14.04, 7.11, 4.77, 4.25, 4.09),
           0.5: (16.66, 8.35, 5.25, 4.46, 4.29), 1.0: (41.07, 18.36, 8.01, 5.78, 4.73),
           'sigma hat': (367.43, 133.37, 32.72, 9.99, 3.17)}
PROTOCOL = "DDPM's model (T = 1,000, L_simple), 50,000 samples"


def sweep(add, size):
  """Rows: eta and the number of steps of one trained run."""
  for eta, printed in PRINTED.items():
    ancestral = eta == 'sigma hat'
    curve = eta if ancestral else f'eta {eta}'
    how = ({'sampler__name': 'ddpm', 'sampler__kw__variance': 'upper'} if ancestral else
           {'sampler__name': 'ddim', 'sampler__kw__eta': eta})
    for steps, fid in zip(STEPS, printed, strict=True):
      published = {'fd': {'value': fid, 'source': f'2010.02502, Table 1, {curve}, S = {steps}',
                          'protocol': PROTOCOL}} if size == 'one-gpu' else {}
      add(f'{curve}, {steps} steps',
          *columns.trained(DATA[size], **how, sampler__kw__num_steps=steps), published, curve=curve)


def metrics():
  """Columns: quality, what is covered, novelty and cost of the samples."""
  return columns.sample_columns()


def figure():
  """The columns of the curves."""
  return {'x': 'NFE', 'y': 'excess FD'}


def note():
  """What a reader must know beside the figures."""
  return """
One run, trained once. The row's times are even in t between 1 and 0; the paper takes a subset of
the 1,000 steps that it trained. *sigma hat* is ancestral sampling with the larger variance.
""" + columns.SAMPLES_NOTE
