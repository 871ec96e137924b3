"""Inception-2015-12-05, the network of the Frechet distance (FID) and of the Inception Score.

It is an Inception-v3 (arXiv 1512.00567) with 1008 logits. Its weights and pools are not those of
today's libraries: averages count no zeros outside the image, and the pool branch of the last block
takes the maximum. Stages and layers have the names of its state dict in PyTorch.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.encoders import torch_file
from genjax.types import BadInput

SIDE = 299  # of the images of the metrics
MIN_SIDE = 75  # a smaller image leaves no pixels for the last blocks
NUM_FEATURES = 2048
NUM_LOGITS = 1008
EPSILON = 1e-3  # of the batch norms
NORM = ('weight', 'bias', 'running_mean', 'running_var')
EXACT = jax.lax.Precision.HIGHEST  # GPUs and TPUs round float32 products without it


class Conv(NamedTuple):
  """Convolution without bias, batch norm, relu."""

  name: str
  width: int
  kernel: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: str = 'SAME'


def block_a(pool: int) -> tuple:
  """Parallel branches, each a sequence of layers: pools, Convs, and tuples of Convs.

  The Convs of a tuple read the same input in parallel. `pool`: width of the pool branch.
  """
  return ((Conv('branch1x1', 64),),
          (Conv('branch5x5_1', 48), Conv('branch5x5_2', 64, (5, 5))),
          (Conv('branch3x3dbl_1', 64), Conv('branch3x3dbl_2', 96, (3, 3)),
           Conv('branch3x3dbl_3', 96, (3, 3))),
          ('average', Conv('branch_pool', pool)))


def block_c(width: int) -> tuple:
  """Branches with kernels 1 x 7 and 7 x 1, `width` wide, instead of 7 x 7."""
  return ((Conv('branch1x1', 192),),
          (Conv('branch7x7_1', width), Conv('branch7x7_2', width, (1, 7)),
           Conv('branch7x7_3', 192, (7, 1))),
          (Conv('branch7x7dbl_1', width), Conv('branch7x7dbl_2', width, (7, 1)),
           Conv('branch7x7dbl_3', width, (1, 7)), Conv('branch7x7dbl_4', width, (7, 1)),
           Conv('branch7x7dbl_5', 192, (1, 7))),
          ('average', Conv('branch_pool', 192)))


def block_e(pool: str) -> tuple:
  """Branches with kernels 1 x 3 and 3 x 1 in parallel; `pool`: the kind of the pool branch."""
  return ((Conv('branch1x1', 320),),
          (Conv('branch3x3_1', 384),
           (Conv('branch3x3_2a', 384, (1, 3)), Conv('branch3x3_2b', 384, (3, 1)))),
          (Conv('branch3x3dbl_1', 448), Conv('branch3x3dbl_2', 384, (3, 3)),
           (Conv('branch3x3dbl_3a', 384, (1, 3)), Conv('branch3x3dbl_3b', 384, (3, 1)))),
          (pool, Conv('branch_pool', 192)))


BLOCK_B = ((Conv('branch3x3', 384, (3, 3), 2, 'VALID'),),
           (Conv('branch3x3dbl_1', 64), Conv('branch3x3dbl_2', 96, (3, 3)),
            Conv('branch3x3dbl_3', 96, (3, 3), 2, 'VALID')),
           ('halve',))
BLOCK_D = ((Conv('branch3x3_1', 192), Conv('branch3x3_2', 320, (3, 3), 2, 'VALID')),
           (Conv('branch7x7x3_1', 192), Conv('branch7x7x3_2', 192, (1, 7)),
            Conv('branch7x7x3_3', 192, (7, 1)), Conv('branch7x7x3_4', 192, (3, 3), 2, 'VALID')),
           ('halve',))
STAGES = {  # one layer or one block, in the order of computation
    'Conv2d_1a_3x3': Conv('', 32, (3, 3), 2, 'VALID'),
    'Conv2d_2a_3x3': Conv('', 32, (3, 3), 1, 'VALID'),
    'Conv2d_2b_3x3': Conv('', 64, (3, 3)),
    'MaxPool_1': 'halve',
    'Conv2d_3b_1x1': Conv('', 80),
    'Conv2d_4a_3x3': Conv('', 192, (3, 3), 1, 'VALID'),
    'MaxPool_2': 'halve',
    'Mixed_5b': block_a(32), 'Mixed_5c': block_a(64), 'Mixed_5d': block_a(64),
    'Mixed_6a': BLOCK_B,
    'Mixed_6b': block_c(128), 'Mixed_6c': block_c(160), 'Mixed_6d': block_c(160),
    'Mixed_6e': block_c(192),
    'Mixed_7a': BLOCK_D,
    'Mixed_7b': block_e('average'), 'Mixed_7c': block_e('max'),
}


def apply(params: Mapping[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
  """{stage: its output [B, h, w, C]} for images x [B, H, W, 3] in [-1, 1], and what metrics read.

  Metrics read 'pool3' [B, 2048], the mean of the last stage; 'logits_unbiased' [B, 1008], the last
  layer without its bias, whose softmax the Inception Score uses; and 'logits'. float32 at highest
  precision. Metrics need sides of 299; any from 75 is accepted. Call it inside jit and return only
  what is needed, so that the rest is not kept. Raises BadInput for other shapes and for integers.
  """
  if x.ndim != 4 or x.shape[3] != 3 or min(x.shape[1:3]) < MIN_SIDE or x.dtype.kind in 'iu':
    raise BadInput(f'images of shape {x.shape} and type {x.dtype}; allowed: floats in [-1, 1], '
                   f'[B, H, W, 3] with sides from {MIN_SIDE} (see genjax.encoders.resize)')
  outputs, x = {}, jnp.asarray(x, jnp.float32)
  for name, what in STAGES.items():
    if isinstance(what, tuple) and not isinstance(what, Conv):
      x = jnp.concatenate([_branch(params, f'{name}.', branch, x) for branch in what], -1)
    else:
      x = _layer(params, name, what, x)
    outputs[name] = x
  pooled = x.mean((1, 2))
  logits = jnp.matmul(pooled, params['fc.kernel'], precision=EXACT)
  return {**outputs, 'pool3': pooled, 'logits_unbiased': logits,
          'logits': logits + params['fc.bias']}


def _branch(params, block, layers, x):
  if layers[0] == 'average':
    # averaging commutes with a product over channels, after which at most a quarter are left
    name = block + layers[1].name
    return jax.nn.relu(_average(_dot(x, params[f'{name}.kernel'])) + params[f'{name}.bias'])
  for layer in layers:
    if isinstance(layer, tuple) and not isinstance(layer, Conv):
      x = jnp.concatenate([_layer(params, block + conv.name, conv, x) for conv in layer], -1)
    else:
      x = _layer(params, block + getattr(layer, 'name', ''), layer, x)
  return x


def _layer(params, name, layer, x):
  if isinstance(layer, str):
    return POOLS[layer](x)
  product = _dot(x, params[f'{name}.kernel']) if layer.kernel == (1, 1) else _convolve(
      x, params[f'{name}.kernel'], layer)
  return jax.nn.relu(product + params[f'{name}.bias'])


def _dot(x, kernel):
  """A convolution by a kernel [1, 1, C, width]; XLA's products of more axes are slow on CPUs."""
  y = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel[0, 0], precision=EXACT)
  return y.reshape(*x.shape[:3], -1)


