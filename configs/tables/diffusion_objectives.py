"""DDPM's objective ablation (2006.11239, Table 2): prediction and variance under L and L_simple.

python -m experiments.table run --table=configs/tables/diffusion_objectives.py --size=tiny
"""

from configs import columns

# one data set a size: an encoder is a protocol, and a column has one
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 1}, 'one-gpu': {'seeds': 1}}
DATA = {'tiny': 'digits', 'small': 'fashion_mnist', 'one-gpu': 'cifar10'}
STEPS = {'tiny': 100, 'small': 1000, 'one-gpu': 1000}  # T
BOUND, SIMPLE = 'objective=kl', 'objective=score_matching'
PAPER = '2006.11239, Table 2, '
PROTOCOL = '50,000 samples against the training set'
# label -> prediction, objective, variance; what the paper printed: row, FID
ROWS = {
    'data, L, learned variance': ('data', BOUND, 'learned', ('mean, L, learned diagonal', 23.69)),
    'data, L, fixed variance': ('data', BOUND, 'upper', ('mean, L, fixed isotropic', 13.22)),
    'data, unweighted': ('data', SIMPLE, 'upper', None),
    'noise, L, learned variance': ('noise', BOUND, 'learned', None),
    'noise, L, fixed variance': ('noise', BOUND, 'upper', ('noise, L, fixed isotropic', 13.51)),
    'noise, simple': ('noise', SIMPLE, 'upper', ('noise, L_simple', 3.17)),
}


def sweep(add, size):
  """Rows: the same network, updates and seeds; what it predicts, and the loss."""
  for label, (prediction, objective, variance, printed) in ROWS.items():
    loss = ('objective.weighting=data' if prediction == 'data' else 'objective.weighting=simple',
            f'objective.num_steps={STEPS[size]}') if objective == SIMPLE else ()
    config, numbers = columns.trained(
        DATA[size], objective, 'model.schedule=linear_beta', f'model.prediction={prediction}',
        f'model.num_steps={STEPS[size]}', f'model.variance={variance}', *loss,
        without=columns.OF_SCORE_MATCHING if objective == BOUND else (),
        sampler__name='ddpm', sampler__kw__num_steps=STEPS[size], sampler__kw__variance=variance,
        sampler__kw__clip=1.0)
    published = {'fd': {'value': printed[1], 'source': PAPER + printed[0], 'protocol': PROTOCOL}
                 } if printed and size == 'one-gpu' else {}
    add(label, config, numbers, published)


def metrics():
  """Columns: quality, what is covered, novelty and cost of the samples, and of the training."""
  return [*columns.sample_columns(),
          columns.column('examples', 'examples seen', source='provenance', digits=0)]


def note():
  """What a reader must know beside the figures."""
  return """
The paper predicts the posterior mean where the rows *data* predict x_0: the mean is an affine
function of it given x_t, so that L is the same function of either, but a network does not learn
them alike. Its unweighted loss of the mean and its learned variance under noise prediction were
unstable and have no figure there. Learned variances are those of 2102.09672, between the two fixed
ones.
""" + columns.SAMPLES_NOTE
