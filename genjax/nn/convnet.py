"""Residual convolutional networks of images, 8 to 64 pixels a side, for the roles of an MLP.

Blocks and attention are those of ADM (2105.05233). Reshapes halve and double the side, and lead
from pixels to the first level and back (`patch`), since matrix products run best on processors and
accelerators. cond scales and shifts the norms. dtype: of the products and of the activations
between blocks; statistics, softmax, embeddings and output are float32.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.conv import Conv
from genjax.nn.dense import Dense
from genjax.nn.dit import patchify, unpatchify
from genjax.nn.embed import condition_of
from genjax.nn.norm import GroupNorm
from genjax.nn.residual import ZERO, blocks, check_attention
from genjax.types import BadInput

PATCHES = ((4, 28), (2, 16), (1, 1))  # default patches, and the shortest side that has each
LAST = 7  # sides above it are halved again, while they are even


def levels(net, shape: tuple[int, ...]) -> tuple[int, list[int], list[int]]:
  """`sizes` of the levels of `net`, whose attention has to suit them; BadInput otherwise."""
  patch, sides, channels = sizes(net, shape, PATCHES)
  check_attention(net, sides, channels)
  return patch, sides, channels


def sizes(net, shape: tuple[int, ...], patches) -> tuple[int, list[int], list[int]]:
  """(patch, sides, channels) of the levels of `net` on images of a shape (H, W, C).

  net.patch: None: the first of `patches`, (patch, least side), that divides the sides.
  net.multipliers: None: 1, 2, 4, 4, ... down to a side of 4 to 7, or the last even one.
  Raises BadInput if they do not divide the shape.
  """
  if len(shape) != 3:
    raise BadInput(f'a convolutional network needs images, not data of shape {shape}')
  patch = net.patch or next(
      size for size, side in patches
      if min(shape[:2]) >= side and not any(s % size for s in shape[:2]))
  multipliers = net.multipliers
  if multipliers is None:
    multipliers, sides = [1], [size // patch for size in shape[:2]]
    while min(sides) > LAST and not any(side % 2 for side in sides):
      multipliers, sides = [*multipliers, min(2 * multipliers[-1], 4)], [s // 2 for s in sides]
  divisor = patch * 2 ** (len(multipliers) - 1)
  if not multipliers or shape[0] % divisor or shape[1] % divisor:
    raise BadInput(f'patch = {patch} and multipliers = {tuple(multipliers)} divide height and '
                   f'width by {divisor}, which data of shape {shape} do not allow')
  return (patch, [shape[0] // patch >> i for i in range(len(multipliers))],
          [multiplier * net.width for multiplier in multipliers])


class ConvToVector(nn.Module):
  """x [B, H, W, C], cond (see CondEmbed) -> float32 [B, out].

  patch x patch pixels are one position of the first level. Level i has multipliers[i] * width
  channels, num_blocks residual blocks, and attention if its height is in `attention`. A dense layer
  reads all positions of the last level. Defaults of patch and multipliers: see `levels`.
  """

  out: int = 1
  width: int = 32
  num_blocks: int = 1  # residual blocks per level
  multipliers: tuple[int, ...] | None = None
  patch: int | None = None
  attention: tuple[int, ...] = ()
  num_heads: int = 4
  dropout: float = 0.0
  dtype: jnp.dtype | None = None
  remat: bool = False
  num_classes: int = 0
  context: int = 0

  @nn.compact
  def __call__(self, x: jax.Array, cond=None, deterministic: bool = True) -> jax.Array:
    patch, sides, channels = levels(self, x.shape[1:])
    block = blocks(self, condition(self, cond, x.shape[0]), deterministic)
    h = patches(x, patch)
    h = Conv(channels[0], dtype=self.dtype, name='stem')(h)
    for i, (side, features) in enumerate(zip(sides, channels, strict=True)):
      if i:
        h = block(h, features, f'down_{i}', resample='down')
      for j in range(self.num_blocks):
        h = block(h, features, f'block_{i}_{j}', attends=side in self.attention)
    h = jax.nn.silu(GroupNorm(jnp.float32, name='norm')(h))
    return Dense(self.out, name='head')(h.reshape(h.shape[0], -1))


class ConvFromVector(nn.Module):
  """z [B, d], cond (see CondEmbed) -> float32 [B, *shape, out], shape = (H, W, C).

  The levels of `ConvToVector`, from the last to the first. A dense layer outputs all positions of
  the last level; at the end a position of the first level becomes patch x patch pixels.
  """

  shape: tuple[int, ...]
  out: int = 1
  width: int = 32
  num_blocks: int = 1
  multipliers: tuple[int, ...] | None = None
  patch: int | None = None
  attention: tuple[int, ...] = ()
  num_heads: int = 4
  dropout: float = 0.0
  dtype: jnp.dtype | None = None
  remat: bool = False
  num_classes: int = 0
  context: int = 0

  @nn.compact
  def __call__(self, z: jax.Array, cond=None, deterministic: bool = True) -> jax.Array:
    patch, sides, channels = levels(self, self.shape)
    block = blocks(self, condition(self, cond, z.shape[0]), deterministic)
    last = 2 ** (len(sides) - 1) * patch
    h, w = self.shape[0] // last, self.shape[1] // last
    y = Dense(h * w * channels[-1], dtype=self.dtype, name='stem')(z)
    y = y.reshape(-1, h, w, channels[-1])
    for i, (side, features) in reversed(list(enumerate(zip(sides, channels, strict=True)))):
      for j in range(self.num_blocks):
        y = block(y, features, f'block_{i}_{j}', attends=side in self.attention)
      if i:
        y = block(y, channels[i - 1], f'up_{i}', resample='up')
    y = jax.nn.silu(GroupNorm(jnp.float32, name='norm')(y))
    count = self.shape[2] * self.out
    y = Conv(patch**2 * count, name='head')(y)
    y = unpatchify(y.reshape(y.shape[0], -1, patch**2 * count), patch, (*self.shape[:2], count))
    return y.reshape(-1, *self.shape, self.out)


class ConvConditioner(nn.Module):
  """The given part x [B, h, w, c], cond (see CondEmbed) -> float32 [B, *shape, out].

  shape = (h, w, c') is that of the other part. All blocks have the same side. The output is 0 at
  initialisation, so that the coupling starts as the identity.
  """

  shape: tuple[int, ...]
  out: int = 1
  width: int = 32
  num_blocks: int = 2
  attention: tuple[int, ...] = ()
  num_heads: int = 4
  dropout: float = 0.0
  dtype: jnp.dtype | None = None
  remat: bool = False
  num_classes: int = 0
  context: int = 0

  @nn.compact
  def __call__(self, x: jax.Array, cond=None, deterministic: bool = True) -> jax.Array:
    if x.ndim != 4 or x.shape[1:3] != tuple(self.shape[:2]):
      raise BadInput('a convolutional conditioner needs parts of images at the same positions, not '
                     f'{x.shape[1:]} and {self.shape}')
    check_attention(self, [x.shape[1]], [self.width])
    block = blocks(self, condition(self, cond, x.shape[0]), deterministic)
    h = Conv(self.width, dtype=self.dtype, name='stem')(x)
    for j in range(self.num_blocks):
      h = block(h, self.width, f'block_{j}', attends=x.shape[1] in self.attention)
    h = jax.nn.silu(GroupNorm(jnp.float32, name='norm')(h))
    out = Dense(self.shape[2] * self.out, kernel_init=ZERO, name='head')(h)
    return out.reshape(-1, *self.shape, self.out)


def condition(net, cond, batch_size: int):
  """The condition of the blocks of `net`, [B, 4 width], or None."""
  c = condition_of(net, 4 * net.width, cond, batch_size, 1.0)
  return None if c is None else jax.nn.silu(c)


def patches(x: jax.Array, patch: int) -> jax.Array:
  """[B, H, W, C] -> [B, H / patch, W / patch, patch^2 C]."""
  b, h, w, c = x.shape
  return patchify(x, patch).reshape(b, h // patch, w // patch, patch**2 * c)
