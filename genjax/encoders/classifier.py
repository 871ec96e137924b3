"""A small classifier whose penultimate layer is the feature space.

Patches of 3x3 or 2x2 pixels become rows of a matrix, so that no convolution is compiled.
"""

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

from genjax import disk, prob, sharding
from genjax.encoders import batched
from genjax.encoders.encoder import Encoder
from genjax.nn.dense import Dense
from genjax.types import BadInput, DataSpec

BATCH = 256
# what numpy and zipfile raise for a file that is no archive, or is damaged, encrypted, or
# compressed by an unknown method
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError,
              KeyError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError,
              SyntaxError, tokenize.TokenError)


class Classifier(nn.Module):
  """x [B, H, W, C] on the grid -> features [B, num_features], logits [B, num_classes].

  The logits are affine in gelu(features).
  """

  widths: tuple[int, ...]  # of the stem, and of the layer after each halving of the side
  num_features: int
  num_classes: int
  merge: int = 1  # side of the stem's patches, in pixels

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    h = depth_from_space(x, self.merge)
    h = nn.gelu(Dense(self.widths[0], name='stem')(neighbourhoods(h)))
    for i, width in enumerate(self.widths[1:]):
      h = depth_from_space(h, 2)
      h = nn.gelu(Dense(width, name=f'halve_{i}')(h))
      if i == 0:
        h = h + nn.gelu(Dense(width, name='mix')(neighbourhoods(h)))
    features = Dense(self.num_features, name='features')(h.reshape(h.shape[0], -1))
    return features, Dense(self.num_classes, name='logits')(nn.gelu(features))


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
  features, logits = network.apply({'params': params}, prob.from_levels(k, levels))
  return features, jax.nn.softmax(logits)


def save(path, params, network: Classifier, spec: DataSpec, scale: float, source: dict) -> bytes:
  """The bytes of the sealed npz written to `path`: float16 weights and their card.

  params, network: the classifier.
  spec: of its data.
  scale: factor of its features, as for `encoder`.
  source: what it was trained on, as plain JSON data.
  """
  flat = jax.tree_util.tree_flatten_with_path(params)[0]
  arrays = {'/'.join(str(k.key) for k in path): np.asarray(v, np.float16) for path, v in flat}
  card = {'format': 1, 'spec': {'shape': list(spec.shape), 'levels': spec.levels,
                                'num_classes': spec.num_classes},
          'network': {'widths': list(network.widths), 'num_features': network.num_features,
                      'merge': network.merge}, 'scale': scale, 'source': source}
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
    network = Classifier(tuple(card['network']['widths']), card['network']['num_features'],
                         spec.num_classes, card['network']['merge'])
    scale, source = float(card['scale']), card['source']
    params = {}
    for key, value in flat.items():
      layer, leaf = key.split('/')
      params.setdefault(layer, {})[leaf] = value
  except UNREADABLE as error:
    raise BadInput(f'encoder {name!r}: {path} is no encoder that experiments.encoder wrote, or is '
                   f'damaged ({error})') from None
  full_card = {'name': name, 'sha256': digest, 'dim': network.num_features,
               'input': f'levels 0..{spec.levels - 1}', 'source': source}
  return encoder(name, network, params, spec, full_card, scale)
