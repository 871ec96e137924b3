"""A sampler of a user's own: the denoised noise, in one step."""

import jax.numpy as jnp


def one_jump(denoise, path, rng, x_T, cond, *, cost=jnp.ones_like, at: float = 1.0):
  """(E[x_0 | x_T], the evaluations of the network)."""
  del path
  t = jnp.full(x_T.shape[0], at)
  return denoise(x_T, t, cond, rng), cost(t).max()
