"""Fashion-MNIST: one convolutional generator, one budget, the divergence swapped.

python -m genjax table run --table=configs/tables/divergences_fashion_mnist.py --size=tiny
"""

from configs import columns

GENERATOR = ('configs/tfds_images.py:data=fashion_mnist,family=implicit,generator=conv,'
             'generator.width=32,model.latent_dim=64')
CRITIC = 'critic=conv,critic.width=32'
sizes = {'tiny': {'seeds': 3}, 'one-gpu': {'seeds': 3}}

# generator updates; a critic is updated as often
STEPS = {'tiny': 2500, 'one-gpu': 50000}
BATCH = {'tiny': 64, 'one-gpu': 256}
OBJECTIVES = {
    **{label: f'objective=adversarial,divergence={name},{CRITIC},objective.gradient_penalty=1.0'
       for label, name in (('KL', 'kl'), ('reverse KL', 'reverse_kl'), ('JS', 'js'))},
    'Wasserstein-1, critic':
        f'objective=wasserstein,estimator=critic,{CRITIC},objective.num_critic=1',
    'Wasserstein-2, Sinkhorn': 'objective=wasserstein,estimator=sinkhorn',
}


def sweep(add, size):
  """Rows: the same generator, seeds, updates and batch under every divergence."""
  every = STEPS[size] // 5
  for label, argument in OBJECTIVES.items():
    add(label, f'{GENERATOR},{argument}',
        {'steps': STEPS[size], 'batch_size': BATCH[size], 'optim.lr': 5e-4, 'optim.b1': 0.5,
         'optim.b2': 0.9, 'checkpoint.every': every, 'ema': 0.995, 'evals.num_samples': 2000,
         'evals.names': ('frechet', 'prdc', 'classified', 'novelty', 'cost')})


def metrics():
  """Columns: quality, diversity, novelty and cost of the samples."""
  return [
      *columns.classified_columns(),
      columns.column('min_class_share', 'rarest class', 'higher', floor='min_class_share_data'),
      *columns.training_columns(),
  ]


def note():
  """What a reader must know next to the figures."""
  return """
The rows share the generator (a residual convolutional network), seeds, number of generator updates
and batch. The critic's rows share one convolutional critic, updated once per generator update;
Sinkhorn compares the two minibatches themselves and needs none. FD compares features of the small
classifier that is committed for this data set; it is no FID. The size tiny is a declared short
schedule for two processor cores; the size one-gpu is the same table trained to the end.
"""
