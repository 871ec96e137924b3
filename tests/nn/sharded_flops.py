"""Program: FLOPs of shipped networks over 64 virtual devices, against one device's; no arrays.

  python -m tests.nn.sharded_flops CASE...  -> a line of JSON {'case', 'fsdp', 'ratio'} for each
"""

import json
import os
import sys
import time

DEVICES = 64
os.environ['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={DEVICES}'

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from configs import defaults  # noqa: E402
from genjax import prob, sharding, wiring  # noqa: E402
from genjax.data.dataset import Dataset  # noqa: E402
from genjax.encoders import classifier  # noqa: E402
from genjax.types import DataSpec  # noqa: E402

IMAGES, DIGITS = DataSpec((32, 32, 3), 256, 10), DataSpec((8, 8, 1), 17, 10)
TRANSFORMER = {'width': 384, 'num_blocks': 2}
DIT = {'dropout': 0.1, **TRANSFORMER, 'patch': 2}
UNET = {'dropout': 0.1, 'width': 64, 'num_blocks': 1, 'multipliers': (1, 2), 'attention': (16,)}
MLP = ('mlp', {'features': (512, 512)})
CONV = ('conv', {'width': 64})
VAE, GAN = ('posterior', 'decoder'), ('generator', 'critic')
V = {'prediction': 'v'}
# name: family, objective, data, kw of the model, {role: (network, kw)}, rows a device. Where a row
# costs one product by each parameter, many rows: the update of parameters that 64 / fsdp devices
# hold alike is no waste of the network, and counts on each of them
TRAIN = {
    'vae': ('vae', 'kl', IMAGES, {}, dict.fromkeys(VAE, MLP), 512),
    'implicit': ('implicit', 'wasserstein', IMAGES, {}, dict.fromkeys(GAN, MLP), 512),
    'flow': ('flow', 'kl', DIGITS, {'num_couplings': 2}, {'conditioner': MLP}, 512),
    'ebm': ('ebm', 'kl', DIGITS, {}, {'energy': MLP}, 128),
    'vae_conv': ('vae', 'kl', IMAGES, {}, dict.fromkeys(VAE, CONV), 32),
    'implicit_conv': ('implicit', 'wasserstein', IMAGES, {}, dict.fromkeys(GAN, CONV), 16),
    'flow_conv': ('flow', 'kl', IMAGES, {'num_couplings': 2}, {'conditioner': CONV}, 16),
    'ebm_conv': ('ebm', 'kl', IMAGES, {}, {'energy': CONV}, 16),
    'autoregressive': ('autoregressive', 'kl', DIGITS, {},
                       {'causal': ('transformer', {**TRANSFORMER, 'remat': True})}, 32),
    'pixelcnn': ('autoregressive', 'kl', IMAGES, {'likelihood': 'logistic_mixture'},
                 {'causal': ('pixelcnn', {'width': 64, 'num_blocks': 2})}, 8),
    'time_mlp': ('diffusion', 'score_matching', DIGITS, V,
                 {'denoiser': ('time_mlp', {'dropout': 0.1, 'width': 512})}, 512),
    'dit': ('diffusion', 'score_matching', IMAGES, V, {'denoiser': ('dit', DIT)}, 16),
    'dit_scan': ('diffusion', 'score_matching', IMAGES, V, {'denoiser': (
        'dit', {**DIT, 'scan': True, 'remat': True, 'dtype': 'bfloat16'})}, 16),
    'unet': ('diffusion', 'score_matching', IMAGES, V, {'denoiser': ('unet', UNET)}, 16),
    'unet_remat': ('diffusion', 'score_matching', IMAGES, V, {'denoiser': (
        'unet', {**UNET, 'remat': True, 'dtype': 'bfloat16'})}, 16),
}


def run_of(family, objective, spec, kw, by_role, rows):
  """The run, its config, and abstract state and rows."""
  config = defaults.get()
  config.unlock()
  config.model = {'family': family, 'kw': kw}
  config.objective.name, config.conditional = objective, family in ('diffusion', 'autoregressive')
  for role, (name, network) in by_role.items():
    config.networks[role] = {'name': name, 'kw': network}
  config.batch_size, config.ema, config.sampler.kw = rows * DEVICES, 0.999, {'num_steps': 50}
  x = jax.ShapeDtypeStruct((10**6, *spec.shape), np.uint8)
  cond = jax.ShapeDtypeStruct((10**6,), np.int32)
  made = wiring.run(config, Dataset('declared', spec, {'train': {'x': x, 'cond': cond}}, {}))
  return made, wiring.abstract_state(config, made), wiring.abstract_rows(config, made)


def case_of(name: str):
  """A function of (large tree, batch), both abstract, and their shapes."""
  if name == 'ddim':
    made, state, rows = run_of(*TRAIN['dit'])

    def sample(state, rows):
      return made.model.sample(state.ema, jax.random.key(0), len(rows['cond']), rows['cond'])[0]

    return sample, state, rows
  if name == 'encoder':
    network = classifier.Classifier(classifier.Patches((256, 512), 256, 2), 10)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))['params']
    levels = jax.ShapeDtypeStruct((32 * DEVICES, 32, 32, 3), np.int32)
    return (lambda params, k: network.apply({'params': params}, prob.from_levels(k, 256))), (
        params), levels
  made, state, rows = run_of(*TRAIN[name])
  return made.step, state, rows


def ratio(name: str, fsdp: int) -> float:
  """FLOPs of all devices together over those of the same function on one."""
  function, large, batch = case_of(name)
  whole = jax.jit(function).lower(large, batch).cost_analysis()['flops']
  mesh = sharding.make_mesh(fsdp)
  across, spec = sharding.batch_sharding(mesh), sharding.fsdp_spec
  of_large = jax.tree.map(lambda a: jax.NamedSharding(mesh, spec(a.shape, fsdp)), large)
  if name in TRAIN:
    of_large = sharding.state_sharding(mesh, large)
  out = (of_large, sharding.replicated(mesh)) if name in TRAIN else across
  with jax.set_mesh(mesh):
    jitted = jax.jit(function, in_shardings=(of_large, across), out_shardings=out)
    compiled = jitted.lower(large, batch).compile()
  return compiled.cost_analysis()['flops'] * DEVICES / whole


if __name__ == '__main__':
  for case in sys.argv[1:] or [*TRAIN, 'ddim', 'encoder']:
    for fsdp in (4, 16):
      start = time.time()
      print(json.dumps({'case': case, 'fsdp': fsdp, 'ratio': round(ratio(case, fsdp), 4),
                        'seconds': round(time.time() - start, 1)}), flush=True)
