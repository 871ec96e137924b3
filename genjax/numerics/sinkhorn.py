"""The debiased Sinkhorn divergence of two point clouds, through ott-jax."""

import jax.numpy as jnp


def sinkhorn_divergence(x, y, *, epsilon: float = 0.05, relative: bool = True,
                        max_iterations: int = 500, threshold: float = 1e-3):
  """S_eps(x, y) = OT_eps(x, y) - (OT_eps(x, x) + OT_eps(y, y)) / 2, a scalar >= 0.

  x [N, ...], y [M, ...]: points of equal weight, flattened; the cost is the squared Euclidean
  distance, so S tends to W2^2 as epsilon goes to 0 and to |mean x - mean y|^2 as it grows
  (Feydy et al., 1810.08278). epsilon is in units of cost, or
  with `relative` in units of the mean cost between x and y, which takes no gradient. The solver
  stops at max_iterations or where the marginals are off by less than threshold (L1). Differentiable
  once in x and y by the envelope theorem: the potentials take no gradient.
  """
  # ott takes seconds to import, and most programs never need it
  from ott.geometry.pointcloud import PointCloud
  from ott.tools.sinkhorn_divergence import sinkhorn_divergence as solve

  x, y = (jnp.asarray(z, jnp.float32).reshape(z.shape[0], -1) for z in (x, y))
  value, _ = solve(
      PointCloud, x, y, epsilon=epsilon, relative_epsilon='mean' if relative else None,
      solve_kwargs={'max_iterations': max_iterations, 'threshold': threshold})
  return value
