"""CIFAR-10 (32x32, 256 levels), unconditional: a diffusion with a UNet or a small transformer, or
an autoregressive PixelCNN.

  --config=configs/cifar10.py
  --config=configs/cifar10.py:denoiser=dit,size=B
  --config=configs/cifar10.py:objective=kl,conditional=True
  --config=configs/cifar10.py:model.schedule=edm,model.prediction=edm,objective.weighting=edm,denoiser.residual_scale=0.7071
  --config=configs/cifar10.py:objective=kl,model.schedule=learned,denoiser.multipliers=(1,),denoiser.num_blocks=32,denoiser.attention=(),denoiser.fourier=(7,8)
  --config=configs/cifar10.py:family=autoregressive,causal.width=64

Names: family (diffusion, autoregressive), size (S, B, L or XL, of denoiser=dit), objective
(score_matching, kl, mean_flow, consistency; of an autoregressive model kl), estimator, conditional,
ROLE, ROLE.KEY, SECTION.KEY (grammar: configs/common.py). Left out: family=diffusion, denoiser=unet,
size=S, objective=score_matching; causal=pixelcnn. Lines 4 and 5 are the choices of EDM and of VDM;
all choices of a diffusion: configs/digits.py. The UNet's sizes, its optimiser, its noise
and the flips of images are those of 2006.11239 (appendix B; VDM's figure is of images as they are,
--config.augment=), its layout is genjax's (43 M parameters, 36 M there); dit is DiT-S/2 of
2212.09748, with its recipe. The PixelCNN has the width, likelihood, dropout, rate and average of
1701.05517, whose layout is another, and sees images as they are. The data set must have been
prepared: python -m experiments.prepare --data=cifar10.

Pod check (compiled, not run; own batch, level O0; more pods in benchmarks/2026-11-22-pods.md):
v5e:4x4. UNet: 0.88 of 15.75 GiB a device, 5.1e12 model FLOPs a step; assumed at 40 % of the peak
and $1.20 a chip-hour: 0.0040 s a step, $17 for 800,000 steps. DiT-S/2: 0.78 of 15.75 GiB, 9.3e12
model FLOPs, likewise assumed 0.0074 s a step, $16 for 400,000 steps.
"""

from configs import common

NAMES = {'family': ('diffusion', 'autoregressive'), 'size': tuple(common.DIT), 'objective': (),
         'estimator': ()}
DEFAULT = {'family': 'diffusion', 'size': 'S'}
LEFT_OUT = {'diffusion': {'denoiser': 'unet', 'objective': 'score_matching'},
            'autoregressive': {'causal': 'pixelcnn', 'objective': 'kl'}}

UNET = {'steps': 800000, 'batch_size': 128, 'optim.lr': 2e-4, 'optim.warmup': 5000,
        'optim.clip': 1.0, 'ema': 0.9999, 'networks.denoiser.kw.width': 128,
        'networks.denoiser.kw.multipliers': (1, 2, 2, 2), 'networks.denoiser.kw.num_blocks': 2,
        'networks.denoiser.kw.attention': (16,), 'networks.denoiser.kw.num_heads': 1,
        'networks.denoiser.kw.dropout': 0.1}
PIXELCNN = {'steps': 400000, 'batch_size': 128, 'optim.lr': 1e-3, 'optim.warmup': 1000,
            'optim.clip': 1.0, 'ema': 0.9995, 'model.kw.likelihood': 'logistic_mixture',
            'networks.causal.kw.width': 160, 'networks.causal.kw.num_blocks': 12,
            'networks.causal.kw.dropout': 0.5}


def get_config(arg: str = ''):
  """The config of one run on CIFAR-10. Raises ValueError for an argument it does not know."""
  args = common.parse(arg, NAMES, DEFAULT)
  args |= {name: args[name] or value for name, value in LEFT_OUT[args['family']].items()}
  name = args['denoiser']
  if name != 'dit' and args['size'] != DEFAULT['size']:
    raise ValueError(f"size={args['size']} is of denoiser=dit, not {name or args['family']}; "
                     'allowed there: none')
  shared = {'steps_per_dispatch': 10, 'evals.names': ('likelihood', 'novelty', 'cost'),
            'evals.num_samples': 10000}
  if args['family'] == 'autoregressive':
    return common.autoregressive(args, 'cifar10', {**PIXELCNN, **shared})
  network = {'unet': UNET, 'dit': {**common.DIT_RECIPE, **common.dit(args['size'], patch=2)}}.get(
      name, {})
  return common.diffusion(args, 'cifar10', {
      **network, **shared, 'augment': 'flip', 'model.kw.prediction': 'noise',
      'model.kw.schedule': 'linear_beta', 'sampler.kw.num_steps': 100, 'sampler.kw.clip': 1.0})
