"""The residual block and the attention of all convolutional networks here, after ADM (2105.05233).

Convolutions have at least `width` channels and use the native operation; the rest is matrix
products.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.conv import Conv, double, halve
from genjax.nn.dense import Dense
from genjax.nn.norm import GroupNorm
from genjax.nn.transformer import attend, merge_heads, split_heads
from genjax.sharding import constrain_batch
from genjax.types import BadInput

ZERO = nn.initializers.zeros
RESAMPLE = {'': lambda x: x, 'down': halve, 'up': double}


def scaled(x, scale: float):
  """x scale; x itself for 1."""
  return x if scale == 1.0 else x * jnp.asarray(scale, x.dtype)


class ResidualBlock(nn.Module):
  """x [B, H, W, C] plus two convolutions of it -> [B, H', W', features].

  skip: concatenated with x. c [B, D] or None: scales and shifts between the convolutions. resample:
  'down' or 'up' halves or doubles the side before the first. The second is zero at initialisation.
  The sum is multiplied by `scale`.
  """

  features: int
  resample: str = ''
  dropout: float = 0.0
  dtype: jnp.dtype | None = None
  scale: float = 1.0

  @nn.compact
  def __call__(self, x, c, skip=None, deterministic: bool = True):
    # concatenated here, so that rematerialisation keeps the parts and no copy of them
    x = constrain_batch(x if skip is None else jnp.concatenate([x, skip], -1))
    change = RESAMPLE[self.resample]
    y = change(jax.nn.silu(GroupNorm(name='norm_1')(x)))
    y = Conv(self.features, dtype=self.dtype, name='conv_1')(y)
    scale, shift = (None, None) if c is None else jnp.split(
        Dense(2 * self.features, name='modulation')(c), 2, -1)
    y = jax.nn.silu(GroupNorm(name='norm_2')(y, scale, shift))
    y = nn.Dropout(self.dropout)(y, deterministic)
    y = Conv(self.features, kernel_init=ZERO, dtype=self.dtype, name='conv_2')(y)
    x = change(x)
    if x.shape[-1] != self.features:
      x = Dense(self.features, dtype=self.dtype, name='shortcut')(x)
    return scaled(x + y, self.scale)


class Attention(nn.Module):
  """x [B, H, W, C] plus self-attention over its positions, which is 0 at initialisation.

  The sum is multiplied by `scale`.
  """

  num_heads: int
  dtype: jnp.dtype | None = None
  scale: float = 1.0

  @nn.compact
  def __call__(self, x):
    x = constrain_batch(x)
    b, h, w, channels = x.shape
    y = GroupNorm(name='norm')(x).reshape(b, h * w, channels)
    qkv = jnp.split(Dense(3 * channels, dtype=self.dtype, name='qkv')(y), 3, -1)
    y = merge_heads(attend(*(split_heads(part, self.num_heads) for part in qkv)), self.num_heads)
    y = Dense(channels, kernel_init=ZERO, dtype=self.dtype, name='project')(y)
    return scaled(x + y.reshape(x.shape), self.scale)


def blocks(net, c, deterministic: bool, scale: float = 1.0):
  """block(h, features, name, skip=None, resample='', attends=False) -> h, within the call of `net`.

  A residual block conditioned on c, followed by attention if it attends, with the fields dropout,
  dtype, num_heads and remat of `net`. remat keeps only the activations between blocks for the
  backward pass.
  """
  residual, attention = ResidualBlock, Attention
  if net.remat:
    residual, attention = nn.remat(residual, static_argnums=(4,)), nn.remat(attention)

  def block(h, features, name, skip=None, resample='', attends=False):
    h = residual(features, resample, net.dropout, net.dtype, scale, name=name)(
        h, c, skip, deterministic)
    if attends:
      h = attention(net.num_heads, net.dtype, scale, name=f'{name}_attention')(h)
    return h

  return block


def check_attention(net, sides, channels, always=()) -> None:
  """Raises BadInput for sides in net.attention that do not occur, and channels that do not fit.

  Channels must be divisible by net.num_heads. sides, channels: of the levels. always: indices of
  levels that attend in any case.
  """
  if stray := set(net.attention) - set(sides):
    raise BadInput(f'attention = {net.attention}: no level has the side {min(stray)}; '
                   f'allowed: {", ".join(map(str, sides))}')
  for i, (side, width) in enumerate(zip(sides, channels, strict=True)):
    if (side in net.attention or i in always) and width % net.num_heads:
      raise BadInput(f'num_heads = {net.num_heads} does not divide the {width} channels at '
                     f'side {side} (width = {net.width} x {width // net.width})')
