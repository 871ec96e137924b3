"""Encoders with published weights: how images of any size reach Inception and DINOv2."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import disk, sharding
from genjax.encoders import batched, dinov2, inception, resize, weights
from genjax.encoders.encoder import Encoder
from genjax.types import BadInput, DataSpec

NETWORKS = ('inception', 'dinov2_l', 'dinov2_b')
BATCH = 32


def make(name: str, spec: DataSpec, encoded: Callable = lambda n: None) -> Encoder:
  """The encoder of a name in NETWORKS, or of `inception:PATH` with input path tf1, clean or pt.

  Features are Inception's pool3 [N, 2048] or DINOv2's normalised CLS token; Inception's probs
  [N, 1008] are the softmax without the last bias. Levels are stretched to 0..255, grey images
  repeated to three channels. Raises BadInput for data that are no images, for an unknown input
  path, and if the weights are not available.
  """
  network, _, path = name.partition(':')
  if spec.levels is None or len(spec.shape) != 3 or spec.shape[2] not in (1, 3):
    raise BadInput(f'encoder {name!r} reads images of 1 or 3 channels, not examples of shape '
                   f'{tuple(spec.shape)} with {spec.levels or "continuous"} levels')
  build = _inception if network == 'inception' else _dinov2
  outputs, num_features, words = build(name, network, path)

  def levels_to_outputs(x):
    x = np.asarray(x)
    if x.shape[1:] != tuple(spec.shape):
      raise BadInput(f'encoder {name!r} got examples of shape {x.shape[1:]}; '
                     f'allowed: {tuple(spec.shape)}')
    return outputs(disk.to_bytes(x, spec.levels))

  card = {'name': name, 'sha256': weights.WEIGHTS[network].sha256, 'dim': num_features,
          'input': words + ('; grey repeated' if spec.shape[2] == 1 else ''),
          'source': weights.WEIGHTS[network].origin}
  kept = batched.keep(levels_to_outputs, card, spec, encoded)
  probs = (lambda x: kept(x)[:, num_features:]) if network == 'inception' else None
  return Encoder(name, spec, lambda x: kept(x)[:, :num_features], probs, card)


def _inception(name: str, network: str, path: str):
  """images uint8 [N, H, W, C] -> [N, 2048 + 1008], the number of features, the input in words."""
  path = path or 'tf1'
  if path not in resize.RESIZES:
    raise BadInput(f'encoder {name!r}: unknown input path {path!r}; allowed: '
                   f'{", ".join(f"{network}:{p}" for p in resize.RESIZES)}')
  to_input, unchanged = resize.RESIZES[path], lambda x: x
  on_host, on_device = (to_input, unchanged) if path in resize.ON_HOST else (unchanged, to_input)
  params = jax.device_put(inception.from_torch(weights.load(network)[0]))

  @sharding.jit(split=True)
  def features_and_probs(params, x):
    out = inception.apply(params, on_device(sharding.constrain_batch(x)))
    return jnp.concatenate([out['pool3'], jax.nn.softmax(out['logits_unbiased'])], -1),

  outputs = lambda images: batched.apply(
      lambda x: features_and_probs(params, x), images, BATCH, on_host)[0]
  return outputs, inception.NUM_FEATURES, f'{path} path of 299 x 299'


def _dinov2(name: str, network: str, path: str):
  if path:
    raise BadInput(f'encoder {name!r} has one input path; allowed: {network}')
  size = network.removeprefix('dinov2_')
  params = jax.device_put(dinov2.from_torch(weights.load(network)[0], size))

  @sharding.jit(split=True)
  def cls_token(params, images):
    return dinov2.apply(params, sharding.constrain_batch(images))['cls'],

  to_input = lambda images: resize.pil_bicubic_uint8(images, dinov2.SIDE)
  outputs = lambda images: batched.apply(lambda x: cls_token(params, x), images, BATCH, to_input)[0]
  words = f'Pillow bicubic to {dinov2.SIDE} x {dinov2.SIDE}, uint8'
  return outputs, dinov2.SIZES[size].width, words
