"""CIFAR-10 (32x32, 256 levels), unconditional: a diffusion, or any other family on a pod.

  --config=configs/cifar10.py
  --config=configs/cifar10.py:denoiser=dit,size=B
  --config=configs/cifar10.py:objective=kl,conditional=True
  --config=configs/cifar10.py:family=vae,objective=kl
  --config=configs/cifar10.py:family=ladder,objective=kl
  --config=configs/cifar10.py:family=implicit,objective=adversarial,objective.gradient_penalty=1.0
  --config=configs/cifar10.py:family=autoregressive,causal.width=64
  --config=configs/cifar10.py:family=glow,objective=kl
  --config=configs/cifar10.py:family=tarflow,objective=kl
  --config=configs/cifar10.py:model.schedule=edm,model.prediction=edm,objective.weighting=edm,denoiser.residual_scale=0.7071
  --config=configs/cifar10.py:objective=kl,model.schedule=learned,denoiser.multipliers=(1,),denoiser.num_blocks=32,denoiser.attention=(),denoiser.fourier=(7,8)

Names: family (diffusion, or any other), size (S, B, L or XL, for denoiser=dit), objective
(score_matching for a diffusion, else kl), estimator, divergence, conditional, ROLE, ROLE.KEY,
SECTION.KEY (grammar: configs/common.py). Defaults: denoiser=unet, size=S. The last two lines are
the choices of EDM and of VDM; all choices of a diffusion: configs/digits.py. The UNet's sizes, its
optimiser, its noise and the flips of images are those of 2006.11239 (appendix B; VDM's figure is of
images as they are, --config.augment=), its layout is genjax's (43 M parameters, 36 M there); dit is
DiT-S/2 of 2212.09748, with its recipe. An autoregressive model is a PixelCNN with the width,
likelihood, dropout, rate and average of 1701.05517, whose layout is another, on images as they are.
The sizes of the other families are starting points, not those of a paper. The data set must have
been prepared: python -m experiments.prepare --data=cifar10.

Pod check (compiled, not run; own batch, level O0; more pods in benchmarks/2026-11-22-pods.md):
v5e:4x4. UNet: 0.88 of 15.75 GiB a device, 5.1e12 model FLOPs a step; assumed at 40 % of the peak
and $1.20 a chip-hour: 0.0040 s a step, $17 for 800,000 steps. DiT-S/2: 0.78 of 15.75 GiB, 9.3e12
model FLOPs, likewise assumed 0.0074 s a step, $16 for 400,000 steps.
"""

from configs import common

NAMES = {'size': tuple(common.DIT),
         **dict.fromkeys(('family', 'objective', 'estimator', 'divergence'), ())}
DEFAULT = {'family': 'diffusion', 'size': 'S'}

UNET = {'steps': 800000, 'batch_size': 128, 'optim.lr': 2e-4, 'optim.warmup': 5000,
        'optim.clip': 1.0, 'ema': 0.9999, 'networks.denoiser.kw.width': 128,
        'networks.denoiser.kw.multipliers': (1, 2, 2, 2), 'networks.denoiser.kw.num_blocks': 2,
        'networks.denoiser.kw.attention': (16,), 'networks.denoiser.kw.num_heads': 1,
        'networks.denoiser.kw.dropout': 0.1}
PIXELCNN = {'model.kw.likelihood': 'logistic_mixture',
            'augment': '', 'steps': 400000, 'batch_size': 128, 'optim.lr': 1e-3,
            'optim.warmup': 1000, 'optim.decay': 'constant', 'ema': 0.9995}
# the networks of the other families; those of a name that the argument gives keep their own sizes
IMAGES = {'width': 128, 'num_blocks': 2, 'patch': 2, 'dtype': 'bfloat16'}
NETWORKS = {
    'vae': {'posterior': IMAGES, 'decoder': IMAGES},
    'ladder': {'ladder': {'width': 192, 'multipliers': (1, 1, 1), 'num_layers': 30,
                          'latent_channels': 16, 'num_blocks': 4, 'dtype': 'bfloat16',
                          'remat': True}},
    'implicit': {'generator': IMAGES},
    'ebm': {'energy': IMAGES},
    'flow': {'conditioner': {'width': 128, 'num_blocks': 3, 'dtype': 'bfloat16'}},
    'glow': {'conditioner': {'width': 128, 'num_blocks': 2, 'dtype': 'bfloat16'}},
    # in float32: the pass with the cache must give what the parallel pass gives
    'tarflow': {'patch_causal': {'width': 256, 'num_blocks': 4, 'remat': True}},
    'autoregressive': {'causal': {'width': 160, 'num_blocks': 12, 'dropout': 0.5,
                                  'dtype': 'bfloat16'}},
}
# keywords of the families
MODELS = {'flow': {'split': 'checkerboard'}, 'glow': {'num_layers': 16},
          'tarflow': {'num_layers': 8, 'patch': 2}}
OTHER_NAMES = {'causal': 'pixelcnn', 'patch_causal': 'transformer', 'ladder': 'ladder'}  # than conv
CRITICS = (('adversarial', ''), ('adversarial', 'critic'), ('wasserstein', ''),
           ('wasserstein', 'critic'))  # (objective, estimator) that train one


def get_config(arg: str = ''):
  """The config of one run on CIFAR-10. Raises ValueError for an argument it does not know."""
  args = common.parse(arg, NAMES, DEFAULT)
  if args['family'] == 'diffusion':
    args['objective'] = args['objective'] or 'score_matching'
    args['denoiser'] = args['denoiser'] or 'unet'
  name = args['denoiser']
  if name != 'dit' and args['size'] != DEFAULT['size']:
    raise ValueError(f"size={args['size']} is of denoiser=dit, not {name or args['family']}; "
                     'allowed there: none')
  if args['family'] != 'diffusion':
    return without_path(args)
  network = {'unet': UNET, 'dit': {**common.DIT_RECIPE, **common.dit(args['size'], patch=2)}}.get(
      name, {})
  return common.diffusion(args, 'cifar10', {
      **network, 'augment': 'flip', 'steps_per_dispatch': 10, 'model.kw.prediction': 'noise',
      'model.kw.schedule': 'linear_beta', 'sampler.kw.num_steps': 100, 'sampler.kw.clip': 1.0,
      'evals.names': ('likelihood', 'novelty', 'cost'), 'evals.num_samples': 10000})


def without_path(args):
  """The config of a family that is no diffusion."""
  args = {**args, 'data': 'cifar10', 'objective': args['objective'] or 'kl'}
  estimator = args['estimator'] or args['kw']['objective'].get('estimator', '')
  networks = dict(NETWORKS.get(args['family'], {}))
  if (args['objective'], estimator) in CRITICS:
    networks['critic'] = IMAGES
  sizes = {f'networks.{role}.kw.{key}': value for role, kw in networks.items() if not args[role]
           for key, value in kw.items()}
  names = {f'networks.{role}.name': OTHER_NAMES.get(role, 'conv') for role in networks}
  model = {f'model.kw.{key}': value for key, value in MODELS.get(args['family'], {}).items()}
  return common.build(args, {
      **common.POD, **names, **model, **sizes, 'augment': '' if common.is_fitted(args) else 'flip',
      'steps': 200000, 'steps_per_dispatch': 10,
      'batch_size': 256, 'optim.clip': 1.0,
      **common.BY_OBJECTIVE.get(args['objective'], common.OTHERWISE),
      **(PIXELCNN if args['family'] == 'autoregressive' and not args['causal'] else {}),
      'evals.names': ('likelihood', 'novelty', 'cost'), 'evals.num_samples': 10000})