def _convolve(x, kernel, conv):
  # Without any padding XLA's convolution is up to three times slower on CPUs: a row of zeros is
  # added below, and the rows that it adds to the result are cut off
  padding = 'SAME' if conv.padding == 'SAME' else ((0, 1), (0, 0))
  y = jax.lax.conv_general_dilated(x, kernel, (conv.stride, conv.stride), padding,
                                   dimension_numbers=('NHWC', 'HWIO', 'NHWC'), precision=EXACT)
  return y if conv.padding == 'SAME' else y[:, :(x.shape[1] - conv.kernel[0]) // conv.stride + 1]


def _pool(x, start, reduce, stride, padding):
  """Pools windows of 3 x 3 as 3 x 1, then 1 x 3, which takes a CPU half the time."""
  for window, strides in (((1, 3, 1, 1), (1, stride, 1, 1)), ((1, 1, 3, 1), (1, 1, stride, 1))):
    x = jax.lax.reduce_window(x, start, reduce, window, strides, padding)
  return x


def _average(x):
  """The mean of those of the nine neighbours that lie in the image."""
  sums = _pool(x, 0.0, jax.lax.add, 1, 'SAME')
  rows, columns = (np.convolve(np.ones(n), np.ones(3))[1:-1] for n in x.shape[1:3])
  return sums / np.outer(rows, columns)[..., None].astype(np.float32)


POOLS: dict[str, Callable] = {
    'halve': lambda x: _pool(x, -jnp.inf, jax.lax.max, 2, 'VALID'),
    'max': lambda x: _pool(x, -jnp.inf, jax.lax.max, 1, 'SAME'),
    'average': _average,
}


def convs() -> Iterator[tuple[str, Conv, int]]:
  """(name in the state dict, convolution, channels that it reads), in the order of the table."""
  channels = 3
  for stage, what in STAGES.items():
    if isinstance(what, Conv):
      yield stage, what, channels
      channels = what.width
    elif not isinstance(what, str):
      total = 0
      for branch in what:
        width = channels
        for layer in branch:
          if not isinstance(layer, str):
            group = (layer,) if isinstance(layer, Conv) else layer
            yield from ((f'{stage}.{conv.name}', conv, width) for conv in group)
            width = sum(conv.width for conv in group)
        total += width
      channels = total


def shapes() -> dict[str, tuple[int, ...]]:
  """{name: shape} of every array of the published state dict."""
  by_name = {'fc.weight': (NUM_LOGITS, NUM_FEATURES), 'fc.bias': (NUM_LOGITS,)}
  for name, conv, channels in convs():
    by_name[f'{name}.conv.weight'] = (conv.width, channels, *conv.kernel)
    by_name.update({f'{name}.bn.{leaf}': (conv.width,) for leaf in NORM})
  return by_name


def from_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """{name: float32} parameters of `apply` from a state dict; batch norms folded in, in float64.

  The counts of batches in newer files are ignored. Raises BadInput for missing, unknown or
  misshapen arrays.
  """
  wanted = shapes()
  counts = {f'{name}.bn.num_batches_tracked' for name, _, _ in convs()}
  torch_file.require({k: v for k, v in arrays.items() if k not in counts}, wanted,
                     'Inception-2015-12-05')
  params = {'fc.kernel': arrays['fc.weight'].T, 'fc.bias': arrays['fc.bias']}
  for name, _, _ in convs():
    gain, shift, mean, variance = (arrays[f'{name}.bn.{leaf}'].astype(np.float64) for leaf in NORM)
    scale = gain / np.sqrt(variance + EPSILON)
    params[f'{name}.kernel'] = arrays[f'{name}.conv.weight'].transpose(2, 3, 1, 0) * scale
    params[f'{name}.bias'] = shift - mean * scale
  return {name: np.ascontiguousarray(value, np.float32) for name, value in params.items()}


def random_state(rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Random arrays named like the state dict's, whose activations stay of order 1."""
  state = {}
  for name, shape in shapes().items():
    z = rng.standard_normal(shape, np.float32)
    if len(shape) > 1:  # relu halves the second moment
      z *= np.sqrt((2 if len(shape) == 4 else 1) / np.prod(shape[1:]))
    elif name.endswith(('bn.weight', 'running_var')):
      z = np.exp(0.2 * z)
    else:
      z *= 0.1
    state[name] = z.astype(np.float32)
  return state
