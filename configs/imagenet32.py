"""ImageNet at 32x32 (256 levels, 1000 classes): a class-conditional diffusion transformer.

  --config=configs/imagenet32.py
  --config=configs/imagenet32.py:size=B,objective=kl

Names: size (S, B, L, XL), objective (score_matching, kl, mean_flow, consistency), estimator,
SECTION.KEY (grammar: configs/common.py). Left out: size=L, objective=score_matching. Size and
recipe are those of 2212.09748; patches of 2 give 256 tokens, as many as there. The data set must
have been prepared: python -m experiments.prepare --data=imagenet_resized/32x32.

Pod check (compiled, not run; own batch, level O0; more pods in
benchmarks/2026-11-23-pods-imagenet32.md): v5e:4x4, fsdp 4: 2.81 of 15.75 GiB a device, 1.24e14
model FLOPs a step; assumed at 40 % of the peak and $1.20 a chip-hour: 0.098 s a step, $210 for
400,000 steps.
"""

from configs import common

NAMES = {'size': tuple(common.DIT), 'objective': (), 'estimator': ()}
DEFAULT = {'size': 'L', 'objective': 'score_matching'}


def get_config(arg: str = ''):
  """The config of one run on ImageNet 32x32. Raises ValueError for an unknown argument."""
  args = common.parse(arg, NAMES, DEFAULT)
  return common.imagenet(args, 32)
