"""KL(p_data || p_theta): maximum likelihood, by any kind of likelihood that a model has."""

import jax
import jax.numpy as jnp

from genjax import prob
from genjax.numerics import conditions, mcmc
from genjax.numerics.shapes import match
from genjax.objectives import check
from genjax.types import Aux, BadInput, DataSpec, Estimator, Model, Objective, Player


def fit(model: Model) -> Objective:
  """Returns the objective E_data[-log p_theta(x)], minimised in one step by `Model.fit`."""
  return Objective(init=_init(model), players=(), model=model, fit=model.fit)


def exact(model: Model) -> Objective:
  """Returns one player on E_data[-log p_theta(x)] in nats, by the exact density. Metric: nll."""

  def loss(params, carry, batch, rng, step):
    nll = -model.log_prob(params['model'], batch, rng)
    return nll.mean(), Aux({'nll': nll.mean()}, carry)

  return Objective(_init(model), (Player('model', loss, ('model',)),), model)


def estimate(model: Model) -> Objective:
  """Returns one player on E_data[-log p_theta(x)] in nats, by an unbiased estimate of log p_theta.

  Data with levels: of a bound on it. Metrics: nll, and the terms of the estimate.
  """

  def loss(params, carry, batch, rng, step):
    terms = model.log_prob_estimate(params['model'], batch, rng)
    nll = -sum(terms.values()).mean()
    return nll, Aux({**{name: term.mean() for name, term in terms.items()}, 'nll': nll}, carry)

  return Objective(_init(model), (Player('model', loss, ('model',)),), model)


def bound(model: Model, *, beta: float = 1.0, free_bits: float = 0.0) -> Objective:
  """Returns one player on -ELBO, an upper bound of E_data[-log p_theta(x)] in nats.

  beta: factor on the ELBO's KL terms (beta-VAE, Higgins et al. 2017).
  free_bits: least value of each KL term in nats, after averaging over the batch (1606.04934).

  A learned schedule is a second player. It minimises the variance of the bound's estimate on its
  own slice of the batch (2107.00630, App. I.2). Metrics: the terms under the paper's names, a KL
  with the sign of a KL. Raises BadInput for values out of range.
  """
  check.not_negative(beta=beta, free_bits=free_bits)
  loss = _bound(model, beta, free_bits)
  players = (Player('model', loss, ('model',)),)
  if model.diffusion is not None and model.diffusion.schedule_loss is not None:
    players = (Player('model', loss, ('model/network',)),
               Player('schedule', _variance_of_bound(model), ('model/schedule',)))
  return Objective(_init(model), players, model,
                   couples='free bits are compared with a mean over the batch' if free_bits else '')


def importance_weighted(model: Model, *, num_samples: int = 8) -> Objective:
  """Returns one player on -log 1/k sum_i w_i in nats, k = num_samples (IWAE, 1509.00519, Eq. 8).

  Metrics: iwae, elbo, effective_samples (of the weights, 1..k).
  """
  check.positive(num_samples=num_samples)

  def loss(params, carry, batch, rng, step):
    log_w = jax.vmap(lambda key: model.log_weight(params['model'], batch, key))(
        jax.random.split(rng, num_samples))  # [k, B]
    iwae, metrics = _of_weights(log_w)
    return -iwae, Aux(metrics, carry)

  return Objective(_init(model), (Player('model', loss, ('model',)),), model)


def doubly_reparametrised(model: Model, *, num_samples: int = 8) -> Objective:
  """Returns one player on the same bound as `importance_weighted`, by the gradient of 1810.04152.

  With z_i = z(eps_i; phi), w_i = p(x, z_i) / q(z_i | x) and w~_i = w_i / sum_j w_j, Eqs. 8 and 9:

    gradient in theta   sum_i w~_i   d/dtheta log p(x, z_i)
    gradient in phi     sum_i w~_i^2 d log w_i / dz_i  dz_i / dphi

  The parameters in the densities of log w_i are held fixed in the second line, which removes the
  score of q: the same mean, and a variance in phi that falls with k instead of rising. A parameter
  that both p and q use gets both lines. Metrics: those of `importance_weighted`.
  """
  check.positive(num_samples=num_samples)

  def loss(params, carry, batch, rng, step):
    theta, fixed = params['model'], jax.lax.stop_gradient(params['model'])
    latents = model.latents

    def weigh(key):
      z = latents.infer(theta, batch, key)
      log_w = latents.log_joint(fixed, batch, z) - latents.log_q(fixed, batch, key, z)
      return log_w, latents.log_joint(theta, batch, jax.lax.stop_gradient(z))

    log_w, log_joint = jax.vmap(weigh)(jax.random.split(rng, num_samples))  # both [k, B]
    iwae, metrics = _of_weights(jax.lax.stop_gradient(log_w))
    share = jax.lax.stop_gradient(jax.nn.softmax(log_w, 0))
    # the loss has the value of the bound, and the gradient of this sum
    surrogate = (share * log_joint + share**2 * log_w).sum(0).mean()
    return -(iwae + surrogate - jax.lax.stop_gradient(surrogate)), Aux(metrics, carry)

  return Objective(_init(model), (Player('model', loss, ('model',)),), model)


