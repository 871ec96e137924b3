"""DINOv2's vision transformers with patches of 14 (arXiv 2304.07193); metrics take the CLS token.

The published position embeddings are of images of side 518, 37x37 patches. Any other grid is
interpolated from them as the published code does it: cubic convolution (A = -0.75) without
antialiasing, at the scale (grid + 0.1) / 37 and not grid / 37. The 0.1 was meant to keep rounding
from losing a row. As the scale places the points, at side 224 they are 37 / 16.1 = 2.298 apart,
beginning at the corner; 37 / 16 = 2.3125 would fill the square.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.encoders import torch_file
from genjax.types import BadInput

PATCH = 14
SIDE = 224  # of the images of the metrics
GRID = 37  # patches a side of the published position embeddings
OFFSET = 0.1  # interpolate_offset of the published models without registers
CUBIC = -0.75  # A of Keys' kernel; Pillow and TensorFlow have -0.5
HEAD = 64  # channels of an attention head, in all sizes
EPSILON = 1e-6  # of the layer norms
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for pixels in [0, 1]
EXACT = jax.lax.Precision.HIGHEST  # GPUs and TPUs round float32 products without it


class Size(NamedTuple):
  """The size of a transformer, whose features are the `width` channels of the CLS token."""

  depth: int
  width: int


SIZES = {'b': Size(12, 768), 'l': Size(24, 1024)}
BLOCK = {  # arrays of a block: names in the file, and shapes in units of the width
    'norm1.weight': (1,), 'norm1.bias': (1,),
    'attn.qkv.weight': (3, 1), 'attn.qkv.bias': (3,),
    'attn.proj.weight': (1, 1), 'attn.proj.bias': (1,),
    'ls1.gamma': (1,),
    'norm2.weight': (1,), 'norm2.bias': (1,),
    'mlp.fc1.weight': (4, 1), 'mlp.fc1.bias': (4,),
    'mlp.fc2.weight': (1, 4), 'mlp.fc2.bias': (1,),
    'ls2.gamma': (1,),
}


def apply(params: Mapping, images: jax.Array, stages: bool = False) -> dict[str, jax.Array]:
  """{'cls': x_norm CLS [B, width], 'patches': [B, grid^2, width] after the last norm}, float32.

  images [B, side, side, 3] in 0..255 (integers, or floats that need not be whole); side is that of
  the parameters. stages (static) adds 'tokens' [B, 1 + grid^2, width], the input of the first
  block, and 'blocks' [depth, B, 1 + grid^2, width], the output of each. At highest precision.
  Raises BadInput for another shape.
  """
  grid = round((params['position'].shape[0] - 1) ** 0.5)
  if images.ndim != 4 or images.shape[1:] != (grid * PATCH, grid * PATCH, 3):
    raise BadInput(f'images of shape {images.shape}; allowed: [B, {grid * PATCH}, '
                   f'{grid * PATCH}, 3]')
  x = (images.astype(jnp.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
  x = x.reshape(-1, grid, PATCH, grid, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
  x = _affine(x.reshape(len(images), grid * grid, -1), params['patch.weight'], params['patch.bias'])
  cls = jnp.broadcast_to(params['cls'], (len(images), 1, x.shape[2]))
  tokens = jnp.concatenate([cls, x], 1) + params['position']

  def block(x, p):
    x = x + p['ls1.gamma'] * _attention(_norm(x, p['norm1.weight'], p['norm1.bias']), p)
    h = _affine(_norm(x, p['norm2.weight'], p['norm2.bias']), p['mlp.fc1.weight'],
                p['mlp.fc1.bias'])
    h = _affine(jax.nn.gelu(h, approximate=False), p['mlp.fc2.weight'], p['mlp.fc2.bias'])
    x = x + p['ls2.gamma'] * h
    return x, x if stages else None

  x, blocks = jax.lax.scan(block, tokens, params['blocks'])
  x = _norm(x, params['norm.weight'], params['norm.bias'])
  features = {'cls': x[:, 0], 'patches': x[:, 1:]}
  return {**features, 'tokens': tokens, 'blocks': blocks} if stages else features


def _affine(x, weight, bias):
  # on a matrix: XLA's products of arrays with more axes are slower on CPUs
  y = jnp.matmul(x.reshape(-1, x.shape[-1]), weight, precision=EXACT) + bias
  return y.reshape(*x.shape[:-1], -1)


def _norm(x, weight, bias):
  x = x - x.mean(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + EPSILON) * weight + bias


def _attention(x, p):
  b, n, width = x.shape
  qkv = _affine(x, p['attn.qkv.weight'], p['attn.qkv.bias'])
  q, k, v = qkv.reshape(b, n, 3, width // HEAD, HEAD).transpose(2, 0, 3, 1, 4)
  a = jnp.einsum('bhqc,bhkc->bhqk', q * HEAD**-0.5, k, precision=EXACT)
  y = jnp.einsum('bhqk,bhkc->bhqc', jax.nn.softmax(a), v, precision=EXACT)
  return _affine(y.transpose(0, 2, 1, 3).reshape(b, n, width), p['attn.proj.weight'],
                 p['attn.proj.bias'])


def shapes(size: Size) -> dict[str, tuple[int, ...]]:
  """{name: shape} of every array of the published state dict."""
  depth, width = size
  by_name = {'cls_token': (1, 1, width), 'pos_embed': (1, 1 + GRID**2, width),
           'mask_token': (1, width), 'patch_embed.proj.weight': (width, 3, PATCH, PATCH),
           'patch_embed.proj.bias': (width,), 'norm.weight': (width,), 'norm.bias': (width,)}
  for i in range(depth):
    for name, shape in BLOCK.items():
      by_name[f'blocks.{i}.{name}'] = tuple(n * width for n in shape)
  return by_name


def from_torch(arrays: Mapping[str, np.ndarray], size: str | Size, side: int = SIDE) -> dict:
  """Parameters for images of `side` pixels from a state dict; blocks stacked on a leading axis.

  size: a name of SIZES, or a Size. Raises BadInput for missing, unknown or misshapen arrays, an
  unknown size, and a side that is no multiple of 14.
  """
  what = f'DINOv2 ViT {size}'
  if isinstance(size, str):
    if size not in SIZES:
      raise BadInput(f'size {size!r} is unknown; allowed: {", ".join(SIZES)}')
    what, size = f'DINOv2 ViT-{size.upper()}/14', SIZES[size]
  if side < PATCH or side % PATCH:
    raise BadInput(f'side {side}; allowed: multiples of {PATCH}')
  torch_file.require(arrays, shapes(size), what)
  patch = arrays['patch_embed.proj.weight'].transpose(2, 3, 1, 0).reshape(-1, size.width)
  params = {'cls': arrays['cls_token'][0],
            'position': positions(arrays['pos_embed'], side // PATCH),
            'patch.weight': patch, 'patch.bias': arrays['patch_embed.proj.bias'],
            'norm.weight': arrays['norm.weight'], 'norm.bias': arrays['norm.bias'], 'blocks': {}}
  for name, shape in BLOCK.items():
    per_block = [arrays[f'blocks.{i}.{name}'] for i in range(size.depth)]
    params['blocks'][name] = np.stack([a.T for a in per_block] if len(shape) == 2 else per_block)
  return jax.tree.map(lambda a: np.asarray(a, np.float32), params)


def positions(embeddings: np.ndarray, grid: int) -> np.ndarray:
  """float32 [1 + grid^2, width], interpolated from the published ones [1, 1 + 37^2, width]."""
  cls, patches = embeddings[0, :1], embeddings[0, 1:]
  if grid == GRID:
    return embeddings[0]
  w = _cubic_weights(grid)
  square = patches.reshape(GRID, GRID, -1).astype(np.float64)
  resized = np.einsum('ai,bj,ijc->abc', w, w, square, optimize=True).reshape(grid * grid, -1)
  return np.concatenate([cls, resized.astype(np.float32)])


def _cubic_weights(grid: int) -> np.ndarray:
  """float64 [grid, 37]: weights of the published rows in each new row."""
  at = (np.arange(grid) + 0.5) * GRID / (grid + OFFSET) - 0.5
  w = np.zeros((grid, GRID))
  for tap in range(-1, 3):
    row = np.floor(at) + tap
    d = np.abs(at - row)
    near = (CUBIC + 2) * d**3 - (CUBIC + 3) * d**2 + 1
    far = CUBIC * (d**3 - 5 * d**2 + 8 * d - 4)
    # beyond the border the outermost row repeats
    np.add.at(w, (np.arange(grid), np.clip(row, 0, GRID - 1).astype(int)),
              np.where(d <= 1, near, far))
  return w


def random_state(rng: np.random.Generator, depth: int, width: int) -> dict[str, np.ndarray]:
  """Random arrays named like the state dict's, whose activations stay of order 1.

  width: a multiple of 64, the width of a head.
  """
  if depth < 1 or width < HEAD or width % HEAD:
    raise BadInput(f'depth {depth}, width {width}; allowed: depth from 1, multiples of {HEAD}')
  state = {}
  for name, shape in shapes(Size(depth, width)).items():
    z = rng.standard_normal(shape, np.float32)
    if name.endswith(('qkv.weight', 'proj.weight', 'fc1.weight', 'fc2.weight')):
      z *= np.prod(shape[1:]) ** -0.5
    elif name.endswith(('norm1.weight', 'norm2.weight', 'norm.weight')):
      z = 1 + 0.2 * z
    elif not name.endswith(('cls_token', 'pos_embed')):
      z *= 0.2
    state[name] = z.astype(np.float32)
  return state
