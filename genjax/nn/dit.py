"""DiT: a transformer over patches, modulated by time and label through adaLN-zero (2212.09748)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.dense import Dense
from genjax.nn.embed import fourier_features, time_and_cond
from genjax.nn.transformer import attend, merge_heads, split_heads
from genjax.sharding import constrain_batch
from genjax.types import BadInput

ZERO = nn.initializers.zeros


def patchify(x: jax.Array, patch: int) -> jax.Array:
  """[B, H, W, C] -> [B, (H / patch) (W / patch), patch^2 C]: a reshape, no convolution."""
  b, h, w, c = x.shape
  x = x.reshape(b, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, (h // patch) * (w // patch), patch * patch * c)


def unpatchify(x: jax.Array, patch: int, shape: tuple[int, ...]) -> jax.Array:
  """The inverse of patchify: -> [B, H, W, C] with shape = (H, W, C)."""
  h, w, c = shape
  x = x.reshape(-1, h // patch, w // patch, patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(-1, h, w, c)


def modulate(x, shift, scale):
  """x (1 + scale) + shift with [B, W] over the tokens of [B, T, W]."""
  return x * (1.0 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
  """Attention and MLP, shifted, scaled and gated by c; the identity at initialisation."""

  width: int
  num_heads: int
  mlp_ratio: int = 4
  dropout: float = 0.0
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x, c, deterministic: bool = True):
    x, norm = constrain_batch(x), partial(nn.LayerNorm, use_bias=False, use_scale=False)
    parts = jnp.split(Dense(6 * self.width, kernel_init=ZERO, name='modulation')(c), 6, -1)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts

    y = modulate(norm()(x), shift_a, scale_a)
    qkv = Dense(3 * self.width, dtype=self.dtype, name='qkv')(y)
    q, k, v = (split_heads(part, self.num_heads) for part in jnp.split(qkv, 3, -1))
    y = Dense(self.width, dtype=self.dtype, name='project')(
        merge_heads(attend(q, k, v), self.num_heads))
    x = x + gate_a[:, None] * nn.Dropout(self.dropout)(y, deterministic)

    y = modulate(norm()(x), shift_m, scale_m)
    y = Dense(self.mlp_ratio * self.width, dtype=self.dtype, name='up')(y)
    y = Dense(self.width, dtype=self.dtype, name='down')(jax.nn.gelu(y))
    return x + gate_m[:, None] * nn.Dropout(self.dropout)(y, deterministic)


class DiT(nn.Module):
  """x [B, H, W, C], t [B] in [0, 1], cond (see CondEmbed) -> float32 [B, H, W, C, out].

  Several times: t [B, K]. The output is 0 at initialisation.

  dtype: of the products inside blocks (bfloat16). The residual stream stays float32, since a sum of
    many small terms would lose them in eight bits; so do norms, softmax and embeddings.
  remat: keep only the activations between blocks for the backward pass.
  scan: one compiled block, with parameters stacked [num_blocks, ...] under `blocks`.
  fourier: exponents of the Fourier features that are concatenated with x.
  Raises BadInput for a patch that does not divide H and W, and a width that num_heads does not.
  """

  num_classes: int = 0
  patch: int = 2
  width: int = 96
  num_blocks: int = 3
  num_heads: int = 4
  mlp_ratio: int = 4
  dropout: float = 0.0
  out: int = 1  # outputs for each element of x
  dtype: jnp.dtype | None = None
  remat: bool = False
  scan: bool = False
  fourier: tuple[int, ...] = ()
  context: int = 0

  @nn.compact
  def __call__(self, x, t, cond=None, deterministic: bool = True) -> jax.Array:
    shape = x.shape[1:]
    if len(shape) != 3 or shape[0] % self.patch or shape[1] % self.patch:
      raise BadInput(f'patch = {self.patch} must divide height and width of data of shape {shape}')
    if self.width % self.num_heads:
      raise BadInput(f'width = {self.width} is not a multiple of num_heads = {self.num_heads}')
    tokens = patchify(fourier_features(x, self.fourier), self.patch)
    place = self.param('place', nn.initializers.normal(0.02), (tokens.shape[1], self.width))
    h = Dense(self.width, dtype=self.dtype, name='stem')(tokens) + place

    c = time_and_cond(self, self.width, t, cond)
    h = self.blocks(h, c, deterministic)
    shift, scale = jnp.split(
        Dense(2 * self.width, kernel_init=ZERO, name='modulation')(c), 2, -1)
    h = modulate(nn.LayerNorm(use_bias=False, use_scale=False)(h), shift, scale)
    out = Dense(self.patch**2 * shape[2] * self.out, kernel_init=ZERO, name='head')(h)
    out = unpatchify(out.astype(jnp.float32), self.patch, (*shape[:2], shape[2] * self.out))
    return out.reshape(*x.shape, self.out)

  def blocks(self, h, c, deterministic: bool):
    """h [B, T, W] after all blocks, one by one or in a scan over their stacked parameters."""
    block = DiTBlock
    if self.remat:  # within a scan nothing can be merged with the forward pass anyway
      block = nn.remat(block, static_argnums=(3,), prevent_cse=not self.scan)
    make = partial(block, self.width, self.num_heads, self.mlp_ratio, self.dropout, self.dtype)
    if not self.scan:
      for i in range(self.num_blocks):
        h = make(name=f'block_{i}')(h, c, deterministic)
      return h
    stacked = {'variable_axes': {'params': 0}, 'split_rngs': {'params': True, 'dropout': True}}
    if self.is_initializing():  # train/init.py cannot replay the draws of a scan on the host
      draw = nn.vmap(lambda block, h: block(h, c, deterministic), in_axes=None,
                     axis_size=self.num_blocks, **stacked)
      draw(make(name='blocks'), h)
      return h
    run = nn.scan(lambda block, h, _: (block(h, c, deterministic), None),
                  length=self.num_blocks, **stacked)
    return run(make(name='blocks'), h, None)[0]
