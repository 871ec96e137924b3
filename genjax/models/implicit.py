"""Implicit model: a generator network pushes noise to data; samples, no density.

x = g(z), z ~ N(0, I), as in GANs (1406.2661); which divergence trains g is the objective's choice.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genjax.nn.embed import LabelEmbed
from genjax.nn.mlp import MLP
from genjax.types import BadInput, DataSpec, Model


class Generator(nn.Module):
  """z [n, latent_dim], cond int32 [n] or None -> [n, size]."""

  size: int
  hidden: tuple[int, ...]
  activation: str
  norm: bool
  edge: float | None
  num_classes: int | None

  @nn.compact
  def __call__(self, z: jax.Array, cond: jax.Array | None) -> jax.Array:
    if self.num_classes is not None:
      label = LabelEmbed(z.shape[-1], self.num_classes, 1.0, name='label')(cond, z.shape[0])
      z = jnp.concatenate([z, label], -1)
    x = MLP(self.hidden, self.size, self.activation, self.norm, name='net')(z)
    return x if self.edge is None else self.edge * jnp.tanh(x)


def make(spec: DataSpec, *, latent_dim: int | None = None, hidden: tuple[int, ...] | None = None,
         activation: str = 'relu', norm: bool = False, conditional: bool = False) -> Model:
  """Returns a generator: init, sample, rsample; one network evaluation per sample.

  latent_dim: dimension of z; None: 32 (vectors of up to 8 elements: 8). hidden: the widths.
  Data with levels: outputs are bounded by tanh to the cells of the grid, |x| <= 1 + 1 / (L - 1),
  so that the outermost levels need no saturation. conditional: z is joined by an embedding of
  cond, in which num_classes, or None, is "no label".
  """
  size = int(np.prod(spec.shape))
  if conditional and spec.num_classes is None:
    raise BadInput('conditional = True, but the data have no labels; allowed: False')
  small = size <= 8
  latent_dim = (8 if small else 32) if latent_dim is None else latent_dim
  hidden = ((128, 128) if small else (256, 256)) if hidden is None else tuple(hidden)
  num_classes = spec.num_classes if conditional else None
  edge = None if spec.levels is None else 1.0 + 1.0 / (spec.levels - 1)
  net = Generator(size, hidden, activation, norm, edge, num_classes)

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, latent_dim)), jnp.zeros((1,), jnp.int32))['params']

  def rsample(params, rng, n, cond):
    z = jax.random.normal(rng, (n, latent_dim))
    return net.apply({'params': params}, z, cond).reshape(n, *spec.shape)

  def sample(params, rng, n, cond):
    return rsample(params, rng, n, cond), 1

  return Model(init, sample=sample, rsample=rsample)
