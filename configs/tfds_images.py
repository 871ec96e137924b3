"""Image data sets of TensorFlow Datasets by name, read without TensorFlow.

  --config=configs/tfds_images.py:data=fashion_mnist,family=diffusion,objective=score_matching
  --config=configs/tfds_images.py:data=cifar10,family=vae,objective=kl
  --config=configs/tfds_images.py:family=autoregressive,causal=pixelcnn,model.likelihood=logistic_mixture
  --config=configs/tfds_images.py:family=diffusion,objective=score_matching,model.schedule=linear,model.prediction=velocity,objective.weighting=flow_matching

Of images of 0 and 1, made anew at each step (genjax/data/binary.py):

  --config=configs/tfds_images.py:data=mnist,data.binarise=stochastic,family=vae,objective=kl

Names: data (any TFDS name, or FILE.py), family, objective, estimator, divergence, conditional,
ROLE, ROLE.KEY, SECTION.KEY (grammar: configs/common.py). Left out: data=fashion_mnist, family=vae,
objective=kl. A data set of TFDS must have been prepared: python -m experiments.prepare --data=NAME.
The numbers of steps are starting points for a small accelerator, not tuned settings. The choices of
a diffusion: configs/digits.py.
"""

from configs import common

NAMES = dict.fromkeys(('data', 'family', 'objective', 'estimator', 'divergence'), ())
DEFAULT = {'data': 'fashion_mnist', 'family': 'vae', 'objective': 'kl'}

ENCODERS = {'fashion_mnist': 'fmnist'}  # the committed ones, by data set
OF_SAMPLES = ('frechet', 'kid', 'prdc', 'classified')  # what an encoder is for


def get_config(arg: str = ''):
  """The config of one run on TFDS images. Raises ValueError for an argument it does not know."""
  args = common.parse(arg, NAMES, DEFAULT)
  # the encoders see grey levels
  encoder = '' if 'binarise' in args['kw']['data'] else ENCODERS.get(args['data'], '')
  return common.build(args, {
      'evals.encoder': encoder, 'steps': 20000, 'batch_size': 128, 'steps_per_dispatch': 10,
      'log.every': 100, 'checkpoint.every': 1000, 'optim.clip': 1.0,
      **common.BY_OBJECTIVE.get(args['objective'], common.OTHERWISE),
      **common.FEW_STEPS.get((args['family'], args['objective']), {}),
      'evals.names': ('likelihood', 'novelty', 'copying', 'cost', *(OF_SAMPLES if encoder else ())),
      'evals.num_samples': 10000})
