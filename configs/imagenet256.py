"""ImageNet at 256x256 as codes of an autoencoder [32, 32, 4]: class-conditional DiT-XL/2.

  --config=configs/imagenet256.py
  --config=configs/imagenet256.py:size=B,data.path=DIR

Names: size (S, B, L, XL), objective (score_matching, kl, mean_flow, consistency), estimator,
SECTION.KEY (grammar: configs/common.py). Left out: size=XL, objective=score_matching. Size, noise
and recipe are those of 2212.09748, but for the flips of images, which codes do not take. The codes
must have been prepared: python -m experiments.prepare --data=latents; data.path names a directory
other than the cache. Samples are codes (FILE.npz), to be decoded elsewhere, so what is evaluated
here is no image: the likelihood is of the codes, in nats.

Pod check (compiled, not run; own batch, level O0; more pods in benchmarks/2026-11-22-pods.md):
v5e:4x4, fsdp 4: 4.00 of 15.75 GiB a device, 1.82e14 model FLOPs a step; assumed at 40 % of the
peak and $1.20 a chip-hour: 0.145 s a step, $308 for 400,000 steps.
"""

from configs import common

NAMES = {'size': tuple(common.DIT), 'objective': (), 'estimator': ()}
DEFAULT = {'size': 'XL', 'objective': 'score_matching'}


def get_config(arg: str = ''):
  """The config of one run on ImageNet's codes. Raises ValueError for an unknown argument."""
  args = common.parse(arg, NAMES, DEFAULT)
  return common.diffusion(args, 'latents', {
      **common.DIT_RECIPE, **common.dit(args['size'], patch=2), **common.with_labels(args),
      'data.kw.shape': (32, 32, 4), 'data.kw.num_classes': 1000,
      # parameters, gradient, Adam and average: 20 bytes each, 13 GB in all, shared by four
      'mesh.fsdp': 4, 'model.kw.prediction': 'noise', 'model.kw.schedule': 'linear_beta',
      'sampler.kw.num_steps': 250, 'evals.names': ('likelihood', 'novelty', 'cost'),
      'evals.num_samples': 5000})
