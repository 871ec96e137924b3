"""Fashion-MNIST: convolutions against MLPs in a VAE, two GANs, an EBM and a flow, at equal seconds.

python -m genjax table run --table=configs/tables/convolutions_fashion_mnist.py --size=tiny
"""

from configs import columns

DATA = 'configs/tfds_images.py:data=fashion_mnist'
# steps of a family with MLPs and with convolutions, which take about the same seconds on two cores
STEPS = {
    'tiny': {'VAE': (12000, 1500), 'GAN, JS': (9000, 1000), 'GAN, Wasserstein': (6000, 700),
             'EBM': (1500, 200), 'flow': (1500, 600)},
    'one-gpu': dict.fromkeys(('VAE', 'GAN, JS', 'GAN, Wasserstein', 'EBM', 'flow'),
                             (100000, 100000)),
}
# family, objective, and how each role says which network it has
FAMILIES = {
    'VAE': ('family=vae,objective=kl', ('posterior', 'decoder')),
    'GAN, JS': ('family=implicit,objective=adversarial,divergence=js,'
                'objective.gradient_penalty=1.0', ('generator', 'critic')),
    'GAN, Wasserstein': ('family=implicit,objective=wasserstein,estimator=critic,'
                         'objective.num_critic=2', ('generator', 'critic')),
    'EBM': ('family=ebm,objective=kl', ('energy',)),
    'flow': ('family=flow,objective=kl', ('conditioner',)),
}
SPLIT = {'flow': {'mlp': 'model.split=permutation', 'conv': 'model.split=checkerboard'}}
WIDTH = {'conv': ('width=16',), 'mlp': ()}
sizes = {'tiny': {'seeds': 1}, 'one-gpu': {'seeds': 3}}


def sweep(add, size):
  """Rows: each family with MLPs and with convolutions."""
  for label, (argument, roles) in FAMILIES.items():
    for network, steps in zip(('mlp', 'conv'), STEPS[size][label], strict=True):
      parts = [f'{role}={network}' for role in roles]
      parts += [f'{role}.{setting}' for role in roles for setting in WIDTH[network]]
      parts += [SPLIT[label][network]] if label in SPLIT else []
      add(f'{label}: {network}', f'{DATA},{argument},{",".join(parts)}',
          {'steps': steps, 'batch_size': 64, 'checkpoint.every': steps, 'ema': 0.995,
           'optim.lr': 5e-4, 'evals.num_samples': 2000,
           'evals.names': ('likelihood', 'frechet', 'prdc', 'classified', 'novelty', 'cost')})


def metrics():
  """Columns: likelihood where there is one, quality, diversity, speed and cost."""
  return [
      columns.column('nll_bound_bpd', 'NLL bound, bits/dim', 'lower',
                     axes=('estimator', 'num_repeats', 'dequantisation')),
      *columns.classified_columns(),
      *columns.training_columns(),
  ]


def note():
  """What a reader must know next to the figures."""
  return """
Each family is trained with multilayer perceptrons on flattened pixels and with residual
convolutional networks, for about the same seconds on the same device; the number of steps differs
(*examples*). A dash: the family has no likelihood. FD compares features of the small classifier
that is committed for this data set; it is no FID. The size tiny is a declared short schedule of
some five minutes a row on two processor cores.
"""
