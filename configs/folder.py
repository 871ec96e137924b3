"""A user's own data: a folder of image files, one .npz file, or a .py file that makes them.

  --config=configs/folder.py:path=DIR,family=diffusion,objective=score_matching
  --config=configs/folder.py:path=images.npz,family=vae,objective=kl,data.KEY=VALUE

FILE.py: has make(**data.KEY) -> genjax.data.Dataset.
DIR: images, DIR/CLASS/*.png with labels, or DIR/{train,test,validation}/... with splits of its own.

Names: path (must be given), family, objective, estimator, divergence, SECTION.KEY (grammar:
configs/common.py). Left out: family=vae, objective=kl. The numbers are starting points.
"""

import os

from configs import common

NAMES = dict.fromkeys(('path', 'family', 'objective', 'estimator', 'divergence'), ())
DEFAULT = {'path': '', 'family': 'vae', 'objective': 'kl'}


def get_config(arg: str = ''):
  """The config of one run on a user's images. Raises ValueError for an unknown argument."""
  args = common.parse(arg, NAMES, DEFAULT)
  if not args['path']:
    raise ValueError('path=DIR, path=FILE.npz or path=FILE.py must be given, as in '
                     'configs/folder.py:path=photos')
  # absolute: a run is sampled and evaluated from other working directories too
  path = os.path.abspath(os.path.expanduser(args['path']))
  data, place = 'npz' if path.endswith('.npz') else 'folder', {'data.kw.path': path}
  if path.endswith('.py'):
    data, place = path, {}
  return common.build({**args, 'data': data}, {
      **place, 'steps': 10000, 'batch_size': 64, 'log.every': 100,
      'checkpoint.every': 1000, 'optim.lr': 3e-4, 'optim.clip': 1.0, 'optim.warmup': 200,
      'ema': 0.999, **common.FEW_STEPS.get((args['family'], args['objective']), {}),
      'evals.names': ('likelihood', 'novelty', 'cost'), 'evals.num_samples': 1000})
