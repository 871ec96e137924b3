"""One Gaussian over the flattened x: exact density, reparameterised samples, closed-form fit."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.types import BadInput, DataSpec, Model

COVARIANCES = ('full', 'diagonal', 'isotropic')


def make(spec: DataSpec, *, covariance: str = 'full', init_mean: tuple[float, ...] = (0.0,),
         init_scale: float = 1.0, init_spread: float = 0.1, ridge: float = 1e-6) -> Model:
  """Returns the family N(mean, L L^T) over x flattened to [B, D]; `cond` is ignored.

  covariance: 'full', 'diagonal' or 'isotropic'.
  init_mean, init_spread: initially mean = init_mean (one number, or one per dimension) +
    init_spread z.
  init_scale: initially L = init_scale I.
  ridge: `fit` is maximum likelihood; if the smallest eigenvalue of the covariance is below ridge
    times the mean variance, it adds that to the diagonal.
  Data with levels are fitted as dequantised: the variance of a cell is added to the diagonal.
  Raises BadInput for an unknown covariance or an init_mean of another length.
  """
  check_covariance(covariance, COVARIANCES)
  dim = int(np.prod(spec.shape))
  if len(init_mean) not in (1, dim):
    raise BadInput(f'init_mean={init_mean!r} has {len(init_mean)} numbers; allowed: 1 or {dim}')
  unflatten = lambda x: x.reshape(-1, *spec.shape)

  def init(rng, batch):
    del batch
    mean = jnp.asarray(init_mean, jnp.float32) + init_spread * jax.random.normal(rng, (dim,))
    return init_params(mean, jnp.log(init_scale), covariance)

  def rsample_and_log_prob(params, rng, n):
    z = jax.random.normal(rng, (n, dim))
    return unflatten(colour(params, z)), log_prob_of_whitened(params, z)

  def log_prob(params, batch, rng):
    del rng
    return log_density(params, flatten(batch['x']))

  def fit(rng, x_train):
    del rng
    return fit_moments(flatten(np.asarray(x_train, np.float64)), covariance,
                       cell_variance(spec), ridge)

  return prob.dequantise(Model(
      init=init,
      # no network is evaluated
      sample=lambda params, rng, n, cond: (rsample_and_log_prob(params, rng, n)[0], 0),
      rsample=lambda params, rng, n, cond: rsample_and_log_prob(params, rng, n)[0],
      log_prob=log_prob,
      sample_and_log_prob=lambda params, rng, n, cond: rsample_and_log_prob(params, rng, n),
      energy=lambda params, x, cond: -log_density(params, flatten(x)),
      fit=fit), spec)


def flatten(x):
  """[B, ...] -> [B, D]."""
  return x.reshape(x.shape[0], -1)


def check_covariance(covariance: str, allowed: tuple[str, ...]) -> None:
  """Raises BadInput for a covariance that is not among the allowed ones."""
  if covariance not in allowed:
    raise BadInput(f'covariance {covariance!r} is unknown; allowed: {", ".join(allowed)}')


def cell_variance(spec: DataSpec) -> float:
  """Variance of the dequantisation noise per dimension: (2 / (L - 1))^2 / 12; 0 if continuous."""
  return 0.0 if spec.levels is None else (2.0 / (spec.levels - 1)) ** 2 / 12.0


def init_params(mean, log_scale, covariance: str) -> dict:
  """Parameters of N(mean [D], exp(2 log_scale) I).

  {'mean' [D], 'log_diag' [D] ([] if isotropic), 'lower' [D, D] (full only)}: L has the diagonal
  exp(log_diag) and the strictly lower part of `lower`.
  """
  dim = mean.shape[-1]
  params = {'mean': mean,
            'log_diag': jnp.full(() if covariance == 'isotropic' else (dim,), log_scale,
                                 jnp.float32)}
  if covariance == 'full':
    params['lower'] = jnp.zeros((dim, dim))
  return params


def factor(params: dict) -> jax.Array:
  """The Cholesky factor L [D, D] of a full covariance, from parameters with 'lower'."""
  return jnp.tril(params['lower'], -1) + jnp.diag(jnp.exp(params['log_diag']))


def whiten(params: dict, x) -> jax.Array:
  """z = L^-1 (x - mean): [B, D] -> [B, D]."""
  centred = x - params['mean']
  if 'lower' not in params:
    return centred * jnp.exp(-params['log_diag'])
  return jax.scipy.linalg.solve_triangular(factor(params), centred.T, lower=True).T


def colour(params: dict, z) -> jax.Array:
  """x = mean + L z: [B, D] -> [B, D], differentiable in params."""
  if 'lower' not in params:
    return params['mean'] + z * jnp.exp(params['log_diag'])
  return params['mean'] + jnp.matmul(z, factor(params).T, precision='highest')


def log_prob_of_whitened(params: dict, z) -> jax.Array:
  """log N(x; mean, L L^T) [B] in nats of the x whose whitened value is z [B, D]."""
  log_det = jnp.broadcast_to(params['log_diag'], z.shape[-1:]).sum()
  return prob.normal_log_prob(z).sum(-1) - log_det


def log_density(params: dict, x) -> jax.Array:
  """log N(x; mean, L L^T): x [B, D] -> [B] nats."""
  return log_prob_of_whitened(params, whiten(params, x))


def fit_moments(x: np.ndarray, covariance: str, extra_variance: float, ridge: float) -> dict:
  """Maximum-likelihood parameters from x float64 [N, D], with extra_variance on the diagonal."""
  mean = x.mean(0)
  if covariance != 'full':
    variance = x.var(0) + extra_variance
    small = ridge * max(variance.mean(), np.finfo(np.float32).tiny)
    variance = np.where(variance < small, variance + small, variance)
    variance = variance.mean() if covariance == 'isotropic' else variance
    return {'mean': _float32(mean), 'log_diag': _float32(0.5 * np.log(variance))}
  centred = x - mean
  cov = centred.T @ centred / len(x) + extra_variance * np.eye(x.shape[1])
  small = ridge * max(np.diag(cov).mean(), np.finfo(np.float32).tiny)
  if np.linalg.eigvalsh(cov)[0] < small:
    cov = cov + small * np.eye(x.shape[1])
  cholesky = np.linalg.cholesky(cov)
  return {'mean': _float32(mean), 'log_diag': _float32(np.log(np.diag(cholesky))),
          'lower': _float32(np.tril(cholesky, -1))}


def _float32(x) -> jax.Array:
  return jnp.asarray(x, jnp.float32)
