"""DiT: a transformer over patches, modulated by time and label through adaLN-zero (2212.09748)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.dense import Dense
from genjax.nn.embed import LabelEmbed, fourier_time
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
    x = constrain_batch(x)
    parts = jnp.split(Dense(6 * self.width, kernel_init=ZERO, name='modulation')(c), 6, -1)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts

    y = modulate(nn.LayerNorm(use_bias=False, use_scale=False)(x), shift_a, scale_a)
    qkv = Dense(3 * self.width, dtype=self.dtype, name='qkv')(y)
    q, k, v = (split_heads(part, self.num_heads) for part in jnp.split(qkv, 3, -1))
    y = Dense(self.width, dtype=self.dtype, name='project')(
        merge_heads(attend(q, k, v), self.num_heads))
    x = x + gate_a[:, None] * nn.Dropout(self.dropout)(y, deterministic)

    y = modulate(nn.LayerNorm(use_bias=False, use_scale=False)(x), shift_m, scale_m)
    y = Dense(self.mlp_ratio * self.width, dtype=self.dtype, name='up')(y)
    y = Dense(self.width, dtype=self.dtype, name='down')(jax.nn.gelu(y))
    return x + gate_m[:, None] * nn.Dropout(self.dropout)(y, deterministic)


class DiT(nn.Module):
  """x [B, H, W, C], t [B] in [0, 1], cond int32 [B] or None -> float32 [B, H, W, C num_out].

  num_classes 0: unconditional; cond None or num_classes: "no label". patch divides H and W, else
  BadInput. The output is 0 at initialisation. dtype: of the products inside (bfloat16).
  """

  num_classes: int = 0
  patch: int = 2
  width: int = 128
  num_blocks: int = 4
  num_heads: int = 4
  mlp_ratio: int = 4
  dropout: float = 0.0
  num_out: int = 1  # numbers put out for each of x
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x, t, cond=None, deterministic: bool = True) -> jax.Array:
    shape = x.shape[1:]
    if len(shape) != 3 or shape[0] % self.patch or shape[1] % self.patch:
      raise BadInput(f'patch = {self.patch} must divide height and width of data of shape {shape}')
    tokens = patchify(x, self.patch)
    place = self.param('place', nn.initializers.normal(0.02), (tokens.shape[1], self.width))
    h = Dense(self.width, dtype=self.dtype, name='stem')(tokens) + place

    c = Dense(self.width, name='time_1')(fourier_time(t, 128))
    c = Dense(self.width, name='time_2')(jax.nn.silu(c))
    if self.num_classes:
      c = c + LabelEmbed(self.width, self.num_classes, name='label')(cond, x.shape[0])
    c = jax.nn.silu(c)

    for i in range(self.num_blocks):
      h = DiTBlock(self.width, self.num_heads, self.mlp_ratio, self.dropout, self.dtype,
                   name=f'block_{i}')(h, c, deterministic)
    shift, scale = jnp.split(
        Dense(2 * self.width, kernel_init=ZERO, name='modulation')(c), 2, -1)
    h = modulate(nn.LayerNorm(use_bias=False, use_scale=False)(h), shift, scale)
    out = Dense(tokens.shape[-1] * self.num_out, kernel_init=ZERO, name='head')(h)
    return unpatchify(out.astype(jnp.float32), self.patch,
                      (*shape[:2], shape[2] * self.num_out))
