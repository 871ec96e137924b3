"""Bits per dimension of diffusions by bound and by the probability-flow ODE.

python -m experiments.table run --table=configs/tables/diffusion_likelihood.py --size=tiny
"""

from configs import columns

# one data set a size
DATA = {'tiny': 'digits', 'small': 'fashion_mnist', 'one-gpu': 'cifar10', 'pod-32': 'imagenet32',
        'pod': 'imagenet64'}
sizes = {size: {'seeds': 1} for size in DATA}
NOISE = ('objective=kl', 'model.prediction=noise')
SAMPLERS = "as the samplers' tables"
VDM, LEVELS = "bound, VDM's learned schedule", 'bound, levels'
# label -> choices of the training; its rows are measured by each of ESTIMATORS
ROWS = {SAMPLERS: (), VDM: (*NOISE, 'model.schedule=learned'),
        'bound, cosine': (*NOISE, 'model.schedule=cosine'),
        LEVELS: ('objective=kl', 'model.prediction=levels', 'model.schedule=cosine')}
# 2107.00630, App. B and C: no halving, attention in the middle alone, Fourier features
VDM_NETWORK = {'one-gpu': ('denoiser.multipliers=(1,)', 'denoiser.num_blocks=32',
                           'denoiser.attention=()', 'denoiser.fourier=(7,8)')}
# of a row -> what its measurement adds
ESTIMATORS = {'bound': {'estimator': 'bound'},
              'ODE': {'estimator': 'ode', 'dequantisation': 'gaussian'},
              'ODE, uniform': {'estimator': 'ode', 'dequantisation': 'uniform'}}
# the sweep of the ODE's accuracy, on one training, beside the default number of steps
SWEEP = {f'ODE, {num_steps} steps': {**ESTIMATORS['ODE'], 'num_steps': num_steps}
         for num_steps in (8, 16, 64)}
# updates of those trained by a bound, where fewer; one of levels costs two of the others
SHORTER = {'small': {VDM: 6000, 'bound, cosine': 6000, LEVELS: 3000}}
NUM_EXAMPLES = {'small': 500}  # of the test split, for the ODE: hundreds of evaluations each
# 2107.00630, Table 1; its ImageNet is that of 1601.06759, which is no longer to be had
BOUND = 'a bound, continuous time, no augmentation'
RESIZED = f'{BOUND}; unconditional, on images resized in another way: not the same data'
PRINTED = {'one-gpu': (2.65, 'CIFAR-10', BOUND), 'pod-32': (3.72, 'ImageNet 32', RESIZED),
           'pod': (3.40, 'ImageNet 64', RESIZED)}


def sweep(add, size):
  """Rows: the trainings, each measured as a bound and as an estimate."""
  shorter = SHORTER.get(size, {})
  for label, choices in ROWS.items():
    network = VDM_NETWORK.get(size, ()) if label == VDM else ()
    for name, how in {**ESTIMATORS, **(SWEEP if label == SAMPLERS else {})}.items():
      if label == LEVELS and name == 'ODE, uniform':
        continue  # it knows that there is nothing between the levels
      if how['estimator'] == 'ode' and size in NUM_EXAMPLES:
        how = {**how, 'num_examples': NUM_EXAMPLES[size]}
      config, numbers = columns.trained(
          DATA[size], *choices, *network, without=columns.OF_SCORE_MATCHING if choices else (),
          evals=('likelihood',),
          **{f'evals__kw__likelihood__{key}': value for key, value in how.items()},
          **({'steps': shorter[label]} if label in shorter else {}),
          # what is printed is of images as they are
          **({'augment': ''} if choices and size in PRINTED else {}))
      published = {}
      if label == VDM and name == 'bound' and size in PRINTED:
        value, data, protocol = PRINTED[size]
        published = {'nll_bound_bpd': {'value': value, 'protocol': protocol,
                                       'source': f'2107.00630, Table 1, {data}'}}
      add(f'{label}: {name}', config, numbers, published)


def metrics():
  """Columns: one for each kind; a bound is not ranked against an estimate."""
  of_ode = ('solver', 'num_probes', 'dequantisation')
  return [
      columns.column('nll_bound_bpd', 'NLL bound, bits/dim', 'lower',
                    axes=('num_repeats', 'dequantisation')),
      columns.column('nll_estimate_bpd', 'NLL estimate (ODE), bits/dim', 'lower', axes=of_ode),
      columns.column('nll_estimate_bpd', 'at half the steps, more by', axes=of_ode,
                    detail='half_the_steps', digits=4),
      columns.column('examples', 'examples', source='provenance', digits=0),
      columns.column('train_seconds', 'train s', source='provenance', axes=('device',), digits=0)]


def note():
  """What a reader must know beside the figures."""
  return """
The bound is that of continuous time, with the mass of the integers in its reconstruction. The ODE
gives an estimate of a bound on the same mass, with noise on the integers: *gaussian* is that of the
path at t_min, *uniform* fills the cell. Of the two the smaller is the nearer, but for the errors of
solver and trace; *at half the steps* says by how much the solver still moves it, and one training
is measured with 8 to 64 steps. It is not ranked against the bound.
*levels*: the network puts out logits of each dimension's level, and what x_t itself says of the
level is put in by Bayes.
"""
