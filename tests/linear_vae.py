"""A VAE for which everything is known: one latent, linear networks."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import DataSpec
from tests.networks import family


def mlps(features, dropout=0.0):
  return {'posterior': {'features': features, 'dropout': dropout},
          'decoder': {'features': features}}


def linear_vae():
  """x = W z + b + s eps with one z; the encoder is its exact posterior. -> log N(x), too."""
  W, b, s = np.asarray([[1.5, -0.5]]), np.asarray([0.3, 1.0]), np.asarray([0.7, 0.4])
  precision = 1.0 + float((W ** 2 / s ** 2).sum())
  std = precision ** -0.5
  gain = (W / s ** 2 / precision)[0]
  raw_std = np.log(np.expm1(std - 1e-4)) - 0.5
  params = {
      'posterior': {'out': {'kernel': np.stack([gain, 0 * gain], 1),
                            'bias': np.asarray([-(gain @ b), raw_std])}},
      'decoder': {'out': {'kernel': W, 'bias': b}}, 'log_std': np.log(s)}
  params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  x = np.random.default_rng(0).normal(size=(16, 2)) * 1.5
  cov = W.T @ W + np.diag(s ** 2)
  r = x - b
  log_p = -0.5 * np.einsum('bi,ij,bj->b', r, np.linalg.inv(cov), r) - np.log(
      2 * np.pi) - 0.5 * np.linalg.slogdet(cov)[1]
  model = family('vae', DataSpec((2,), None, None), mlps(()), latent_dim=1)
  return model, params, {'x': jnp.asarray(x, jnp.float32)}, log_p
