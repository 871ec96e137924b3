"""A multilayer perceptron: generators, critics, encoders, denoisers of vectors."""

import jax
from flax import linen as nn

from genjax.nn.dense import Dense
from genjax.types import BadInput

ACTIVATIONS = {
    'silu': nn.silu, 'relu': nn.relu, 'gelu': nn.gelu, 'tanh': nn.tanh, 'softplus': nn.softplus,
    'elu': nn.elu, 'leaky_relu': lambda x: nn.leaky_relu(x, 0.2)}


def activation_fn(name: str):
  """The function of an activation's name; BadInput when there is none."""
  if name not in ACTIVATIONS:
    raise BadInput(f'unknown activation {name!r}; allowed: {", ".join(sorted(ACTIVATIONS))}')
  return ACTIVATIONS[name]


class MLP(nn.Module):
  """[..., d] -> [..., out]: hidden layers Dense, LayerNorm (if norm), activation, dropout.

  residual: a hidden layer is added to its input wherever the widths agree. zero_out: the last
  layer starts at zero, so that the network starts as the constant zero.
  """

  features: tuple[int, ...] = (256, 256)
  out: int = 1
  activation: str = 'silu'
  norm: bool = False
  residual: bool = False
  dropout: float = 0.0
  zero_out: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, deterministic: bool = True) -> jax.Array:
    act = activation_fn(self.activation)
    for i, width in enumerate(self.features):
      h = Dense(width, name=f'hidden_{i}')(x)
      if self.norm:
        h = nn.LayerNorm(name=f'norm_{i}')(h)
      h = act(h)
      if self.dropout > 0.0:
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
      x = x + h if self.residual and h.shape == x.shape else h
    init = nn.initializers.zeros_init() if self.zero_out else nn.initializers.lecun_normal()
    return Dense(self.out, kernel_init=init, name='out')(x)
