"""The bundled digits: every family and every divergence in one table.

python -m experiments.table run --table=configs/tables/divergences_digits.py --size=tiny
"""

from configs import columns

DATA = 'configs/digits.py'
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 3}}

# training steps of the runs whose length the table sets; the others take the config's
STEPS = {
    'tiny': {'autoregressive': 500, 'flow': 500, 'vae': 600, 'ebm': 2000, 'diffusion': 2800,
             'implicit': 4000},
    'small': {'autoregressive': 800, 'flow': 800, 'vae': 1000, 'ebm': 4000, 'diffusion': 10000,
              'implicit': 20000},
}
# what else makes the tiny size cheap: larger rates for shorter trainings, smaller batches and
# networks, no dropout where validation chooses the checkpoint, critics at twice the generator's
# rate and one update of the Wasserstein critic a step. A penalty of 10 on the slope of the other
# critics steadies their small batches: at 1 the reverse KL nearly loses a class.
# 200 divides validation and test split: one compiled program measures both
IN_TWO = {'evals.kw.likelihood.batch_size': 200}
CHEAPER = {
    'autoregressive': {'batch_size': 32, 'networks.causal.kw.dropout': 0.0, **IN_TWO},
    'flow': IN_TWO,
    'vae': IN_TWO,
    'ebm': {'batch_size': 64, 'optim.lr': 1e-3},
    'diffusion': {'networks.denoiser.kw.num_blocks': 2, 'networks.denoiser.kw.width': 96,
                  'optim.lr': 4e-3},
    'implicit': {'batch_size': 48, 'optim.lr': 1e-3, 'optim_by_player.critic.lr': 2e-3,
                 'checkpoint.every': 4000},
    **dict.fromkeys(('KL', 'reverse KL', 'JS'), {'objective.kw.gradient_penalty': 10.0}),
    'Wasserstein': {'objective.kw.num_critic': 1},
}
# what the generator is trained by; network, seeds, generator updates and batch are the same
GENERATOR = {
    'KL': 'objective=adversarial,divergence=kl',
    'reverse KL': 'objective=adversarial,divergence=reverse_kl',
    'JS': 'objective=adversarial,divergence=js',
    'Wasserstein': 'objective=wasserstein,estimator=critic',
}
SAMPLER = ('sampler',)


def sweep(add, size):
  """Rows, the cheap ones first: label, config argument, what the size changes."""
  def trained(label, family, argument, *more):
    cheaper = [CHEAPER.get(name, {}) for name in (family, *more)] if size == 'tiny' else []
    add(label, f'{DATA}:family={family},{argument}',
        {'steps': STEPS[size][family], **{k: v for changes in cheaper for k, v in changes.items()}})

  add('KL: 20 Gaussians',
      f'{DATA}:family=mixture,objective=kl,model.discretised=False,model.num_components=20,'
      'model.covariance_prior=0.0')
  add('KL: mixture of 50 products', f'{DATA}:family=mixture,objective=kl,model.num_components=50')
  trained('KL: VAE', 'vae', 'objective=kl')
  trained('KL: flow', 'flow', 'objective=kl')
  for divergence, argument in GENERATOR.items():
    trained(f'{divergence}: generator', 'implicit', argument, divergence)
  trained('KL: energy (contrastive divergence)', 'ebm', 'objective=kl')
  trained('KL: autoregressive', 'autoregressive', 'objective=kl')
  trained('score matching: diffusion', 'diffusion', 'objective=score_matching')


def metrics():
  """Columns, each one protocol; what may differ between rows is a declared axis and printed."""
  c = columns.column
  return [
      c('nll_exact_bpd', 'NLL exact, bits/dim', 'lower'),
      c('nll_bound_bpd', 'NLL bound, bits/dim', 'lower',
        axes=('estimator', 'num_repeats', 'num_weights', 'dequantisation')),
      c('fd', 'FD', 'lower', axes=SAMPLER, floor='fd_data', digits=2),
      c('kid', 'KID', 'lower', axes=SAMPLER, floor='kid_data', digits=2),
      c('precision', 'precision', 'higher', axes=SAMPLER, floor='precision_data'),
      c('recall', 'recall', 'higher', axes=SAMPLER, floor='recall_data'),
      c('density', 'density', 'higher', axes=SAMPLER, floor='density_data'),
      c('coverage', 'coverage', 'higher', axes=SAMPLER, floor='coverage_data'),
      c('classified_09', 'classified at 0.9', 'higher', axes=SAMPLER, floor='classified_09_data'),
      c('min_class_share', 'rarest class', 'higher', axes=SAMPLER, floor='min_class_share_data'),
      c('c2st', 'told from data', 'lower', axes=SAMPLER, floor='c2st_data'),
      c('novelty_knn', 'nearer to train', axes=SAMPLER),
      c('novelty_knn_p', 'p of copies', axes=SAMPLER, reduction='each'),
      c('novelty_knn_p', 'power at 5 % copies', axes=SAMPLER, detail='power/0.05'),
      c('c_t', 'C_T', axes=SAMPLER, digits=2),
      c('authpct', 'authentic, %', axes=SAMPLER, floor='authpct_data', digits=1),
      c('fld', 'FLD', 'lower', axes=SAMPLER, digits=2),
      c('samples_per_second', 'samples/s', 'higher', axes=SAMPLER, digits=0),
      c('nfe', 'NFE', 'lower', axes=SAMPLER, digits=0),
      c('train_seconds', 'train s', 'lower', source='provenance', axes=('device',), digits=1),
      c('examples', 'examples', source='provenance', digits=0),
      c('parameters', 'parameters', source='provenance', digits=0),
  ]


def note():
  """What a reader must know beside the figures."""
  return """
Likelihood has two kinds, and they are not ranked against each other: *exact* is the probability
mass of the integers, *bound* an upper bound on its negative logarithm (ELBO, or dequantisation). A
dash: the family, as trained here, has no such figure. FD, precision, recall, density and coverage
compare features of the small classifier that is committed for this data set; FD is no FID, and its
first line is the distance between training and test images, which nothing honest is expected to
beat by much. *KID* compares the same features, without bias; below 0 it is noise. *told from data*:
how often a classifier tells samples from test images, one half where it cannot. *nearer to train*:
share of samples whose nearest neighbour is a training image rather than one of equally many test
images; about one half without memorising, 1 for copies; *p of copies* is that of a test whether the
closest samples lie at training images too often, and *power at 5 % copies* how often that test
signals these samples with 5 % of them replaced by training images. *C_T* below about -2: samples
lie nearer to the training set than test images do. *authentic*: samples farther from their nearest
training image than this from its own nearest. *FLD*: how much worse test images fit a mixture
around the samples than one around training images. The rows named *generator* share network,
seeds, number of generator updates and batch; at size small a Wasserstein critic is updated more
often per step, which shows in *examples*.
"""
