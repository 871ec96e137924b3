"""Masked perceptrons: output i depends on the dimensions before i alone (MADE, 1502.03509).

Each hidden unit has a degree m in 0..D-1 and sees the first m dimensions; output i (from 1) sees
the units of degrees below i. The condition reaches every unit and every output, so that the first
output depends on the condition alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genjax.nn.dense import Dense
from genjax.nn.embed import condition_of
from genjax.nn.mlp import SMALL, activation_fn
from genjax.sharding import constrain_batch


class MaskedDense(nn.Module):
  """[B, d] -> [B, features]: a dense layer with some of its weights fixed at zero.

  sees: bool [d, features] of a call, the other weights. Initially each output has variance 1 for
  inputs of variance 1, or is zero.
  """

  features: int
  zero: bool = False
  dtype: jnp.dtype | None = None  # of the product; None: that of the input and parameters

  @nn.compact
  def __call__(self, x: jax.Array, sees: np.ndarray) -> jax.Array:
    scale = np.float32(0.0 if self.zero else 1.0) / np.sqrt(np.maximum(sees.sum(0), 1.0))
    init = lambda key, shape: jax.random.normal(key, shape) * scale.astype(np.float32)
    zeros = nn.initializers.zeros_init()
    kernel = self.param('kernel', zeros if self.zero else init, (x.shape[-1], self.features))
    bias = self.param('bias', zeros, (self.features,))
    dtype = self.dtype or jnp.result_type(x, jnp.float32)
    y = x.astype(dtype) @ jnp.where(sees, kernel, 0.0).astype(dtype) + bias.astype(dtype)
    return constrain_batch(y)


class MaskedMLP(nn.Module):
  """x [B, D], or [B, D, e] with e numbers per dimension -> float32 [B, D, out].

  features: widths of the hidden layers; None: (128, 128) up to 8 dimensions, else (512, 512).
  residual: add each hidden layer to the one before it if the widths agree.
  zero_out: the output is zero at initialisation.
  embed: width of the embedding of cond, of which each layer adds a linear map.
  dtype: of the hidden products.
  """

  features: tuple[int, ...] | None = None
  out: int = 1
  activation: str = 'silu'
  residual: bool = False
  dropout: float = 0.0
  zero_out: bool = False
  embed: int = 32
  num_classes: int = 0
  context: int = 0
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array, cond=None, deterministic: bool = True) -> jax.Array:
    act, (batch, size) = activation_fn(self.activation), x.shape[:2]
    condition = condition_of(self, self.embed, cond, batch, 1.0)
    x = x.reshape(batch, -1)
    degrees = np.repeat(np.arange(1, size + 1), x.shape[1] // size)

    def layer(name, x, sees, zero=False, dtype=self.dtype):
      y = MaskedDense(sees.shape[1], zero, dtype, name=name)(x, sees)
      if condition is None:
        return y
      init = nn.initializers.zeros_init() if zero else nn.initializers.lecun_normal()
      return y + Dense(sees.shape[1], use_bias=False, kernel_init=init, dtype=dtype,
                       name=f'{name}_cond')(condition)

    default = ((128,) if size <= SMALL else (512,)) * 2
    for i, width in enumerate(default if self.features is None else self.features):
      hidden = np.arange(width) * size // width  # degrees spread evenly over 0..D-1
      h = act(layer(f'hidden_{i}', x, degrees[:, None] <= hidden))
      if self.dropout > 0.0:
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
      x, degrees = x + h if self.residual and i and h.shape == x.shape else h, hidden
    # the outputs of one dimension are not adjacent in memory, so that splitting them copies nothing
    outputs = np.tile(np.arange(1, size + 1), self.out)
    y = layer('out', x, degrees[:, None] < outputs, self.zero_out, None)
    return y.astype(jnp.float32).reshape(batch, self.out, size).swapaxes(1, 2)


class Made(nn.Module):
  """Numbers of each token given the tokens before it in raster order, by a masked perceptron.

  A token is embedded by a table and by its value (levels are ordered). out: numbers of a token;
  None: a logit for each of its levels. width: of the embedding. features, residual, activation,
  dropout, embed, dtype: see MaskedMLP.
  """

  shape: tuple[int, ...]
  levels: int
  out: int | None = None
  width: int = 4
  features: tuple[int, ...] | None = None
  activation: str = 'silu'
  residual: bool = False
  dropout: float = 0.0
  embed: int = 32
  num_classes: int = 0
  context: int = 0
  dtype: jnp.dtype | None = None

  def setup(self):
    self.token = self.param('token', nn.initializers.normal(1.0), (self.levels, self.width))
    self.net = MaskedMLP(
        self.features, self.out or self.levels, self.activation, self.residual, self.dropout,
        zero_out=True, embed=self.embed, num_classes=self.num_classes, context=self.context,
        dtype=self.dtype)

  def __call__(self, tokens, cond=None, deterministic: bool = True) -> jax.Array:
    """tokens int32 [B, D] -> float32 [B, D, out]."""
    value = 2.0 * tokens.astype(jnp.float32) / (self.levels - 1) - 1.0
    x = jnp.concatenate([self.token[tokens], value[..., None]], -1)
    return self.net(x, cond, deterministic)

  def start(self, cond, batch_size: int) -> dict:
    """The cache before the first `step`: the tokens drawn so far, [B, D], and the condition."""
    return {'tokens': jnp.zeros((batch_size, int(np.prod(self.shape))), jnp.int32), 'cond': cond}

  def step(self, cache: dict, token, i):
    """(output [B, out] for token i, cache of the next step); a whole pass of the network.

    token: int32 [B], token i - 1; ignored for i = 0.
    """
    # at i = 0 this writes to token 0, which is drawn next
    tokens = cache['tokens'].at[:, jnp.maximum(i - 1, 0)].set(token)
    out = jax.lax.dynamic_index_in_dim(self(tokens, cache['cond']), i, 1, keepdims=False)
    return out, {**cache, 'tokens': tokens}
