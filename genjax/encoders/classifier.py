"""A small classifier whose penultimate layer is the feature space.

In its default trunk, patches of 3x3 or 2x2 pixels become rows of a matrix, so that no convolution
is compiled.
"""

import dataclasses
import hashlib
import io
import json
import lzma
import struct
import tokenize
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from genjax import disk, sharding
from genjax.encoders import batched
from genjax.encoders.encoder import Encoder
from genjax.nn import NETWORKS
from genjax.nn.dense import Dense, product_dtype
from genjax.prob.levels import from_levels
from genjax.types import BadInput, DataSpec

BATCH = 256
# what numpy and zipfile raise for a file that is no archive, or is damaged, encrypted, or
# compressed by an unknown method
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError,
              KeyError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError,
              SyntaxError, tokenize.TokenError)


class Patches(nn.Module):
  """x [B, H, W, C] on the grid, cond (ignored) -> [B, out], by matrix products of patches alone."""

  widths: tuple[int, ...]  # of the stem, and of the layer after each halving of the side
  out: int
  merge: int = 1  # side of the stem's patches, in pixels

  @nn.compact
  def __call__(self, x: jax.Array, cond=None) -> jax.Array:
    del cond
    h = depth_from_space(x, self.merge)
    h = nn.gelu(Dense(self.widths[0], name='stem')(neighbourhoods(h)))
    for i, width in enumerate(self.widths[1:]):
      h = depth_from_space(h, 2)
      h = nn.gelu(Dense(width, name=f'halve_{i}')(h))
      if i == 0:
        h = h + nn.gelu(Dense(width, name='mix')(neighbourhoods(h)))
    return Dense(self.out, name='features')(h.reshape(h.shape[0], -1))


class Classifier(nn.Module):
  """x [B, H, W, C] on the grid -> features [B, d], logits [B, num_classes].

  The logits are affine in gelu(features). trunk: x, cond -> features: Patches, or a network of the
  kind to_vector.
  """

  trunk: nn.Module
  num_classes: int

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    features = self.trunk(x, None)
    return features, Dense(self.num_classes, name='logits')(nn.gelu(features))


def network_card(trunk: nn.Module) -> dict:
  """What `trunk_of` needs to build the trunk again, as plain JSON data."""
  if isinstance(trunk, Patches):
    return {'widths': list(trunk.widths), 'num_features': trunk.out, 'merge': trunk.merge}
  name = next(name for name, module in NETWORKS['to_vector'].items() if type(trunk) is module)
  kw = {field.name: getattr(trunk, field.name) for field in dataclasses.fields(trunk)
        if field.name not in ('parent', 'name', 'out')
        and getattr(trunk, field.name) != field.default}
  if kw.get('dtype') is not None:
    kw['dtype'] = jnp.dtype(kw['dtype']).name
  return {'name': name, 'kw': kw, 'num_features': trunk.out}


def trunk_of(card: dict) -> nn.Module:
  """The trunk with that `network_card`."""
  if 'widths' in card:
    return Patches(tuple(card['widths']), card['num_features'], card['merge'])
  kw = {key: tuple(value) if isinstance(value, list) else value
        for key, value in card['kw'].items()}
  if 'dtype' in kw:
    kw['dtype'] = product_dtype(kw['dtype'])
  return NETWORKS['to_vector'][card['name']](out=card['num_features'], **kw)


def neighbourhoods(x):
  """[B, H, W, C] -> [B, H, W, 9 C]: each position with its eight neighbours, zeros outside."""
  h, w = x.shape[1:3]
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return jnp.concatenate([padded[:, i:i + h, j:j + w] for i in range(3) for j in range(3)], -1)


