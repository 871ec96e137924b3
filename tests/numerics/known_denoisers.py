"""Gaussian paths in the precision of t, and exact denoisers of Gaussians and mixtures on them."""

import jax
import jax.numpy as jnp
import numpy as np

MEAN = np.array([0.7, -0.4])
COV = np.array([[0.8, 0.3], [0.3, 0.4]])

# three modes of unequal weight and shape in the plane
WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[-0.8, 0.2], [0.9, 0.7], [0.3, -0.9]])
COVS = np.array([[[0.04, 0.02], [0.02, 0.09]], [[0.08, -0.03], [-0.03, 0.05]],
                 [[0.02, 0.0], [0.0, 0.03]]])


def vp(t):
  """Cosine between finite ends."""
  return jnp.sin(5e-3 + 1.56 * (1.0 - t)), jnp.cos(5e-3 + 1.56 * (1.0 - t))


def linear(t):
  """Flow matching: no signal at t = 1, no noise at t = 0."""
  return 1.0 - t, t


def ve(t):
  return jnp.ones_like(t), 0.002 * (80.0 / 0.002) ** t


def sub_vp(t):
  """2011.13456, Eq. 35: sigma = 1 - alpha^2."""
  alpha = jnp.exp(-0.25 * t**2 * 19.9 - 0.5 * t * 0.1)
  return alpha, -jnp.expm1(2.0 * jnp.log(alpha))


PATHS = {'vp': vp, 'linear': linear, 've': ve, 'sub_vp': sub_vp}


def gaussian(path, mean=MEAN, cov=COV):
  """E[x_0 | x_t] = mu + a S (a^2 S + s^2 I)^-1 (x_t - a mu); cond and rng are ignored."""
  def denoise(x_t, t, cond=None, rng=None):
    m, values, vectors = (jnp.asarray(a, x_t.dtype) for a in (mean, *np.linalg.eigh(cov)))
    alpha, sigma = (a[:, None] for a in path(t))
    z = (x_t - alpha * m) @ vectors
    return m + (alpha * values / (alpha**2 * values + sigma**2) * z) @ vectors.T

  return denoise


def mixture(path, weights=WEIGHTS, means=MEANS, covs=COVS):
  """E[x_0 | x_t] of a Gaussian mixture, by responsibilities (any dimension)."""
  def denoise(x_t, t, cond=None, rng=None):
    log_w, m, values, vectors = (
        jnp.asarray(a, x_t.dtype) for a in (np.log(weights), means, *np.linalg.eigh(covs)))
    alpha, sigma = (a[:, None, None] for a in path(t))
    x = x_t.reshape(x_t.shape[0], 1, -1)
    z = jnp.einsum('bkd,kde->bke', x - alpha * m, vectors)
    var = alpha**2 * values + sigma**2
    log_p = log_w - 0.5 * (z**2 / var + jnp.log(var)).sum(-1)
    each = m + jnp.einsum('bke,kde->bkd', alpha * values / var * z, vectors)
    return (jax.nn.softmax(log_p)[..., None] * each).sum(1).reshape(x_t.shape)

  return denoise


def mixture_moments(weights=WEIGHTS, means=MEANS, covs=COVS):
  """Mean [d] and covariance [d, d] of a mixture."""
  mean = weights @ means
  return mean, np.einsum('k,kde->de', weights, covs + np.einsum('kd,ke->kde', means - mean,
                                                                means - mean))


def ode_map(path, x_T, t_min, mean=MEAN, cov=COV):
  """The Gaussian's probability-flow map from t = 1 to t_min, then the posterior mean."""
  values, vectors = np.linalg.eigh(cov)
  (a_1, s_1), (a_0, s_0) = path(jnp.ones(1)), path(jnp.full(1, t_min))
  scale = jnp.sqrt((a_0**2 * values + s_0**2) / (a_1**2 * values + s_1**2))
  z = ((x_T - a_1 * mean) @ vectors) * scale  # in the eigenbasis, at t_min
  return mean + (z * a_0 * values / (a_0**2 * values + s_0**2)) @ vectors.T
