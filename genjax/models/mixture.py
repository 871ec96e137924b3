"""Mixtures: of Gaussians for continuous x, of products of categoricals for data with levels.

Fitted by our own EM, or trained by gradient under any objective. Samples of the Gaussian mixture
are differentiable in all parameters by implicit reparameterisation.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.models import categorical_mixture, gaussian
from genjax.models.gaussian import flatten
from genjax.numerics import em
from genjax.numerics.triangular import forward_substitution
from genjax.types import BadInput, DataSpec, Model

COVARIANCES = ('full', 'diagonal')


def make(spec: DataSpec, *, num_components: int | None = None, covariance: str | None = None,
         discretised: bool | None = None, smoothing: float = 0.03, marginal_prior: float = 6.0,
         variance_floor: float = 1e-6, covariance_prior: float | None = None,
         init_scale: float = 1.0, tolerance: float = 1e-5, max_steps: int = 500,
         num_restarts: int = 1) -> Model:
  """Returns a mixture over x; `cond` is ignored.

  num_components: None: 50 if discretised, else 20.
  covariance: of Gaussians, 'full' (default) or 'diagonal'.
  discretised: products of categoricals over pixels, with an exact mass; None: for data with levels,
    on which Gaussians are a dequantised density.
  smoothing, marginal_prior: see `categorical_mixture.make`.
  variance_floor: added to each variance, as a share of the data's mean variance.
  covariance_prior: pseudo-observations per component, see `em_step`; None: 5 with levels, else 0.
  init_scale: for training by gradient: means init_scale z, covariances init_scale^2 I.
  tolerance: EM (from greedy k-means++ seeds; the best of num_restarts) ends after a step that gains
    less, in nats per dimension, or after max_steps. Raises BadInput for illegal values.
  """
  discretised = spec.levels is not None if discretised is None else discretised
  _check(spec, discretised, covariance, num_components)
  loop = {'tolerance': tolerance * int(np.prod(spec.shape)), 'max_steps': max_steps}
  if discretised:
    return categorical_mixture.make(spec, num_components or 50, smoothing, marginal_prior, loop,
                                    num_restarts)
  covariance = covariance or 'full'
  gaussian.check_covariance(covariance, COVARIANCES)
  num = num_components or 20
  dim = int(np.prod(spec.shape))
  prior = 5.0 if spec.levels is not None else 0.0
  prior = prior if covariance_prior is None else covariance_prior

  def init(rng, batch):
    del batch
    means = init_scale * jax.random.normal(rng, (num, dim))
    return init_params(means, jnp.log(init_scale), covariance)

  def rsample(params, rng, n, cond):
    del cond
    return implicit_sample(params, rng, n).reshape(n, *spec.shape)

  def sample_and_log_prob(params, rng, n, cond):
    x = rsample(params, rng, n, cond)
    return x, log_density(params, flatten(x))

  def fit(rng, x_train):
    x = jnp.asarray(flatten(x_train), jnp.float32)
    extra = gaussian.cell_variance(spec) + variance_floor * jnp.var(x, 0).mean()
    run = partial(fit_em, num=num, covariance=covariance, extra=extra, prior=prior,
                  **loop)
    return em.best(lambda key: run(key, x), rng, num_restarts)

  return prob.dequantise(Model(
      init=init,
      # no network is evaluated
      sample=lambda params, rng, n, cond: (draw(params, rng, n).reshape(n, *spec.shape), 0),
      rsample=rsample,
      log_prob=lambda params, batch, rng: log_density(params, flatten(batch['x'])),
      sample_and_log_prob=sample_and_log_prob,
      energy=lambda params, x, cond: -log_density(params, flatten(x)),
      fit=fit), spec)


def _check(spec: DataSpec, discretised: bool, covariance: str | None,
           num_components: int | None) -> None:
  if discretised and spec.levels is None:
    raise BadInput('discretised=True needs data with levels; continuous data: False or None')
  if discretised and covariance is not None:
    raise BadInput(f'covariance={covariance!r} belongs to the Gaussian mixture; on data with '
                   'levels ask for it with discretised=False')
  if num_components is not None and num_components < 1:
    raise BadInput(f'num_components {num_components} is not allowed; it is at least 1')


def init_params(means, log_scale, covariance: str) -> dict:
  """Parameters of K equal components N(means [K, D], exp(2 log_scale) I).

  {'logits' [K], 'mean' [K, D], 'log_scale' [K, D], 'lower' [K, D, D] (full only)}. A component is
  given by its whitening z = A (x - mean): A, the inverse of the Cholesky factor of the covariance,
  has the diagonal exp(-log_scale) and the strictly lower part of `lower`. exp(log_scale) is thus
  the standard deviation of x_d given x_<d, and a density is a matrix product.
  """
  num, dim = means.shape
  params = {'logits': jnp.zeros(num), 'mean': means,
            'log_scale': jnp.full((num, dim), log_scale, jnp.float32)}
  if covariance == 'full':
    params['lower'] = jnp.zeros((num, dim, dim))
  return params


def whitening(params: dict) -> jax.Array:
  """The matrices A [K, D, D] of full covariances."""
  diagonal = jax.vmap(jnp.diag)(jnp.exp(-params['log_scale']))
  return diagonal + jnp.tril(params['lower'], -1)


def whiten(params: dict, x) -> jax.Array:
  """z_k = A_k (x - mean_k): x [B, D] -> [K, B, D]."""
  centred = x - params['mean'][:, None]
  if 'lower' not in params:
    return centred * jnp.exp(-params['log_scale'])[:, None]
  return jnp.einsum('kbe,kde->kbd', centred, whitening(params), precision='highest')


def joint_log_density(params: dict, x) -> jax.Array:
  """log pi_k + log N(x; mean_k, S_k): x [B, D] -> [B, K] nats."""
  log_p = prob.normal_log_prob(whiten(params, x)).sum(-1).T - params['log_scale'].sum(-1)
  return log_p + jax.nn.log_softmax(params['logits'])


def log_density(params: dict, x) -> jax.Array:
  """log sum_k pi_k N(x; mean_k, S_k): x [B, D] -> [B] nats."""
  return jax.nn.logsumexp(joint_log_density(params, x), axis=-1)


def draw(params: dict, rng, n: int) -> jax.Array:
  """n exact draws [n, D] of the Gaussian mixture."""
  rng_k, rng_z = jax.random.split(rng)
  num, dim = params['mean'].shape
  k = jax.random.categorical(rng_k, params['logits'], shape=(n,))
  z = jax.random.normal(rng_z, (n, dim))
  if 'lower' not in params:
    return params['mean'][k] + z * jnp.exp(params['log_scale'][k])

  def add(x, component):  # one component at a time: a factor for each draw would not fit
    index, mean, a = component
    factor = jax.scipy.linalg.solve_triangular(a, jnp.eye(dim), lower=True)
    drawn = mean + jnp.matmul(z, factor.T, precision='highest')
    return jnp.where((k == index)[:, None], drawn, x), None

  return jax.lax.scan(add, z, (jnp.arange(num), params['mean'], whitening(params)))[0]


def rosenblatt(params: dict, x) -> jax.Array:
  """F_d = P(X_d <= x_d | x_<d) under the mixture, up to a constant: x [D] -> [D].

  F_d = sum_k r_k(x_<d) Phi(z_kd), with z_k = A_k (x - mean_k) and r_k the responsibilities given
  the dimensions before d. An F_d above 1/2 is given as F_d - 1, which has the same derivatives
  and keeps their digits in the upper tail.
  """
  z = whiten(params, x[None])[:, 0]  # [K, D]
  log_terms = prob.normal_log_prob(z) - params['log_scale']
  before = jnp.cumsum(log_terms, axis=1) - log_terms  # the sum over the dimensions before d
  r = jax.nn.softmax(params['logits'][:, None] + before, axis=0)
  below, above = jax.scipy.special.ndtr(z), jax.scipy.special.ndtr(-z)
  upper = (r * below).sum(0) > 0.5
  return (r * jnp.where(upper, -above, below)).sum(0)


def implicit_sample(params: dict, rng, n: int) -> jax.Array:
  """n draws [n, D], differentiable once in params, weights included (pathwise).

  x = sg(x) - sg(J^-1) (F(sg(x); params) - sg(F)), J = dF/dx, F the `rosenblatt` transform: the
  implicit reparameterisation of 1805.08498 (and 1607.05690). J is lower triangular; forming it
  costs D evaluations of F a draw, so it is meant for small D.
  """
  x = jax.lax.stop_gradient(draw(params, rng, n))

  def attach(x):
    value = rosenblatt(params, x)
    jacobian = jax.lax.stop_gradient(jax.jacfwd(partial(rosenblatt, params))(x))
    return x - forward_substitution(jacobian, value - jax.lax.stop_gradient(value))

  return jax.vmap(attach)(x)


def em_step(params: dict, x, extra, prior, total):
  """One EM step on x [N, D]: new params, and the objective [] at the old ones, nats per example.

  extra: variance of independent noise u in each dimension, integrated out: with one set of
  responsibilities for all u, r_k ~ pi_k exp(E_u log N_k(x + u)), the objective bounds
  E_u log p(x + u) from below, and extra stands on the diagonal of every covariance.
  prior: pseudo-observations a component whose covariance is `total` [D, D] (inverse Wishart);
  the objective then includes -prior / 2N sum_k (log|S_k| + tr(S_k^-1 total)). Never decreases.
  """
  tr_inverse, tr_total = traces(params, total)
  joint = jax.lax.map(  # one component at a time: whitened copies of all data would not fit
      lambda one: joint_log_density(jax.tree.map(lambda p: p[None], one), x)[:, 0],
      {**params, 'logits': jnp.zeros_like(params['logits'])}).T
  joint = joint + jax.nn.log_softmax(params['logits']) - 0.5 * extra * tr_inverse
  penalty = 2.0 * params['log_scale'].sum() + tr_total.sum()
  objective = jax.nn.logsumexp(joint, axis=-1).mean() - 0.5 * prior / x.shape[0] * penalty
  covariance = 'full' if 'lower' in params else 'diagonal'
  return m_step(jax.nn.softmax(joint, axis=-1), x, extra, prior, total, covariance), objective


def traces(params: dict, total) -> tuple[jax.Array, jax.Array]:
  """tr(S_k^-1) [K] and tr(S_k^-1 total) [K]."""
  if 'lower' not in params:
    precision = jnp.exp(-2.0 * params['log_scale'])
    return precision.sum(-1), (precision * jnp.diag(total)).sum(-1)
  a = whitening(params)
  return (a**2).sum((1, 2)), (jnp.matmul(a, total, precision='highest') * a).sum((1, 2))


def m_step(r, x, extra, prior, total, covariance: str) -> dict:
  """The parameters that maximise the expected objective of `em_step` under r [N, K]."""
  size = jnp.maximum(r.sum(0), 1e-6)  # a component that lost all its points keeps a finite mean
  eye = jnp.eye(x.shape[1])

  def component(one):
    r_k, n_k = one
    mean = jnp.matmul(r_k, x, precision='highest') / n_k
    centred = x - mean
    if covariance == 'diagonal':
      scatter = jnp.matmul(r_k, centred**2, precision='highest')
      variance = (scatter + n_k * extra + prior * jnp.diag(total)) / (n_k + prior)
      return {'mean': mean, 'log_scale': 0.5 * jnp.log(variance)}
    scatter = jnp.matmul((r_k[:, None] * centred).T, centred, precision='highest')
    cov = (scatter + n_k * extra * eye + prior * total) / (n_k + prior)
    factor = jnp.linalg.cholesky(cov)
    a = jax.scipy.linalg.solve_triangular(factor, eye, lower=True)
    return {'mean': mean, 'log_scale': jnp.log(jnp.diag(factor)), 'lower': jnp.tril(a, -1)}

  # by lax.map: batched LAPACK calls can deadlock, see numerics/triangular.py
  return {'logits': jnp.log(size / size.sum()), **jax.lax.map(component, (r.T, size))}


@partial(jax.jit, static_argnames=('num', 'covariance', 'max_steps'))
def fit_em(rng, x, *, num: int, covariance: str, extra, prior, tolerance, max_steps: int):
  """EM on x [N, D] from greedy k-means++ seeds: params, objective [], number of steps."""
  centred = x - x.mean(0)
  total = jnp.matmul(centred.T, centred, precision='highest') / x.shape[0]
  total = total + extra * jnp.eye(x.shape[1])
  seeds = x[em.seed_rows(rng, x, num)]
  params = m_step(em.nearest_seed(x, seeds), x, extra, prior, total, covariance)
  return em.iterate(lambda params: em_step(params, x, extra, prior, total), params,
                    tolerance=tolerance, max_steps=max_steps)
