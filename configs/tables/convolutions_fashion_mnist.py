"""Fashion-MNIST: convolutions against MLPs in a VAE, two GANs, an EBM and a flow, at equal seconds.

python -m genjax table run --table=configs/tables/convolutions_fashion_mnist.py --size=tiny
"""

from configs import columns

DATA = 'configs/tfds_images.py:data=fashion_mnist'
# steps of a family with MLPs and with convolutions that took some 300 processor seconds each, on
# the machine of benchmarks/2026-11-29-convolutions.md
STEPS = {
    'tiny': {'VAE': (65000, 11000), 'GAN, JS': (60000, 9000), 'GAN, Wasserstein': (34000, 6000),
             'EBM': (15000, 2000), 'flow': (2200, 900)},
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
    'EBM': ('family=ebm,objective=kl,objective.alpha=0.1,objective.restart=0.02', ('energy',)),
    'flow': ('family=flow,objective=kl', ('conditioner',)),
}
SPLIT = {'flow': {'mlp': 'model.split=permutation', 'conv': 'model.split=checkerboard'}}
WIDTH = {'posterior': 64, 'decoder': 64, 'conditioner': 16}  # of convolutions; else 32
OTHERWISE = {'optim.lr': 5e-4}
BY_FAMILY = {'VAE': {'optim.lr': 2e-3}, 'EBM': {'optim.lr': 1e-4, 'optim.b1': 0.0},
             'GAN, JS': {'optim.b1': 0.5}, 'GAN, Wasserstein': {'optim.b1': 0.5, 'optim.b2': 0.9}}
sizes = {'tiny': {'seeds': 1}, 'one-gpu': {'seeds': 3}}


def sweep(add, size):
  """Rows: each family with MLPs and with convolutions."""
  for label, (argument, roles) in FAMILIES.items():
    for network, steps in zip(('mlp', 'conv'), STEPS[size][label], strict=True):
      parts = [f'{role}={network}' for role in roles]
      if network == 'conv':
        parts += [f'{role}.width={WIDTH.get(role, 32)}' for role in roles]
      parts += [SPLIT[label][network]] if label in SPLIT else []
      add(f'{label}: {network}', f'{DATA},{argument},{",".join(parts)}',
          {**OTHERWISE, **BY_FAMILY.get(label, {}), 'steps': steps, 'batch_size': 64,
           'checkpoint.every': steps // 10, 'ema': 0.995, 'evals.num_samples': 2000,
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
some five minutes a row on one processor core.
"""
