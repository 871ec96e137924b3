"""Three families on a user's own images, judged by an encoder of one's own.

  python -m experiments.encoder --data=folder --path=photos --out=photos.npz
  python -m experiments.table run --table=configs/tables/own_data.py:path=photos,encoder=photos.npz

Names: path (a folder of images, or one .npz) and encoder (a file of experiments.encoder), which
must be given; steps, of every row instead of the size's own (a multiple of 10). data.KEY is passed
on, as data.levels=17 (grammar: configs/common.py). The sizes are for 32 x 32 RGB on a laptop.
"""

import re

from configs import columns, common

NAMES = {'path': (), 'encoder': (), 'steps': ()}
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 3}}
STEPS = {'tiny': {'vae': 3000, 'implicit': 6000, 'diffusion': 3000},
         'small': {'vae': 10000, 'implicit': 30000, 'diffusion': 20000}}
# what trains within minutes on two cores; the larger size takes the convolutions of the data
NETWORKS = {'tiny': {'vae': ',posterior=mlp,decoder=mlp', 'implicit': ',generator=mlp,critic=mlp'},
            'small': {}}
EVALS = ('likelihood', 'frechet', 'kid', 'prdc', 'novelty', 'cost')
NUM_SAMPLES = 1000
# a network of one number for each pixel: with 256 levels it is the fastest of the predictions
DIFFUSION = ('family=diffusion,objective=score_matching,denoiser=dit,denoiser.patch=4,'
             'denoiser.width=128,denoiser.num_blocks=2,model.prediction=v,sampler.num_steps=20')


def sweep(add, size, argument):
  """Rows: label, config argument, what the size changes. Raises ValueError for what is missing."""
  args = common.parse(argument, NAMES, {})
  if not args['path'] or not args['encoder']:
    raise ValueError('path=DIR and encoder=FILE.npz must be given, as in '
                     'configs/tables/own_data.py:path=photos,encoder=photos.npz')
  if not re.fullmatch(r'([1-9]\d*0)?', args['steps']):
    raise ValueError(f'steps={args["steps"]}; allowed: multiples of 10, from 10')
  own = ''.join(f',data.{key}={value!r}' for key, value in args['kw']['data'].items())
  data = f'configs/folder.py:path={_quoted(args["path"])}{own}'
  # a GAN's step reads two batches, so that 64 training images are enough
  shared = {'batch_size': 32, 'steps_per_dispatch': 10, 'checkpoint.every': 500,
            'evals.encoder': args['encoder'].strip('\'"'), 'evals.names': EVALS,
            'evals.num_samples': NUM_SAMPLES}

  def row(label, family, config, **changes):
    steps = int(args['steps'] or STEPS[size][family])
    add(label, f'{data},{config}{NETWORKS[size].get(family, "")}', {
        'steps': steps, 'optim.warmup': min(100, steps // 30), **shared, **changes})

  row('VAE', 'vae', 'family=vae,objective=kl', **{'optim.lr': 1e-3})
  row('GAN', 'implicit', 'family=implicit,objective=adversarial', **{
      'optim.lr': 5e-4, 'optim.b1': 0.5, 'optim.warmup': 0,
      'objective.kw.gradient_penalty': 1.0, 'ema': 0.995})
  row('diffusion', 'diffusion', DIFFUSION, **{'optim.lr': 1e-3, 'optim.decay': 'cosine',
                                              'ema': 0.995})


def metrics():
  """Columns, each one protocol; what may differ between rows is a declared axis and printed."""
  c, axes = columns.column, ('sampler',)
  return [
      c('nll_bound_bpd', 'NLL bound, bits/dim', 'lower',
        axes=('estimator', 'num_repeats', 'num_weights', 'dequantisation')),
      c('fd', 'FD', 'lower', axes=axes, floor='fd_data', digits=2),
      c('kid', 'KID', 'lower', axes=axes, floor='kid_data', digits=2),
      c('precision', 'precision', 'higher', axes=axes, floor='precision_data'),
      c('recall', 'recall', 'higher', axes=axes, floor='recall_data'),
      c('density', 'density', 'higher', axes=axes, floor='density_data'),
      c('coverage', 'coverage', 'higher', axes=axes, floor='coverage_data'),
      c('novelty_knn', 'nearer to train', axes=axes),
      c('novelty_knn_p', 'p of copies', axes=axes, reduction='each'),
      c('samples_per_second', 'samples/s', 'higher', axes=axes, digits=0),
      c('train_seconds', 'train s', 'lower', source='provenance', axes=('device',), digits=1),
      c('parameters', 'parameters', source='provenance', digits=0),
  ]


def note():
  """What a reader must know beside the figures."""
  return """
*NLL bound* is an upper bound on the negative log likelihood of the integers; a GAN has none. FD,
KID, precision, recall, density and coverage compare features of the encoder that Protocol names;
FD is no FID. Their first line is what training images score against test images, which nothing
honest is expected to beat by much; with few test images its noise is large. *nearer to train*:
share of samples whose nearest neighbour is a training image rather than one of equally many test
images; about one half without memorising, 1 for copies. *p of copies*: of a test whether the
closest samples lie at training images too often.
"""


def _quoted(path: str) -> str:
  """A path as the value of a config's argument: in quotes where a comma or bracket stands in it."""
  path = path.strip('\'"')
  return repr(path) if re.search(r'[,()\[\]{}]', path) else path
