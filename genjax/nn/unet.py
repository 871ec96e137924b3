"""UNet: residual blocks and attention at several sides, joined across by skips.

The layout of ADM (2105.05233), after DDPM (2006.11239). Convolutions are native, at least width
wide; everything else is matrix products.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.conv import Conv, double, halve
from genjax.nn.dense import Dense
from genjax.nn.embed import LabelEmbed, fourier_features, fourier_time
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
  """x [B, H, W, C], joined by a skip, plus two convolutions of it -> [B, H', W', features].

  c [B, D] scales and shifts between the two; resample, 'down' or 'up', halves or doubles the side
  before the first. The second starts at zero. The sum is times `scale`.
  """

  features: int
  resample: str = ''
  dropout: float = 0.0
  dtype: jnp.dtype | None = None
  scale: float = 1.0

  @nn.compact
  def __call__(self, x, c, skip=None, deterministic: bool = True):
    # joined here, so that rematerialisation keeps the parts and not another copy of them
    x = constrain_batch(x if skip is None else jnp.concatenate([x, skip], -1))
    change = RESAMPLE[self.resample]
    y = change(jax.nn.silu(GroupNorm(name='norm_1')(x)))
    y = Conv(self.features, dtype=self.dtype, name='conv_1')(y)
    scale, shift = jnp.split(Dense(2 * self.features, name='modulation')(c), 2, -1)
    y = jax.nn.silu(GroupNorm(name='norm_2')(y, scale, shift))
    y = nn.Dropout(self.dropout)(y, deterministic)
    y = Conv(self.features, kernel_init=ZERO, dtype=self.dtype, name='conv_2')(y)
    x = change(x)
    if x.shape[-1] != self.features:
      x = Dense(self.features, dtype=self.dtype, name='shortcut')(x)
    return scaled(x + y, self.scale)


class Attention(nn.Module):
  """x [B, H, W, C] plus the attention of its positions to each other; x itself at the start.

  The sum is times `scale`.
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


class UNet(nn.Module):
  """x [B, H, W, C], t [B] in [0, 1], cond int32 [B] or None -> float32 [B, H, W, C num_out].

  Level i has multipliers[i] width channels at the side H / 2^i, attention after the residual
  blocks of the levels whose H is in `attention`, and always in the middle. num_classes 0:
  unconditional; cond None or num_classes: "no label". Several times: t [B, K]. The output is 0 at
  initialisation. dtype: of the products and, unlike in DiT, of what stands between the blocks
  (few sums, and wide arrays that fill the memory); statistics, softmax, embeddings and output are
  float32. remat: keep only what stands between the blocks for the backward pass. fourier: exponents
  of the Fourier features that stand beside x (2107.00630: (7, 8), with multipliers (1,), which
  halve nothing). residual_scale: each sum of a block and its input is multiplied by it (2011.13456,
  App. H, and 2206.00364: 1 / sqrt 2; their augmentation is not here). BadInput for sides that
  cannot be halved, sides in `attention` that never occur and channels that num_heads cannot share.
  """

  num_classes: int = 0
  width: int = 64
  num_blocks: int = 2  # residual blocks a level
  num_heads: int = 4
  multipliers: tuple[int, ...] = (1, 2, 2)
  attention: tuple[int, ...] = ()
  dropout: float = 0.0
  num_out: int = 1  # numbers put out for each of x
  dtype: jnp.dtype | None = None
  remat: bool = False
  fourier: tuple[int, ...] = ()
  residual_scale: float = 1.0

  @nn.compact
  def __call__(self, x, t, cond=None, deterministic: bool = True) -> jax.Array:
    self.check(x.shape)
    residual, attention = ResidualBlock, Attention
    if self.remat:
      residual, attention = nn.remat(residual, static_argnums=(4,)), nn.remat(attention)
    c = self.embed(x.shape[0], t, cond)

    def block(h, features, name, skip=None, resample='', attends=False):
      h = residual(features, resample, self.dropout, self.dtype, self.residual_scale,
                   name=name)(
          h, c, skip, deterministic)
      if attends:
        h = attention(self.num_heads, self.dtype, self.residual_scale,
                      name=f'{name}_attention')(h)
      return h

    levels = [(i, multiplier * self.width, x.shape[1] >> i in self.attention)
              for i, multiplier in enumerate(self.multipliers)]
    h = Conv(self.width, dtype=self.dtype, name='stem')(
        fourier_features(x, self.fourier))
    skips = [h]
    for i, features, attends in levels:
      for j in range(self.num_blocks):
        h = block(h, features, f'down_{i}_{j}', attends=attends)
        skips.append(h)
      if i < len(levels) - 1:
        h = block(h, features, f'down_{i}', resample='down')
        skips.append(h)
    h = block(h, levels[-1][1], 'middle_0', attends=True)
    h = block(h, levels[-1][1], 'middle_1')
    for i, features, attends in reversed(levels):
      for j in range(self.num_blocks + 1):
        h = block(h, features, f'up_{i}_{j}', skips.pop(), attends=attends)
      if i:
        h = block(h, features, f'up_{i}', resample='up')
    h = jax.nn.silu(GroupNorm(jnp.float32, name='norm')(h))
    return Conv(x.shape[-1] * self.num_out, kernel_init=ZERO, name='head')(h)

  def embed(self, batch_size: int, t, cond):
    """silu of the embedding of time and label: float32 [B, 4 width]."""
    c = Dense(4 * self.width, name='time_1')(fourier_time(t, 128))
    c = Dense(4 * self.width, name='time_2')(jax.nn.silu(c))
    if self.num_classes:
      c = c + LabelEmbed(4 * self.width, self.num_classes, name='label')(cond, batch_size)
    return jax.nn.silu(c)

  def check(self, shape: tuple[int, ...]) -> None:
    """Refuses data of a shape [B, H, W, C] that these fields cannot divide."""
    last = len(self.multipliers) - 1
    if len(shape) != 4 or not self.multipliers or shape[1] % 2**last or shape[2] % 2**last:
      raise BadInput(f'multipliers = {self.multipliers} halve height and width {last} times, which '
                     f'data of shape {shape[1:]} do not allow; both must be multiples of {2**last}')
    sides = [shape[1] >> i for i in range(last + 1)]
    if stray := set(self.attention) - set(sides):
      raise BadInput(f'attention = {self.attention}: no level has the side {min(stray)}; '
                     f'allowed: {", ".join(map(str, sides))}')
    for side, multiplier in zip(sides, self.multipliers, strict=True):
      channels = multiplier * self.width
      if (side in self.attention or side == sides[-1]) and channels % self.num_heads:
        raise BadInput(f'num_heads = {self.num_heads} does not divide the {channels} channels at '
                       f'side {side} (width = {self.width} x {multiplier})')
