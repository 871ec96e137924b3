"""Binary MNIST: richer posteriors and priors of one VAE (1810.01367, Table 3).

python -m genjax prepare --data=mnist --from=DIR
python -m genjax table run --table=configs/tables/binary_mnist.py --size=tiny --jobs=2
"""

from configs import columns

MODEL = ('configs/tfds_images.py:data=mnist,data.binarise=stochastic,family=vae,objective=kl,'
         'posterior=conv,decoder=conv,model.latent_dim=64')
# label -> (argument, the negative ELBO that is printed and its sd over 3 runs, or None)
ROWS = {'no flow': ('', (86.55, 0.06)), 'IAF': ('model.posterior_flow=iaf', (84.20, 0.17)),
        'flow as prior': ('model.prior=flow', None), 'VampPrior': ('model.prior=vamp', None)}
STEPS = {'tiny': 6000, 'one-gpu': 600000}
sizes = {'tiny': {'seeds': 1}, 'one-gpu': {'seeds': 3}}


def sweep(add, size):
  """Rows: a Gaussian posterior, one of four inverse autoregressive maps, two learned priors."""
  for label, (argument, printed) in ROWS.items():
    published = {} if printed is None else {'nll_bound_nats': {
        'value': printed[0], 'std': printed[1], 'n': 3, 'source': '1810.01367, Table 3, MNIST',
        'protocol': 'gated convolutions of Sylvester flows (1803.05649), dynamic binarisation',
        'mark': 'shorter schedule' if size == 'tiny' else 'protocol incomplete'}}
    add(label, ','.join(filter(None, (MODEL, argument))), {
        'steps': STEPS[size], 'batch_size': 100, 'optim.lr': 5e-4, 'optim.decay': 'cosine',
        'ema': 0.999, 'checkpoint.every': STEPS[size] // 10,
        'evals.names': ('likelihood', 'active_units', 'cost')}, published)


def metrics():
  """Columns: the bound, active units and cost."""
  return [
      columns.column('nll_bound_nats', 'negative ELBO, nats', 'lower', digits=2),
      columns.column('active_units', 'active units', digits=0),
      *columns.training_columns()[1:],
  ]


def contrasts():
  """What the flow in the posterior gains."""
  none, iaf = (ROWS[label][1][0] for label in ('no flow', 'IAF'))
  return [{'label': 'no flow - IAF', 'row': 'no flow', 'less': 'IAF',
           'column': 'negative ELBO, nats', 'published': {'published': {
               'value': round(none - iaf, 2), 'source': '1810.01367, Table 3'}}}]


def note():
  """What a reader must know next to the figures."""
  return """
MNIST with pixels drawn anew from the grey levels in each step. The networks here are residual
convolutional ones; those of the paper are gated, so that no verdict is given. Here 5,000 of the
training images are validation.
"""
