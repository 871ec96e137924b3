"""Implicit model: a generator network maps noise to data; it has samples but no density.

x = g(z), z ~ N(0, I), as in GANs (1406.2661). The objective chooses the divergence that trains g.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import DataSpec, Model


def make(spec: DataSpec, generator: Callable, *, latent_dim: int | None = None) -> Model:
  """Returns a generator: init, sample, rsample; one network evaluation per sample.

  generator: network role.
  latent_dim: dimension of z; None: 32, for vectors of up to 8 elements 8.
  With levels, tanh bounds the outputs to the cells of the grid, |x| <= 1 + 1 / (L - 1), so that the
  outermost levels need no saturation.
  """
  if latent_dim is None:
    latent_dim = 8 if int(np.prod(spec.shape)) <= 8 else 32
  edge = None if spec.levels is None else 1.0 + 1.0 / (spec.levels - 1)
  net = generator(out=1)

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, latent_dim)), None)

  def rsample(params, rng, n, cond):
    x, _ = net.apply(params, jax.random.normal(rng, (n, latent_dim)), cond)
    x = x[..., 0]
    return x if edge is None else edge * jnp.tanh(x)

  def sample(params, rng, n, cond):
    return rsample(params, rng, n, cond), 1

  return Model(init, sample=sample, rsample=rsample)
