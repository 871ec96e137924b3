"""Image data sets of TensorFlow Datasets by name, read without TensorFlow.

  --config=configs/tfds_images.py:data=fashion_mnist,family=diffusion,objective=score_matching
  --config=configs/tfds_images.py:data=cifar10,family=vae,objective=kl
  --config=configs/tfds_images.py:family=autoregressive,causal=pixelcnn,model.likelihood=logistic_mixture
  --config=configs/tfds_images.py:family=diffusion,objective=score_matching,model.schedule=linear,model.prediction=velocity,objective.weighting=flow_matching

Names: data (any TFDS name, or FILE.py), family, objective, estimator, divergence, conditional,
ROLE, ROLE.KEY, SECTION.KEY (grammar: configs/common.py). Left out: data=fashion_mnist, family=vae,
objective=kl. A data set of TFDS must have been prepared: python -m experiments.prepare --data=NAME.
The numbers of steps are starting points for a small accelerator, not tuned settings. The choices of
a diffusion: configs/digits.py.
"""

from configs import common

NAMES = dict.fromkeys(('data', 'family', 'objective', 'estimator', 'divergence'), ())
DEFAULT = {'data': 'fashion_mnist', 'family': 'vae', 'objective': 'kl'}

BY_OBJECTIVE = {
    'kl': {'optim.lr': 1e-3, 'optim.decay': 'cosine', 'ema': 0.999},
    'reverse_kl': {'optim.lr': 5e-4},
    'adversarial': {'optim.lr': 2e-4, 'optim.b1': 0.5, 'ema': 0.999},
    'wasserstein': {'optim.lr': 2e-4, 'optim.b1': 0.5, 'optim.b2': 0.9, 'ema': 0.999},
    **dict.fromkeys(('score_matching', 'mean_flow', 'consistency', 'distillation'),
                    {'optim.lr': 5e-4, 'optim.warmup': 500, 'ema': 0.999}),
}
OTHERWISE = {'optim.lr': 5e-4}  # an objective that this file knows nothing of
ENCODERS = {'fashion_mnist': 'fmnist'}  # the committed ones, by data set
OF_SAMPLES = ('frechet', 'kid', 'prdc', 'classified')  # what an encoder is for


def get_config(arg: str = ''):
  """The config of one run on TFDS images. Raises ValueError for an argument it does not know."""
  args = common.parse(arg, NAMES, DEFAULT)
  encoder = ENCODERS.get(args['data'], '')
  return common.build(args, {
      'evals.encoder': encoder, 'steps': 20000, 'batch_size': 128, 'steps_per_dispatch': 10,
      'log.every': 100, 'checkpoint.every': 1000, 'optim.clip': 1.0,
      **BY_OBJECTIVE.get(args['objective'], OTHERWISE),
      **common.FEW_STEPS.get((args['family'], args['objective']), {}),
      'evals.names': ('likelihood', 'novelty', 'copying', 'cost', *(OF_SAMPLES if encoder else ())),
      'evals.num_samples': 10000})
