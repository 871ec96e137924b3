"""What is measured: one architecture, batch and optimizer per workload, by our config and by peers.

Sizes stand here once; our side takes them as overrides of a config, the peers as arguments.
"""

import importlib
from typing import NamedTuple

from benchmarks import metrics, rounds
from genjax.types import BadInput


class Workload(NamedTuple):
  """One architecture on several sides; `kw` are the sizes, by section of the config."""

  what: str  # for the table
  config: str
  data: str  # 'images': random 28x28 of 256 levels; 'digits', 'plane', 'vectors'
  batch_size: int
  k: int  # steps in one of our dispatches, as the config has it
  kw: dict  # section or role -> keyword arguments
  sides: dict  # peer -> 'module:function' (kw, batch_size, lr) -> rounds.Side
  goals: dict  # peer -> least ratio of times
  tried: str = ''  # shown where a goal is not reached


DIGITS, TOY = 'configs/digits.py', 'configs/toy2d.py'
SCORE = 'family=diffusion,objective=score_matching,model.prediction=v'
DIT = f'{DIGITS}:{SCORE}'
ON_UNET = f'{DIT},denoiser=unet'
UNET = {'width': 32, 'num_blocks': 2, 'num_heads': 4, 'multipliers': (1, 2, 2),
        'attention': (14,)}
FLOW, CONDITIONER = {'num_couplings': 8}, {'conditioner': {'features': (96, 96)}}
VS_TORCH = {'torch': 2.0, 'zuko': 4.0}
TRIED_FLOW = (
    'a product for the triangular solve in front (affine: 8.3 to 4.3 ms a step), pairs of '
    'couplings unrolled, permutations by gathers (they cost nothing), dots by the other emitter '
    'of XLA (a lone layer of 512x96x96 twice as fast, the whole step not). What remains of the '
    'affine step is products of that size, each on one of the two cores and near its peak')
TRIED_SPLINE = (
    f'{TRIED_FLOW}; of the spline step, a third is its bins: sums against indicators for searches '
    'and gathers, the batch last, one split for three slices; a barrier behind the softmaxes '
    'changed nothing')
TRIED_UNET = (
    'in CPU seconds of one thread, step by step: large pages (1010 to 680 ms), convolutions by the '
    'library of products and not by that of fused loops (800 to 680), reductions left to the '
    'latter (680 to 640), attention divided by its sum after the product with v (24 to 20 ms a '
    'block), steps out of the loop (18 s to 1 s). Convolutions as sums of shifted products: 1.5 to '
    '6 times slower at side 28, equal at best at 14 and 7. What remains: half are convolutions, '
    'whose gradients run at 115 to 150 GF/s a core where PyTorch has 200 to 230')

