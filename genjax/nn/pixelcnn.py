"""A gated PixelCNN (1606.05328): a causal convolutional network over the levels of an image.

Two stacks of gated residual convolutions see the pixels before a pixel without a blind spot: the
vertical one the rows above, the horizontal one the pixels to the left in its row and, through the
vertical one, the rows above. Both are causal by shifts: the first inputs are shifted by a row and
by a pixel, and all convolutions are padded above or on the left alone. Blocks for each channel
follow, which also see the earlier channels of the same pixel.

Sizes: B batch; H, W, C of the image; F width; D = H W C tokens.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.conv import Conv
from genjax.nn.dense import Dense
from genjax.nn.embed import CondEmbed
from genjax.sharding import constrain_batch
from genjax.types import BadInput

SMALL, ZERO = nn.initializers.normal(0.02), nn.initializers.zeros
NUM_CHANNEL_BLOCKS = 2


def gated(y: jax.Array) -> jax.Array:
  """tanh(a) sigmoid(b) of the halves a, b of the last axis (1606.05328, Eq. 2)."""
  a, b = jnp.split(y, 2, -1)
  return jnp.tanh(a) * jax.nn.sigmoid(b)


class PixelBlock(nn.Module):
  """v, h [B, H, W, F] of the two stacks -> the same, each plus a gated convolution of it.

  c: the condition [B, 4 F] or None; it shifts what enters both gates. What is added is 0 at
  initialisation.
  """

  width: int
  kernel_size: int
  dropout: float = 0.0
  dtype: jnp.dtype | None = None

  def setup(self):
    reach = self.kernel_size // 2 + 1
    self.above = Conv(2 * self.width, (reach, self.kernel_size), dtype=self.dtype)
    self.left = Conv(2 * self.width, (1, reach), dtype=self.dtype)
    self.link = Dense(2 * self.width, use_bias=False, dtype=self.dtype)
    self.project_v = Dense(self.width, kernel_init=ZERO, dtype=self.dtype)
    self.project_h = Dense(self.width, kernel_init=ZERO, dtype=self.dtype)
    self.shift = Dense(4 * self.width, use_bias=False)
    self.drop = nn.Dropout(self.dropout)

  def __call__(self, v, h, c, deterministic: bool = True):
    v, h = constrain_batch(v), constrain_batch(h)
    side, (shift_v, shift_h) = self.kernel_size // 2, self.shifts(c)
    v = self.vertical(v, v, shift_v, ((side, 0), (side, side)))
    return v, self.horizontal(h, h, self.link(v), shift_h, ((0, 0), (side, 0)), deterministic)

  def shifts(self, c):
    """What c adds in the vertical and in the horizontal gate: [B, 1, 1, 2 F] each, or 0."""
    if c is None:
      return 0.0, 0.0
    return jnp.split(self.shift(c)[:, None, None], 2, -1)

  def vertical(self, v, window, shift, padding):
    """v plus its gated convolution, which reads the window."""
    return v + self.project_v(gated((self.above(window, padding) + shift).astype(v.dtype)))

  def horizontal(self, h, window, link, shift, padding, deterministic: bool = True):
    """h plus its gated convolution, which reads the window. link: from the vertical stack."""
    y = gated((self.left(window, padding) + link + shift).astype(h.dtype))
    return h + self.project_h(self.drop(y, deterministic))

  def start(self, c, batch_size: int, columns: int) -> dict:
    """The cache before the first row, with side = kernel_size // 2.

    'shifts': see above; 'above' [B, side, W, F] and 'left' [B, 1, side, F]: the last inputs of the
    stacks; 'links' [B, 1, W, 2 F]: of the row, from the vertical to the horizontal stack.
    """
    side = self.kernel_size // 2
    return {'shifts': self.shifts(c),
            'above': jnp.zeros((batch_size, side, columns, self.width)),
            'left': jnp.zeros((batch_size, 1, side, self.width)),
            'links': jnp.zeros((batch_size, 1, columns, 2 * self.width), self.dtype)}

  def row(self, v, cache: dict):
    """v [B, 1, W, F] of the next row -> (the same after the block, cache for its pixels)."""
    side = self.kernel_size // 2
    window = jnp.concatenate([cache['above'], v], 1)
    v = self.vertical(v, window, cache['shifts'][0], ((0, 0), (side, side)))
    return v, {**cache, 'above': window[:, 1:], 'left': jnp.zeros_like(cache['left']),
               'links': self.link(v)}

  def pixel(self, h, column, cache: dict):
    """h [B, 1, 1, F] of the pixel in this column of the row -> (the same after it, cache)."""
    window = jnp.concatenate([cache['left'], h], 2)
    link = jax.lax.dynamic_slice_in_dim(cache['links'], column, 1, 2)
    h = self.horizontal(h, window, link, cache['shifts'][1], ((0, 0), (0, 0)))
    return h, {**cache, 'left': window[:, :, 1:]}


class ChannelBlock(nn.Module):
  """y [..., F] -> the same plus a gated layer of it, which is 0 at initialisation."""

  width: int
  dropout: float = 0.0
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, y, deterministic: bool = True):
    gate = gated(Dense(2 * self.width, dtype=self.dtype, name='gate')(y).astype(y.dtype))
    gate = nn.Dropout(self.dropout)(gate, deterministic)
    return y + Dense(self.width, kernel_init=ZERO, dtype=self.dtype, name='project')(gate)


class PixelCNN(nn.Module):
  """Outputs of each token given the tokens before it in raster order, and a condition.

  shape: (H, W, C); a token is one channel of one pixel, and the channels of a pixel follow one
    another.
  levels: number of values of a token.
  out: numbers per token; None: a logit of each level.
  kernel_size: odd; a block adds kernel_size // 2 rows and columns to what a pixel sees.
  table: embed a token by a table of the levels too, and not by its value in [-1, 1] alone.
  dropout: of the gates of the horizontal stack and of the channels.
  dtype: of the products; the sums of the residual blocks stay float32.
  remat: keep only the activations between blocks for the backward pass.

  A table per axis embeds the position. Raises BadInput unless the data are images and kernel_size
  is odd.
  """

  shape: tuple[int, ...]
  levels: int
  num_classes: int = 0
  width: int = 64
  num_blocks: int = 5
  kernel_size: int = 3
  table: bool = True
  dropout: float = 0.1
  dtype: jnp.dtype | None = None
  remat: bool = False
  context: int = 0
  out: int | None = None

  def setup(self):
    if len(self.shape) != 3:
      raise BadInput(f'a PixelCNN needs images, not data of shape {self.shape}')
    if self.kernel_size % 2 == 0:
      raise BadInput(f'kernel_size = {self.kernel_size}; allowed: odd numbers')
    rows, columns, channels = self.shape
    self.value = self.param('value', nn.initializers.normal(1.0), (channels, self.width))
    if self.table:
      self.token = self.param('token', SMALL, (channels, self.levels, self.width))
    self.place_rows = self.param('place_rows', SMALL, (rows, self.width))
    self.place_columns = self.param('place_columns', SMALL, (columns, self.width))
    self.cond = CondEmbed(4 * self.width, self.num_classes, self.context, 1.0)
    block = nn.remat(PixelBlock, static_argnums=(4,)) if self.remat else PixelBlock
    self.blocks = [block(self.width, self.kernel_size, self.dropout, self.dtype)
                   for _ in range(self.num_blocks)]
    if channels > 1:
      self.place_channels = self.param('place_channels', SMALL, (channels, self.width))
      self.before = Dense(self.width, use_bias=False, dtype=self.dtype)
    self.channel_blocks = [ChannelBlock(self.width, self.dropout, self.dtype)
                           for _ in range(NUM_CHANNEL_BLOCKS)]
    self.norm = nn.LayerNorm()
    self.head = Dense(self.out or self.levels, kernel_init=ZERO)

  def condition(self, cond, batch_size: int):
    """silu of the embedding of cond, [B, 4 F], or None if the network has no condition."""
    if not (self.num_classes or self.context):
      return None
    return jax.nn.silu(self.cond(cond, batch_size))

  def embed(self, tokens, channels):
    """Tokens [...] of these channels -> [..., F]."""
    x = (2.0 * tokens.astype(jnp.float32) / (self.levels - 1) - 1.0)[..., None]
    x = x * self.value[channels]
    return x + self.token[channels, tokens] if self.table else x

  def logits(self, h, before, channels, deterministic: bool = True):
    """Outputs of these channels from h [..., F] of the pixel and the sum of the tokens before."""
    if self.shape[2] > 1:
      h = h + self.before(before) + self.place_channels[channels]
    for block in self.channel_blocks:
      h = block(h, deterministic)
    return self.head(self.norm(h)).astype(jnp.float32)

  def __call__(self, tokens, cond=None, deterministic: bool = True) -> jax.Array:
    """tokens int32 [B, D] -> float32 [B, D, out]."""
    size, channels = tokens.shape[0], jnp.arange(self.shape[2])
    e = constrain_batch(self.embed(tokens.reshape(size, *self.shape), channels))
    x, c = e.sum(3), self.condition(cond, size)
    place = self.place_rows[:, None] + self.place_columns
    v, h = shifted(x, 1) + place, shifted(x, 2) + place
    for block in self.blocks:
      v, h = block(v, h, c, deterministic)
    out = self.logits(h[..., None, :], jnp.cumsum(shifted(e, 3), 3), channels, deterministic)
    return out.reshape(*tokens.shape, -1)

  def start(self, cond, batch_size: int) -> dict:
    """The cache before the first `step`.

    'pixel' [B, F]: sum of the embedded tokens of the pixel so far; 'row' [B, 1, W, F]: those sums
    of the last W pixels, by column; 'h' [B, F]: output of the stacks at the pixel; 'blocks': see
    `PixelBlock.start`.
    """
    c, columns = self.condition(cond, batch_size), self.shape[1]
    zeros = jnp.zeros((batch_size, self.width))
    return {'pixel': zeros, 'h': zeros, 'row': jnp.zeros((batch_size, 1, columns, self.width)),
            'blocks': [block.start(c, batch_size, columns) for block in self.blocks]}

  def step(self, cache: dict, token, i):
    """(output [B, out] for token i, cache of the next step).

    token: int32 [B], token i - 1; ignored for i = 0. The vertical stack is evaluated at the first
    token of a row, for all of the row, and the horizontal one at the first token of a pixel.
    """
    channels = self.shape[2]
    last = self.embed(token, (i - 1) % channels)
    cache = {**cache, 'pixel': cache['pixel'] + jnp.where(i == 0, 0.0, constrain_batch(last))}
    if channels == 1:
      cache = next_pixel(self, cache, i)
    else:
      cache = nn.cond(i % channels == 0, next_pixel, lambda self, cache, i: cache, self, cache,
                      i // channels)
    return self.logits(cache['h'], cache['pixel'], i % channels), cache


def next_pixel(net: PixelCNN, cache: dict, i) -> dict:
  """The cache at the first token of pixel i from that at the last one of pixel i - 1."""
  columns = net.shape[1]
  row, column, x = i // columns, i % columns, cache['pixel'][:, None, None]
  cache = {**cache, 'pixel': jnp.zeros_like(cache['pixel']),
           'row': jax.lax.dynamic_update_slice_in_dim(cache['row'], x, (i - 1) % columns, 2)}
  caches = nn.cond(column == 0, next_row, lambda net, cache, row: cache['blocks'],
                   net, cache, row)
  h, new = jnp.where(column == 0, 0.0, x) + net.place_rows[row] + net.place_columns[column], []
  for block, part in zip(net.blocks, caches, strict=True):
    h, part = block.pixel(h, column, part)
    new.append(part)
  return {**cache, 'h': h[:, 0, 0], 'blocks': new}


def next_row(net: PixelCNN, cache: dict, row) -> list:
  """The caches of the blocks at the first pixel of a row; cache['row'] is the row above."""
  v, new = cache['row'] + net.place_rows[row] + net.place_columns, []
  for block, part in zip(net.blocks, cache['blocks'], strict=True):
    v, part = block.row(v, part)
    new.append(part)
  return new


def shifted(x: jax.Array, axis: int) -> jax.Array:
  """x moved by one place along an axis; zeros enter at its start."""
  size = x.shape[axis]
  widths = [(1, 0) if i == axis else (0, 0) for i in range(x.ndim)]
  return jnp.pad(jax.lax.slice_in_dim(x, 0, size - 1, axis=axis), widths)
