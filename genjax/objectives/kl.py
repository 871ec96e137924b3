"""KL(p_data || p_theta): maximum likelihood, by whatever likelihood the model has."""

import jax
import jax.numpy as jnp

from genjax import prob
from genjax.numerics import mcmc
from genjax.objectives import check
from genjax.types import Aux, BadInput, DataSpec, Model, Objective, Player

NEEDS = {
    'fit': ('fit',),
    'exact': ('log_prob',),
    'bound': ('elbo',),
    'importance_weighted': ('log_weight',),
    'contrastive_divergence': ('energy',),
}


def make(model: Model, *, estimator: str, spec: DataSpec, fit: bool = True, beta: float = 1.0,
         free_bits: float = 0.0, num_samples: int = 8, num_steps: int = 20,
         step_size: float = 0.01, noise_scale: float = 1.0, gradient_clip: float | None = None,
         restart: float = 0.05, alpha: float = 0.01, init_scale: float = 1.0) -> Objective:
  """Returns the objective E_data[-log p_theta(x)] in nats, or a bound or gradient of it.

  fit=False rules out the estimator 'fit' (closed form or EM), the first choice where it exists.
  'bound': beta scales the terms of the ELBO that are named a KL (beta-VAE); free_bits, in nats,
    is the least that each of these counts after averaging over the batch (1606.04934). A learned
    schedule is a second player, which minimises the variance of the bound's estimate and reads
    rows of its own (2107.00630, App. I.2).
  'importance_weighted': num_samples is k of -log 1/k sum_i w_i (IWAE, 1509.00519, Eq. 8).
  'contrastive_divergence': persistent chains (Tieleman 2008), moved by num_steps of Langevin
    dynamics (step_size, noise_scale, gradient_clip per component) per update; each is restarted
    with probability `restart` from noise: uniform on +-init_scale for data with levels, else
    normal of that scale; alpha regularises the energies' magnitude (1903.08689).
  Metrics under the papers' names: a KL is at least 0, where it is analytic. Raises BadInput for
  values out of range.
  """
  check.one_of('estimator', estimator, NEEDS)
  if estimator == 'fit':
    if not fit:
      raise BadInput("estimator='fit' and fit=False; allowed: fit=True, or another estimator")
    return Objective(init=_init(model), players=(), model=model, fit=model.fit)
  check.not_negative(beta=beta, free_bits=free_bits, alpha=alpha, noise_scale=noise_scale)
  check.fraction(restart=restart)
  check.positive(num_samples=num_samples, num_steps=num_steps, step_size=step_size,
                 init_scale=init_scale)
  if estimator == 'contrastive_divergence':
    chain = {'num_steps': num_steps, 'step_size': step_size, 'noise_scale': noise_scale,
             'clip': gradient_clip}
    return _contrastive_divergence(model, spec, chain, restart, alpha, init_scale)
  loss = {'exact': _exact(model), 'bound': _bound(model, beta, free_bits),
          'importance_weighted': _importance_weighted(model, num_samples)}[estimator]
  players = (Player('model', loss, ('model',)),)
  if model.schedule_loss is not None:
    players = (Player('model', loss, ('model/network',)),
               Player('schedule', _variance_of_bound(model), ('model/schedule',)))
  return Objective(_init(model), players, model,
                   couples='free bits are compared with a mean over the batch' if free_bits else '')


def _init(model):
  return lambda rng, batch: ({'model': model.init(rng, batch)}, ())


def _exact(model):
  def loss(params, carry, batch, rng, step):
    nll = -model.log_prob(params['model'], batch, rng)
    return nll.mean(), Aux({'nll': nll.mean()}, carry)

  return loss


def _bound(model, beta, free_bits):
  def loss(params, carry, batch, rng, step):
    terms = model.elbo(params['model'], batch, rng)
    is_kl = {name: 'kl' in name.split('_') for name in terms}
    if (beta != 1.0 or free_bits) and not any(is_kl.values()):
      raise BadInput(f'beta={beta} and free_bits={free_bits} act on KL terms, and this ELBO has '
                     f'none: {", ".join(terms)}; allowed: beta=1.0, free_bits=0.0')
    elbo = sum(terms.values())
    # the terms of an ELBO carry their signs; what is logged as a KL is the KL
    metrics = {name: -term.mean() if is_kl[name] else term.mean() for name, term in terms.items()}
    metrics['elbo'] = elbo.mean()
    weighed = []
    for name, term in terms.items():
      if is_kl[name]:
        # the term is minus a KL; below the free bits its gradient is off, for the whole batch
        term = beta * (jnp.where(-term.mean() > free_bits, term, -free_bits) if free_bits
                       else term)
      weighed.append(term)
    return -sum(weighed).mean(), Aux(metrics, carry)

  return loss


def _variance_of_bound(model):
  def loss(params, carry, batch, rng, step):
    square = model.schedule_loss(params['model'], batch, rng).mean()
    return square, Aux({'bound_square': square}, carry)

  return loss


def _importance_weighted(model, num_samples):
  def loss(params, carry, batch, rng, step):
    log_w = jax.vmap(lambda key: model.log_weight(params['model'], batch, key))(
        jax.random.split(rng, num_samples))  # [k, B]
    iwae = prob.log_mean_exp(log_w, axis=0)
    # effective sample size of the weights, 1..k
    ess = jnp.exp(2.0 * jax.nn.logsumexp(log_w, 0) - jax.nn.logsumexp(2.0 * log_w, 0))
    return -iwae.mean(), Aux(
        {'iwae': iwae.mean(), 'elbo': log_w.mean(), 'effective_samples': ess.mean()}, carry)

  return loss


def _contrastive_divergence(model, spec, chain, restart, alpha, init_scale) -> Objective:
  def noise(rng, shape):
    if spec.levels is None:
      return init_scale * jax.random.normal(rng, shape)
    return jax.random.uniform(rng, shape, minval=-init_scale, maxval=init_scale)

  def init(rng, batch):
    rng_model, rng_noise = jax.random.split(rng)
    # a chain keeps the label that it was started with
    rows = {name: batch[name] for name in ('cond',) if name in batch}
    rows['chains'] = noise(rng_noise, batch['x'].shape)
    return {'model': model.init(rng_model, batch)}, {'rows': rows, 'rest': ()}

  def loss(params, carry, batch, rng, step):
    rng_cell, rng_restart, rng_noise, rng_chain = jax.random.split(rng, 4)
    theta, rows = params['model'], carry['rows']
    x_plus = prob.cell_noise(rng_cell, batch['x'], spec.levels)

    again = jax.random.bernoulli(rng_restart, restart, x_plus.shape[:1])
    wide = again.reshape(-1, *(1,) * (x_plus.ndim - 1))
    start = jnp.where(wide, noise(rng_noise, x_plus.shape), rows['chains'])
    cond = jnp.where(again, batch['cond'], rows['cond']) if 'cond' in rows else None
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