TRAIN = {
    'vae': Workload(
        'MLP VAE, 784-512-256-32, discretised logistic',
        f'{DIGITS}:family=vae,posterior=mlp,decoder=mlp', 'images', 128, 10,
        {'model': {'latent_dim': 32}, 'posterior': {'features': (512, 256)},
         'decoder': {'features': (256, 512)}},
        {'torch': 'torch_train:vae'}, {'torch': 1.5}),
    'score': Workload(
        'score network in the plane, residual MLP 128 x 3',
        f'{TOY}:{SCORE}', 'plane', 512, 100,
        {'denoiser': {'width': 128, 'num_blocks': 3}}, {'torch': 'torch_train:score'},
        {'torch': 1.4}),
    'flow_affine': Workload(
        'affine coupling flow, 64 dimensions', f'{TOY}:family=flow', 'vectors', 512, 100,
        {'model': {'transform': 'affine', **FLOW}, **CONDITIONER, 'data': {'dim': 64}},
        {'torch': 'torch_flow:train', 'zuko': 'zuko_flow:train'}, VS_TORCH, TRIED_FLOW),
    'flow_spline': Workload(
        'spline coupling flow in the plane, 8 bins', f'{TOY}:family=flow', 'plane', 512, 100,
        {'model': {'transform': 'rational_quadratic', 'num_bins': 8, **FLOW}, **CONDITIONER},
        {'torch': 'torch_flow:train', 'zuko': 'zuko_flow:train'}, VS_TORCH,
        TRIED_SPLINE),
    'flow_spline_16': Workload(
        'spline coupling flow, 16 dimensions, 8 bins', f'{TOY}:family=flow', 'vectors', 512, 100,
        {'model': {'transform': 'rational_quadratic', 'num_bins': 8, **FLOW}, **CONDITIONER,
         'data': {'dim': 16}},
        {'torch': 'torch_flow:train', 'zuko': 'zuko_flow:train'}, VS_TORCH,
        TRIED_SPLINE),
    'wgan_gp': Workload(
        'WGAN-GP, MLPs, 5 critic updates and 1 of the generator',
        f'{DIGITS}:family=implicit,objective=wasserstein,generator=mlp,critic=mlp', 'images',
        128, 10,
        {'model': {'latent_dim': 64}, 'generator': {'features': (256, 512)},
         'critic': {'features': (512, 256)}},
        {'torch': 'torch_train:wgan_gp'}, {'torch': 1.8}),
    'dit': Workload(
        'DiT, patch 4, width 128, 4 blocks, 4 heads, 28x28',
        DIT, 'images', 128, 10,
        {'denoiser': {'patch': 4, 'width': 128, 'num_blocks': 4, 'num_heads': 4}},
        {'torch': 'torch_train:dit'}, {'torch': 1.0}),
    'unet': Workload(
        'UNet, width 32 x (1, 2, 2), 2 blocks a level, attention at 14, 28x28',
        ON_UNET, 'images', 32, 2, {'denoiser': UNET}, {'torch': 'torch_unet:train'}, {'torch': 0.9},
        TRIED_UNET),
}
SAMPLE = {
    'autoregressive': Workload(
        'autoregressive, 64 pixels with a cache, width 128, 4 blocks, 16 samples',
        f'{DIGITS}:family=autoregressive', 'digits', 16, 1,
        {'causal': {'width': 128, 'num_blocks': 4, 'num_heads': 4}},
        {'torch': 'torch_sample:autoregressive'}, {'torch': 1.2}),
    'ddim': Workload(
        'DiT of the training suite, DDIM of 50 steps, 64 samples',
        DIT, 'images', 64, 1,
        {'denoiser': {'patch': 4, 'width': 128, 'num_blocks': 4, 'num_heads': 4},
         'sampler': {'num_steps': 50}},
        {'torch': 'torch_sample:ddim'}, {'torch': 1.2}),
    'unet_ddim': Workload(
        'UNet of the training suite, DDIM of 10 steps, 16 samples',
        ON_UNET, 'images', 16, 1, {'denoiser': UNET, 'sampler': {'num_steps': 10}},
        {'torch': 'torch_unet:ddim', 'diffusers': 'diffusers_unet:ddim'},
        {'torch': 1.0, 'diffusers': 1.1}, TRIED_UNET),
}
# what the ratios of networks rest on: it differs between makes of processor
PRODUCT = {'product': Workload(
    'float32 matrix product, 1024^3', '', '', 1024, 1, {}, {'torch': 'torch_train:product'}, {})}
WORKLOADS = {**PRODUCT, **TRAIN, **SAMPLE}
LOOP = {name: f'{DIGITS}:{argument}' for name, argument in {
    'loop_vae': 'family=vae', 'loop_flow': 'family=flow',
    'loop_js': 'family=implicit,objective=adversarial,divergence=js',
    'loop_diffusion': 'family=diffusion,objective=score_matching'}.items()}
STARTUP = {name: f'{DIGITS}:{argument}' for name, argument in {
    'start_vae': 'family=vae', 'start_autoregressive': 'family=autoregressive',
    'start_diffusion': 'family=diffusion,objective=score_matching'}.items()}
MAX_OVERHEAD = 1.05  # of the loop, without checkpoints, over the bare jitted step
TRIED_START = (
    'reading the digits without scikit-learn, no scipy.stats (1.5 s), checkpoints and event files '
    'imported on first use, parameters drawn on the host. What remains is tracing (0.5 s with the '
    'shapes of the state), lowering (0.25 s) and reading the compiled program (0.35 s)')
MAX_START = 1.2  # seconds from process start to the first step, beyond importing the libraries
LR = 1e-3


def named(name: str) -> Workload:
  """The workload; raises BadInput naming those that there are."""
  if name not in WORKLOADS:
    raise BadInput(f'unknown workload {name!r}; allowed: {", ".join(WORKLOADS)}')
  return WORKLOADS[name]


def side(name: str, which: str, cores: int) -> rounds.Side:
  """One side of a workload in this process: 'ours', 'ours_1' (one step a dispatch), or a peer.

  Of a loop: 'loop', 'saved' or 'bare'. Of a metric: 'ours' or its peer.
  """
  if name in metrics.METRICS:
    return metrics.side(name, which, cores)
  if name in LOOP:
    from benchmarks import loop
    return loop.side(LOOP[name], which)
  workload = named(name)
  if which.startswith('ours'):
    from benchmarks import ours
    if name in PRODUCT:
      return ours.product(workload.batch_size)
    if name in SAMPLE:
      return ours.sample(workload)
    return ours.train(workload, 1 if which == 'ours_1' else workload.k)
  module, _, function = workload.sides[which].partition(':')
  import torch
  torch.set_num_threads(cores)
  make = getattr(importlib.import_module(f'benchmarks.{module}'), function)
  return make(workload.kw, workload.batch_size, LR)