def _of_weights(log_w):
  """The importance-weighted bound [] of log weights [k, B], and its metrics."""
  iwae = prob.log_mean_exp(log_w, axis=0).mean()
  ess = jnp.exp(2.0 * jax.nn.logsumexp(log_w, 0) - jax.nn.logsumexp(2.0 * log_w, 0))
  return iwae, {'iwae': iwae, 'elbo': log_w.mean(), 'effective_samples': ess.mean()}


def contrastive_divergence(model: Model, *, spec: DataSpec, num_steps: int = 20,
                           step_size: float = 0.01, noise_scale: float = 1.0,
                           gradient_clip: float | None = None, restart: float = 0.05,
                           alpha: float = 0.01, init_scale: float = 1.0) -> Objective:
  """Returns one player on E_data[-log p_theta(x)], its gradient by persistent chains.

  num_steps: Langevin steps of each chain per update.
  step_size, noise_scale, gradient_clip (per component): see `numerics.mcmc.langevin`.
  restart: probability that a chain starts again from noise, per update.
  init_scale: scale of that noise: uniform on +-init_scale for data with levels, else normal.
  alpha: weight of E(x)^2, for data and chains (1903.08689).

  Persistent contrastive divergence: Tieleman 2008.

  Metrics: energy_data, energy_chains, contrast, regulariser. Raises BadInput for values out of
  range.
  """
  check.not_negative(alpha=alpha, noise_scale=noise_scale)
  check.fraction(restart=restart)
  check.positive(num_steps=num_steps, step_size=step_size, init_scale=init_scale)
  chain = {'num_steps': num_steps, 'step_size': step_size, 'noise_scale': noise_scale,
           'clip': gradient_clip}

  def noise(rng, shape):
    if spec.levels is None:
      return init_scale * jax.random.normal(rng, shape)
    return jax.random.uniform(rng, shape, minval=-init_scale, maxval=init_scale)

  def init(rng, batch):
    rng_model, rng_noise = jax.random.split(rng)
    # a chain keeps the label with which it started
    rows = {name: batch[name] for name in ('cond',) if name in batch}
    rows['chains'] = noise(rng_noise, batch['x'].shape)
    return {'model': model.init(rng_model, batch)}, {'rows': rows, 'rest': ()}

  def loss(params, carry, batch, rng, step):
    rng_cell, rng_restart, rng_noise, rng_chain = jax.random.split(rng, 4)
    theta, rows = params['model'], carry['rows']
    x_plus = prob.cell_noise(rng_cell, batch['x'], spec.levels)

    again = jax.random.bernoulli(rng_restart, restart, x_plus.shape[:1])
    start = jnp.where(match(again, x_plus), noise(rng_noise, x_plus.shape), rows['chains'])
    cond = conditions.where(again, batch['cond'], rows['cond']) if 'cond' in rows else None
    frozen = jax.lax.stop_gradient(theta)
    x_minus = mcmc.langevin(lambda x: model.energy(frozen, x, cond), rng_chain, start, **chain)

    energy_plus = model.energy(theta, x_plus, batch.get('cond'))
    energy_minus = model.energy(theta, x_minus, cond)
    contrast = energy_plus - energy_minus
    regulariser = alpha * (energy_plus**2 + energy_minus**2)
    rows = {'chains': x_minus} if cond is None else {'chains': x_minus, 'cond': cond}
    metrics = {'energy_data': energy_plus.mean(), 'energy_chains': energy_minus.mean(),
               'contrast': contrast.mean(), 'regulariser': regulariser.mean()}
    return (contrast + regulariser).mean(), Aux(metrics, {'rows': rows, 'rest': ()})

  return Objective(init, (Player('model', loss, ('model',)),), model)


def _init(model):
  return lambda rng, batch: ({'model': model.init(rng, batch)}, ())


def _bound(model, beta, free_bits):
  def loss(params, carry, batch, rng, step):
    terms = model.elbo(params['model'], batch, rng)
    is_kl = {name: 'kl' in name.split('_') for name in terms}
    if (beta != 1.0 or free_bits) and not any(is_kl.values()):
      raise BadInput(f'beta={beta} and free_bits={free_bits} act on KL terms, and this ELBO has '
                     f'none: {", ".join(terms)}; allowed: beta=1.0, free_bits=0.0')
    elbo = sum(terms.values())
    # an ELBO's term is minus the KL; the log shows the KL itself
    metrics = {name: -term.mean() if is_kl[name] else term.mean() for name, term in terms.items()}
    metrics['elbo'] = elbo.mean()
    weighed = []
    for name, term in terms.items():
      if is_kl[name]:
        # the term is minus a KL; below the free bits it has no gradient, for the whole batch
        term = beta * (jnp.where(-term.mean() > free_bits, term, -free_bits) if free_bits
                       else term)
      weighed.append(term)
    return -sum(weighed).mean(), Aux(metrics, carry)

  return loss


def _variance_of_bound(model):
  def loss(params, carry, batch, rng, step):
    square = model.diffusion.schedule_loss(params['model'], batch, rng).mean()
    return square, Aux({'bound_square': square}, carry)

  return loss


ESTIMATORS = {
    'fit': Estimator(('fit',), fit),
    'exact': Estimator(('log_prob',), exact),
    'bound': Estimator(('elbo',), bound),
    'estimate': Estimator(('log_prob_estimate',), estimate),
    'importance_weighted': Estimator(('log_weight',), importance_weighted),
    'doubly_reparametrised': Estimator(('latents',), doubly_reparametrised),
    'contrastive_divergence': Estimator(('energy',), contrastive_divergence),
}
