"""What the tables of likelihoods share: their models, columns and notes."""

from configs import columns

# label -> (argument, settings) of the families with a likelihood, by what they need
CLASSICAL = {
    'product of histograms': ('family=histogram', {}),
    'kernel density': ('family=kde,model.num_points=2000', {}),
    'mixture of 50 products': ('family=mixture,model.num_components=50', {}),
    '50 Gaussians': ('family=mixture,model.discretised=False,model.num_components=50', {}),
}
VAES = {
    'VAE: perceptrons': ('family=vae,posterior=mlp,decoder=mlp,model.latent_dim=32', {}),
    'VAE: convolutions': ('family=vae,posterior=conv,decoder=conv,model.latent_dim=32', {}),
    'VAE: convolutions, mixture of logistics': (
        'family=vae,posterior=conv,decoder=conv,model.latent_dim=32,'
        'model.likelihood=logistic_mixture,model.num_mixtures=5', {}),
    'VAE: ladder of 12 layers': ('family=ladder', {'optim.clip': 10.0}),
}
FLOWS = {
    'flow: perceptrons': ('family=flow,conditioner=mlp,model.split=permutation', {}),
    'flow: convolutions': ('family=flow,conditioner=conv,model.split=checkerboard', {}),
    'flow: Glow': ('family=glow,model.num_layers=6', {}),
    'flow: Glow, variational dequantisation': (
        'family=glow,model.num_layers=6,model.dequantisation=variational', {}),
    'flow: masked autoregressive': ('family=autoregressive_flow', {}),
    'flow: TarFlow': ('family=tarflow', {}),
}
AUTOREGRESSIVE = {
    'autoregressive: MADE': ('family=autoregressive,causal=made', {}),
    'autoregressive: transformer': ('family=autoregressive,causal=transformer', {}),
    'autoregressive: PixelCNN, mixture of logistics': (
        'family=autoregressive,causal=pixelcnn,model.likelihood=logistic_mixture', {}),
}
DIFFUSIONS = {
    'diffusion: convolutional': ('family=diffusion,denoiser=unet,denoiser.width=32', {}),
}
TRAINED = {**VAES, **FLOWS, **AUTOREGRESSIVE, **DIFFUSIONS}
OPTIM = {'optim.lr': 1e-3, 'optim.clip': 1.0, 'optim.warmup': 100, 'optim.decay': 'cosine',
         'ema': 0.995}


def rows(add, data: str, steps: dict, settings: dict):
  """Adds the classical models, then those of TRAINED that `steps` names.

  data: the config and what chooses its data, 'configs/FILE.py:data=NAME'.
  steps: {label: training steps}; settings: of the trained models.
  """
  measured = {'evals.names': ('likelihood', 'codecs', 'cost'), 'evals.num_samples': 256,
              'evals.encoder': ''}
  separator = ',' if ':' in data else ':'
  for label, (argument, own) in CLASSICAL.items():
    add(label, f'{data}{separator}{argument},objective=kl', {
        **measured, 'steps': 1, 'steps_per_dispatch': 1, 'optim.decay': 'constant', 'ema': 0.0,
        **own})
  for label, count in steps.items():
    argument, own = TRAINED[label]
    add(label, f'{data}{separator}{argument},objective=kl', {
        **OPTIM, **measured, **settings, 'steps': count, 'checkpoint.every': count // 10, **own})


def metrics() -> list[dict]:
  """Columns: the likelihood by kind, the codecs, the cost."""
  return [
      columns.column('nll_exact_bpd', 'NLL exact, bits/dim', 'lower'),
      columns.column('nll_bound_bpd', 'NLL bound, bits/dim', 'lower',
                     axes=('estimator', 'num_repeats', 'dequantisation')),
      *(columns.column(f'{name}_bpd', label) for name, label in (
          ('xz', 'xz'), ('gzip', 'gzip'), ('png', 'PNG'), ('webp', 'WebP'))),
      columns.column('nll_bound_bpd', 'error of the inverse', digits=6, detail='inverse_error',
                     axes=('estimator', 'num_repeats', 'dequantisation')),
      *columns.training_columns()[1:],
  ]


NOTE = """
A model claims its NLL; the codecs are the bits per dimension that real files of the same test
images weigh: xz -9e and gzip -9 of the whole split, PNG and WebP lossless image by image. A model
above xz has learned less than a general codec knows. Exact values and bounds are not ranked against
each other. *error of the inverse*: largest |f^-1(f(x)) - x| / max(1, |x|) of a flow.
"""
