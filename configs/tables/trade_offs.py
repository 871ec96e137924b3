"""What the field says of each family, as figures of one run each on Fashion-MNIST.

python -m genjax prepare --data=fashion_mnist --from=DIR
python -m genjax table run --table=configs/tables/trade_offs.py --size=tiny
"""

from configs import columns

DATA = 'configs/tfds_images.py:data=fashion_mnist'
# label -> (argument, steps by size, settings)
ROWS = {
    'classical: 50 Gaussians': (
        'family=mixture,model.discretised=False,model.num_components=50,objective=kl', (1, 1),
        {'steps_per_dispatch': 1, 'optim.decay': 'constant', 'ema': 0.0}),
    'VAE': ('family=vae,objective=kl,posterior=conv,decoder=conv,model.latent_dim=32',
            (6000, 60000), {}),
    'GAN, JS': ('family=implicit,objective=adversarial,divergence=js,generator=mlp,critic=mlp,'
                'objective.gradient_penalty=1.0', (20000, 200000),
                {'optim.lr': 5e-4, 'optim.b1': 0.5, 'optim.decay': 'constant'}),
    'flow: Glow': ('family=glow,model.num_layers=6,objective=kl', (1500, 60000), {}),
    'autoregressive: PixelCNN': (
        'family=autoregressive,causal=pixelcnn,model.likelihood=logistic_mixture,objective=kl',
        (1500, 60000), {}),
    'energy-based': ('family=ebm,objective=kl,energy=mlp,objective.alpha=0.1', (15000, 100000),
                     {'optim.lr': 1e-4, 'optim.b1': 0.0, 'optim.decay': 'constant'}),
    'diffusion': ('family=diffusion,objective=score_matching,denoiser=dit,denoiser.patch=4',
                  (6000, 60000), {}),
}
SIZES = ('tiny', 'one-gpu')
sizes = {'tiny': {'seeds': 1}, 'one-gpu': {'seeds': 3}}


def sweep(add, size):
  """Rows: one model of each family."""
  for label, (argument, steps, own) in ROWS.items():
    count = steps[SIZES.index(size)]
    add(label, f'{DATA},{argument}', {
        'steps': count, 'batch_size': 64, 'optim.lr': 1e-3, 'optim.decay': 'cosine', 'ema': 0.995,
        'checkpoint.every': max(1, count // 10), 'evals.num_samples': 2000,
        'evals.names': ('likelihood', 'frechet', 'prdc', 'classified', 'sharpness', 'novelty',
                        'cost'), **own})


def metrics():
  """Columns: likelihood by kind, sharpness, quality, diversity, speed."""
  c = columns.column
  likelihoods = [
      c('nll_exact_bpd', 'NLL exact, bits/dim', 'lower'),
      c('nll_bound_bpd', 'NLL bound, bits/dim', 'lower',
        axes=('estimator', 'num_repeats', 'dequantisation'))]
  of_samples = [
      c('sharpness', 'sharpness', floor='sharpness_data', digits=0),
      *columns.classified_columns(),
      c('min_class_share', 'rarest class', 'higher', floor='min_class_share_data'),
      c('nfe', 'NFE', 'lower', digits=0),
      *columns.training_columns(),
  ]
  return likelihoods + [{**each, 'axes': (*each['axes'], 'sampler')}
                        if each['source'] == 'metric' else each for each in of_samples]


def note():
  """What a reader must know next to the figures."""
  return """
What is said of the families, and the column that would show it: a VAE is blurry (*sharpness*, the
variance of the Laplacian, below that of the data), a GAN sharp and without likelihood, and it may
lose modes (*recall*, *coverage*, *rarest class*), an autoregressive model exact and slow to sample
(*samples/s*), a flow exact up to its dequantisation and restricted, an energy-based model without a
normalised likelihood, a diffusion good in both and slow (*NFE*). One run a family, with settings
that are no tuned ones, so a column shows what this run did, not what the family can do.
"""
