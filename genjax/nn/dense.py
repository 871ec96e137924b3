"""The dense layer of every network here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from genjax.sharding import constrain_batch
from genjax.types import BadInput

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def product_dtype(name: str | None):
  """The dtype of a network's products by its name; None stays None. BadInput for other names."""
  if name is not None and name not in DTYPES:
    raise BadInput(f'unknown dtype {name!r}; allowed: {", ".join(DTYPES)}')
  return DTYPES.get(name)


class Dense(nn.Module):
  """[..., d] -> [..., features], by one two-dimensional matrix product.

  Leading axes are flattened first: with three axes the backward pass contracts two of them, for
  which XLA on CPU picks transposing layouts (2.7 times slower on an MLP block of 128x49 tokens).
  """

  features: int
  use_bias: bool = True
  kernel_init: Callable = nn.initializers.lecun_normal()
  bias_init: Callable = nn.initializers.zeros_init()
  dtype: Any = None  # of the product; None: that of the input and parameters

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param('kernel', self.kernel_init, (x.shape[-1], self.features), jnp.float32)
    bias = self.param('bias', self.bias_init, (self.features,)) if self.use_bias else None
    dtype = self.dtype or jnp.result_type(x, jnp.float32)
    rows = x.reshape(-1, x.shape[-1]).astype(dtype)
    y = rows @ kernel.astype(dtype)
    if bias is not None:
      y = y + bias.astype(dtype)
    y = y.reshape(*x.shape[:-1], self.features)
    # where kernels are split over the mesh, XLA would split the features and not the examples
    return constrain_batch(y) if y.ndim > 1 else y
