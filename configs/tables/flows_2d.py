"""Flows in the plane: couplings, autoregressive and continuous ones on known densities.

python -m genjax table run --table=configs/tables/flows_2d.py --size=tiny --jobs=2
"""

from configs import columns

DATA = ('ring8', 'checkerboard', 'moons')
STEPS = {'tiny': 1000, 'small': 10000}
# label -> argument; layers that make the numbers of parameters comparable
FLOWS = {
    'couplings, affine': 'family=flow,model.transform=affine,model.num_couplings=8',
    'couplings, splines': 'family=flow,model.num_couplings=8',
    'MAF, affine': 'family=autoregressive_flow,model.transform=affine,model.num_layers=4',
    'MAF, splines': 'family=autoregressive_flow,model.num_layers=4',
    'IAF, affine': ('family=autoregressive_flow,model.direction=sampling,model.transform=affine,'
                    'model.num_layers=4'),
    'continuous': 'family=continuous_flow',
}
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 3}}


def sweep(add, size):
  """Rows: each flow on each density, by maximum likelihood."""
  for data in DATA:
    for label, argument in FLOWS.items():
      add(f'{data}: {label}', f'configs/toy2d.py:data={data},{argument},objective=kl', {
          'steps': STEPS[size], 'evals.kw.true_divergence.estimator': 'monte_carlo',
          'evals.names': ('likelihood', 'true_divergence', 'sliced_w2', 'cost')})


def metrics():
  """Columns: the likelihood, its distance from the entropy, samples, the inverse, cost."""
  c = columns.column
  return [
      c('nll_exact_nats', 'NLL exact, nats', 'lower'),
      c('kl_data_model', 'KL(data, model), nats', 'lower', digits=4),
      c('sliced_w2', 'sliced W2', 'lower', floor='sliced_w2_data', digits=3),
      c('nll_exact_nats', 'error of the inverse', digits=6, detail='inverse_error'),
      c('nfe', 'NFE', 'lower', digits=0),
      *columns.training_columns()[1:],
  ]


def note():
  """What a reader must know next to the figures."""
  return """
KL(data, model) is what the NLL lacks to the entropy of the data, over exact samples of the known
density. A flow is a smooth invertible map of one Gaussian: bridges of mass between separate parts
of the density are the price. The trace of the continuous flow is exact, its log-density is so up to
the error of 8 steps of its solver. *error of the inverse*: largest |f^-1(f(x)) - x| / max(1, |x|).
"""