def depth_from_space(x, size: int):
  """[B, H, W, C] -> [B, H / size, W / size, size^2 C]; zeros pad sides to a multiple of size."""
  x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size), (0, -x.shape[2] % size), (0, 0)))
  b, h, w, c = x.shape
  x = x.reshape(b, h // size, size, w // size, size, c)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // size, w // size, size * size * c)


def encoder(name: str, network: Classifier, params, spec: DataSpec, card: dict,
            scale: float = 1.0) -> Encoder:
  """The classifier as an Encoder for data like spec, whose features are those times `scale`.

  name, card: of the encoder, whose functions raise BadInput for arrays of another shape.
  network, params: the classifier and its parameters.
  """

  def features_and_probs(levels):
    levels = np.asarray(levels)
    if levels.shape[1:] != tuple(spec.shape):
      raise BadInput(f'encoder {name!r} got examples of shape {levels.shape[1:]}; '
                     f'allowed: {tuple(spec.shape)}')
    return batched.apply(lambda rows: _apply(network, spec.levels, params, rows), levels, BATCH,
                         lambda rows: rows.astype(np.int32))

  return Encoder(name, spec, lambda k: scale * features_and_probs(k)[0],
                 lambda k: features_and_probs(k)[1], card)


@sharding.jit(static_argnums=(0, 1), split=True)
def _apply(network, levels, params, k):
  k = sharding.constrain_batch(k)
  features, logits = network.apply({'params': params}, from_levels(k, levels))
  return features, jax.nn.softmax(logits)


def save(path, params, network: Classifier, spec: DataSpec, scale: float, source: dict) -> bytes:
  """The bytes of the sealed npz written to `path`: float16 weights and their card.

  params, network: the classifier.
  spec: of its data.
  scale: factor of its features, as for `encoder`.
  source: what it was trained on, as plain JSON data.
  """
  flat = jax.tree_util.tree_flatten_with_path(params)[0]
  arrays = {'/'.join(str(k.key) for k in path).removeprefix('trunk/'): np.asarray(v, np.float16)
            for path, v in flat}
  card = {'format': 1, 'spec': {'shape': list(spec.shape), 'levels': spec.levels,
                                'num_classes': spec.num_classes},
          'network': network_card(network.trunk), 'scale': scale, 'source': source}
  buffer = io.BytesIO()
  np.savez_compressed(buffer, card=np.array(json.dumps(card, sort_keys=True)), **arrays)
  sealed = disk.seal(buffer.getvalue())
  disk.write_bytes(path, sealed)
  return sealed


def load(name: str, path, sha256: str | None = None) -> Encoder:
  """The Encoder in a file that `save` wrote; its card holds the hash of the file.

  A file that is not sealed is verified by the checksums of the archive only. Raises BadInput for a
  file that is missing, is no encoder, is damaged, or has another hash than `sha256`.
  """
  try:
    with open(path, 'rb') as file:
      data = file.read()
  except OSError as error:
    raise BadInput(f'encoder {name!r}: cannot read {path} ({error.strerror})') from None
  digest = hashlib.sha256(data).hexdigest()
  if sha256 is not None and digest != sha256:
    raise BadInput(f'encoder {name!r}: {path} is damaged or another file: its sha256 is {digest}; '
                   f'allowed: {sha256}')
  if disk.is_sealed(data) and disk.unseal(data) is None:
    raise BadInput(f'encoder {name!r}: {path} is damaged: its sha256 is not the recorded one; '
                   'allowed: a file *.npz as experiments.encoder wrote it')
  try:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
      card = json.loads(str(arrays['card']))
      flat = {key: arrays[key].astype(np.float32) for key in arrays.files if key != 'card'}
    spec = DataSpec(tuple(card['spec']['shape']), card['spec']['levels'],
                    card['spec']['num_classes'])
    network = Classifier(trunk_of(card['network']), spec.num_classes)
    scale, source = float(card['scale']), card['source']
    params = traverse_util.unflatten_dict({
        key if key.startswith('logits/') else f'trunk/{key}': value for key, value in flat.items()},
        sep='/')
  except UNREADABLE as error:
    raise BadInput(f'encoder {name!r}: {path} is no encoder that experiments.encoder wrote, or is '
                   f'damaged ({error})') from None
  full_card = {'name': name, 'sha256': digest, 'dim': network.trunk.out,
               'input': f'levels 0..{spec.levels - 1}', 'source': source}
  return encoder(name, network, params, spec, full_card, scale)
