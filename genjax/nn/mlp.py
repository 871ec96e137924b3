"""A multilayer perceptron: generators, critics, posteriors, conditioners, of vectors and images.

It flattens its input and reshapes its output, so that it is of three kinds: to_vector, from_vector
and conditioner.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genjax.nn.dense import Dense
from genjax.nn.embed import condition_of
from genjax.types import BadInput

ACTIVATIONS = {
    'silu': nn.silu, 'relu': nn.relu, 'gelu': nn.gelu, 'tanh': nn.tanh, 'softplus': nn.softplus,
    'elu': nn.elu, 'leaky_relu': lambda x: nn.leaky_relu(x, 0.2)}
SMALL = 8  # largest number of elements of data for which narrower layers suffice


def activation_fn(name: str):
  """The activation of that name; BadInput if there is none."""
  if name not in ACTIVATIONS:
    raise BadInput(f'unknown activation {name!r}; allowed: {", ".join(sorted(ACTIVATIONS))}')
  return ACTIVATIONS[name]


class MLP(nn.Module):
  """x [B, ...] -> float32 [B, out]; with a shape, [B, *shape, out].

  Hidden layers are Dense, LayerNorm (if norm), activation, dropout.

  features: widths of the hidden layers; None: (256, 256), and (128, 128) if the data (the output if
    it has a shape, else x) have up to 8 elements.
  residual: add each hidden layer to the one before it if the widths agree.
  zero_out: the last layer, and with it the output, is zero at initialisation.
  embed: width of the embedding of cond, which is concatenated with x.
  dtype: of the hidden products.
  """

  features: tuple[int, ...] | None = None
  out: int = 1
  activation: str = 'silu'
  norm: bool = False
  residual: bool = False
  dropout: float = 0.0
  zero_out: bool = False
  embed: int = 32
  shape: tuple[int, ...] | None = None
  num_classes: int = 0
  context: int = 0
  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array, cond=None, deterministic: bool = True) -> jax.Array:
    act, size = activation_fn(self.activation), int(np.prod(self.shape or x.shape[1:]))
    x = x.reshape(x.shape[0], -1)
    condition = condition_of(self, self.embed, cond, x.shape[0], 1.0)  # initially of the scale of x
    x = x if condition is None else jnp.concatenate([x, condition], -1)
    features = ((128,) if size <= SMALL else (256,)) * 2 if self.features is None else self.features
    for i, width in enumerate(features):
      h = Dense(width, dtype=self.dtype, name=f'hidden_{i}')(x)
      if self.norm:
        h = nn.LayerNorm(name=f'norm_{i}')(h)
      h = act(h)
      if self.dropout > 0.0:
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
      x = x + h if self.residual and i and h.shape == x.shape else h
    init = nn.initializers.zeros_init() if self.zero_out else nn.initializers.lecun_normal()
    count = 1 if self.shape is None else size
    out = Dense(self.out * count, kernel_init=init, name='out')(x).astype(jnp.float32)
    if self.shape is None:
      return out
    # the outputs of one element are not adjacent in memory, so that splitting them copies nothing
    return out.reshape(-1, self.out, count).swapaxes(1, 2).reshape(-1, *self.shape, self.out)
