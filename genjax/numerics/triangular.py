"""Triangular systems without LAPACK, for use under vmap."""

import jax
import jax.numpy as jnp


def forward_substitution(matrix, rhs) -> jax.Array:
  """Solves matrix y = rhs: matrix [D, D], of which only the lower triangle is read, rhs [D].

  For batches by vmap. jax.scipy's solve_triangular under vmap calls a batched LAPACK routine that
  blocks a thread of XLA's CPU pool while it waits for others of the same pool: with jaxlib 0.10.2
  on two cores, two such calls in one program were seen to deadlock.
  """
  def step(y, row):
    coefficients, value, i = row
    # y is still zero from i on, so the product reads the columns before i alone
    solved = (value - jnp.vdot(coefficients, y, precision='highest')) / coefficients[i]
    return y.at[i].set(solved), None

  start = jnp.zeros_like(rhs)
  return jax.lax.scan(step, start, (matrix, rhs, jnp.arange(rhs.shape[0])))[0]
