"""A ladder of latent layers over images: bottom-up features, and a top-down path that uses them.

The top-down path is shared by prior and posterior (1602.02282, 1606.04934), and each resolution has
several layers of latents (2011.10650). The network knows no distribution: a function that it is
called with makes the latents of a layer from the outputs for prior and posterior.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.conv import Conv
from genjax.nn.convnet import condition, patches, sizes
from genjax.nn.dense import Dense
from genjax.nn.dit import unpatchify
from genjax.nn.norm import GroupNorm
from genjax.nn.residual import ZERO, ResidualBlock
from genjax.sharding import constrain_batch
from genjax.types import BadInput

PATCHES = ((4, 64), (2, 16), (1, 1))  # default patches, and the shortest side that has each


class LatentLayer(nn.Module):
  """h [B, H, W, C] -> h after one layer of latents z [B, H, W, channels], and what `pick` says.

  features [B, H, W, C] of the data, or None: no posterior. c: the condition. given, key, pick: see
  `Ladder`. The outputs for prior and posterior are 0 at initialisation.
  """

  channels: int
  scale: float  # of the initial map of z: the layers' sum then has the variance of one
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, h, features, c, given, key, pick: Callable):
    width = h.shape[-1]

    def head(x, name):
      x = jax.nn.silu(GroupNorm(jnp.float32, name=f'{name}_norm')(x))
      return Dense(2 * self.channels, kernel_init=ZERO, name=f'{name}_head')(x)

    posterior = None
    if features is not None:
      posterior = head(ResidualBlock(width, dtype=self.dtype, name='posterior')(h, c, features),
                       'posterior')
    h = ResidualBlock(width, dtype=self.dtype, name='prior')(h, c)
    z, summary = pick(head(h, 'prior'), posterior, given, key)
    init = nn.initializers.variance_scaling(self.scale**2, 'fan_in', 'normal')
    return h + Dense(width, kernel_init=init, dtype=self.dtype, name='latent')(z), summary


class Ladder(nn.Module):
  """x [B, H, W, C] or None, cond, num, pick, given, key -> float32 [num, *shape, out], summaries.

  x: the data, from which a posterior is inferred; None: the prior alone.
  num: B, which the prior alone needs.
  pick(prior [B, h, w, 2 c], posterior or None, given, key) -> z [B, h, w, c], summary: the latents
    of a layer, from raw outputs; summary is any tree of arrays.
  given: None, or for each level, the coarsest first, z [layers, B, h, w, c].
  key: None, or a key; each layer gets one of its own.
  summaries: for each level, the coarsest first, those of its layers, [layers, ...].

  num_layers: of latents in total, shared alike by the levels, finer ones first.
  latent_channels: c. num_blocks: bottom-up residual blocks per level.
  patch: None: 4 from a side of 64 on, 2 from 16 on, else 1; multipliers: see `convnet.sizes`.
  Layers of a level are one compiled layer. Raises BadInput for sizes that do not divide the image,
  and for fewer layers than levels.
  """

  shape: tuple[int, ...]
  out: int = 1
  width: int = 32
  num_layers: int = 12
  latent_channels: int = 8
  num_blocks: int = 1
  multipliers: tuple[int, ...] | None = None
  patch: int | None = None
  dtype: jnp.dtype | None = None
  remat: bool = False
  num_classes: int = 0
  context: int = 0

  @nn.compact
  def __call__(self, x, cond, num: int, pick: Callable, given=None, key=None,
               deterministic: bool = True):
    del deterministic  # dropout in the top-down path would leave no density
    patch, sides, channels = sizes(self, self.shape, PATCHES)
    if self.num_layers < len(sides):
      raise BadInput(f'num_layers = {self.num_layers} latent layers for {len(sides)} levels of '
                     f'sides {sides}; allowed: {len(sides)} or more')
    c = condition(self, cond, num)
    features = [None] * len(sides) if x is None else self.bottom_up(x, c, patch, channels)

    start = self.param('start', nn.initializers.normal(1.0),
                       (sides[-1], self.shape[1] * sides[-1] // self.shape[0], channels[-1]))
    h, summaries = jnp.broadcast_to(start, (num, *start.shape)), []
    for i in reversed(range(len(sides))):
      level = len(sides) - 1 - i
      count = self.num_layers // len(sides) + (i < self.num_layers % len(sides))
      keys = None if key is None else jax.random.split(jax.random.fold_in(key, level), count)
      h, summary = self.layers(h, features[i], c, None if given is None else given[level], keys,
                               pick, count, f'layers_{i}')
      summaries.append(summary)
      if i:
        h = ResidualBlock(channels[i - 1], 'up', dtype=self.dtype, name=f'up_{i}')(h, c)
    h = ResidualBlock(channels[0], dtype=self.dtype, name='last')(h, c)
    h = jax.nn.silu(GroupNorm(jnp.float32, name='norm')(h))
    outputs = self.shape[2] * self.out
    h = Conv(patch**2 * outputs, name='head')(h)
    h = unpatchify(h.reshape(num, -1, patch**2 * outputs), patch, (*self.shape[:2], outputs))
    return h.reshape(num, *self.shape, self.out), summaries

  def bottom_up(self, x, c, patch: int, channels: list[int]) -> list[jax.Array]:
    """The features of each level, the finest first."""
    h, features = Conv(channels[0], dtype=self.dtype, name='stem')(patches(x, patch)), []
    for i, width in enumerate(channels):
      if i:
        h = ResidualBlock(width, 'down', dtype=self.dtype, name=f'down_{i}')(h, c)
      for j in range(self.num_blocks):
        h = ResidualBlock(width, dtype=self.dtype, name=f'block_{i}_{j}')(h, c)
      features.append(h)
    return features

  def layers(self, h, features, c, given, keys, pick: Callable, count: int, name: str):
    """h after the layers of a level, in a scan over their stacked parameters; their summaries."""
    layer = nn.remat(LatentLayer, static_argnums=(6,), prevent_cse=False) if self.remat else (
        LatentLayer)
    layer = layer(self.latent_channels, self.num_layers**-0.5, self.dtype, name=name)
    stacked = {'variable_axes': {'params': 0}, 'split_rngs': {'params': True}}
    h = constrain_batch(h)
    if self.is_initializing():  # train/init.py cannot replay the draws of a scan on the host
      draw = nn.vmap(lambda layer, h: layer(h, features, c, None, None, pick), in_axes=None,
                     axis_size=count, **stacked)
      return h, draw(layer, h)[1]
    run = nn.scan(lambda layer, h, of_layer: layer(h, features, c, *of_layer, pick),
                  length=count, **stacked)
    return run(layer, h, (given, keys))
