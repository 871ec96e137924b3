"""f-divergences from a mixture to one Gaussian, and their minimisers: numpy and scipy alone.

Nothing here is shared with the package: its generators, densities and optimisers are what is
tested. theta = (mean, log of the diagonal of L, lower entry of L), covariance L L^T.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

# u -> f(u), f'(u), through y = log u; D_f(p || q) = E_q f(p / q)
GENERATORS = {
    'kl': (lambda y: np.exp(y) * y, lambda y: 1 + y),
    'reverse_kl': (lambda y: -y, lambda y: -np.exp(-y)),
    'js': (lambda y: np.exp(y) * y - (np.exp(y) + 1) * np.log((np.exp(y) + 1) / 2),
           lambda y: np.log(2 / (1 + np.exp(-y)))),
    'pearson': (lambda y: (np.exp(y) - 1) ** 2, lambda y: 2 * (np.exp(y) - 1)),
    'squared_hellinger': (lambda y: (np.exp(y / 2) - 1) ** 2, lambda y: 1 - np.exp(-y / 2)),
    'jeffreys': (lambda y: (np.exp(y) - 1) * y, lambda y: 1 + y - np.exp(-y)),
}


class Target(NamedTuple):
  """Equal Gaussians of one standard deviation, on the nodes of a square grid."""

  nodes: np.ndarray  # [M, 2]
  cell: float
  log_p: np.ndarray  # [M]
  centres: np.ndarray
  std: float


def target(centres, std: float, edge: float, step: float) -> Target:
  """The midpoint rule on (-edge, edge)^2, spectrally accurate for what decays inside it."""
  axis = np.arange(-edge + step / 2, edge, step)
  nodes = np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2)
  centres = np.asarray(centres, np.float64)
  square = ((nodes[:, None] - centres) ** 2).sum(-1) / std**2
  log_p = np.logaddexp.reduce(-0.5 * square, axis=1)
  return Target(nodes, step**2, log_p - np.log(len(centres) * 2 * np.pi * std**2), centres, std)


def unpack(theta):
  """mean [2] and L [2, 2]."""
  return theta[:2], np.array([[np.exp(theta[2]), 0.0], [theta[4], np.exp(theta[3])]])


def pack(mean, covariance) -> np.ndarray:
  """theta of N(mean, covariance)."""
  factor = np.linalg.cholesky(covariance)
  return np.array([*mean, np.log(factor[0, 0]), np.log(factor[1, 1]), factor[1, 0]])


def log_normal(theta, nodes):
  """log q [M] and its gradient in theta [M, 5]."""
  mean, factor = unpack(theta)
  inverse = np.linalg.inv(factor)
  z = (nodes - mean) @ inverse.T
  log_q = -0.5 * (z**2).sum(-1) - np.log(2 * np.pi) - theta[2] - theta[3]
  pull = z @ inverse  # the gradient in x is its negative
  return log_q, np.stack([pull[:, 0], pull[:, 1], pull[:, 0] * z[:, 0] * factor[0, 0] - 1,
                          pull[:, 1] * z[:, 1] * factor[1, 1] - 1, pull[:, 1] * z[:, 0]], -1)


def divergence(name: str, theta, p: Target):
  """D_f(p || q_theta) and its gradient, E_q (f(u) - u f'(u)) grad log q."""
  log_q, slope = log_normal(np.asarray(theta, np.float64), p.nodes)
  f, df = GENERATORS[name]
  # below e^-600 of q nothing is left of either term; the clip only keeps exp finite
  y = np.clip(p.log_p - log_q, -600, 600)
  q = np.exp(log_q) * p.cell
  value, weight = q * f(y), q * (f(y) - np.exp(y) * df(y))
  used = q > 0
  return value[used].sum(), weight[used] @ slope[used]


def minimise(name: str, theta, p: Target):
  """The local minimiser that BFGS reaches from theta, and the divergence there."""
  found = minimize(lambda theta: divergence(name, theta, p), theta, jac=True, method='BFGS',
                   options={'gtol': 1e-8, 'maxiter': 500})
  return found.x, found.fun


def distance(theta, best) -> tuple[float, float]:
  """How far theta is from best, in best's scale: of the means, and of the standard deviations.

  |L*^-1 (m - m*)|, and the largest |s - 1| over the singular values s of L*^-1 L.
  """
  (mean, factor), (mean_best, factor_best) = unpack(np.asarray(theta)), unpack(np.asarray(best))
  inverse = np.linalg.inv(factor_best)
  stretch = np.linalg.svd(inverse @ factor, compute_uv=False)
  return np.linalg.norm(inverse @ (mean - mean_best)), np.abs(stretch - 1).max()
