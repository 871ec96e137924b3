"""Fisher divergence E_p |grad log p - grad log p_theta|^2: score matching, which needs no Z."""

import jax
import jax.numpy as jnp

from genjax import prob
from genjax.numerics import derivatives
from genjax.objectives import check
from genjax.prob import sum_event
from genjax.types import Aux, BadInput, DataSpec, Model, Objective, Player

# the log_prob of integers has no gradient in x, so with levels an energy is needed
NEEDS = {
    'denoising': ('denoise', 'path'),
    'explicit': ('energy|log_prob', 'data.continuous'),
    'sliced': ('energy|log_prob', 'data.continuous'),
    'denoising_one_level': ('energy|log_prob', 'energy|data.continuous'),
}
WEIGHTINGS = ('simple', 'elbo', 'min_snr', 'sigmoid')


def make(model: Model, *, estimator: str, spec: DataSpec, weighting: str = 'simple',
         t_min: float = 1e-3, min_snr_gamma: float = 5.0, sigmoid_bias: float = 2.0,
         label_dropout: float = 0.0, noise_std: float = 0.3, num_projections: int = 1,
         variance_reduced: bool = True) -> Objective:
  """Returns one player that matches the model's score to the data's.

  'denoising' (a diffusion): t uniform in [t_min, 1], stratified over the batch; weighting of
    |eps - eps_hat|^2 / D: 'simple' 1 (2006.11239, Eq. 14), 'elbo' -logsnr'(t) / 2 (2107.00630,
    Eq. 17), 'min_snr' min(1, min_snr_gamma / snr) (2303.09556), 'sigmoid'
    -logsnr'(t) / 2 sigmoid(sigmoid_bias - logsnr) (2303.00848); label_dropout: probability that an
    example's label becomes num_classes, for classifier-free guidance (2207.12598).
  'explicit': tr grad s + |s|^2 / 2 with the exact trace (Hyvarinen 2005); 'sliced': by
    num_projections random directions (1905.07088), variance_reduced as there.
  'denoising_one_level': |noise_std s(x + noise_std eps) + eps|^2 / 2 (Vincent 2011): the score of
    the data blurred by noise_std.
  Explicit and sliced matching take log p_theta to be twice differentiable: an affine flow's is, a
  spline flow's has kinks at its knots, which the trace does not see and the loss exploits.
  Metrics: eps_mse, x_mse, diffusion_loss (nats per example, between t_min and 1); score_norm.
  Raises BadInput for values out of range.
  """
  check.one_of('estimator', estimator, NEEDS)
  check.one_of('weighting', weighting, WEIGHTINGS)
  check.positive(noise_std=noise_std, num_projections=num_projections,
                 min_snr_gamma=min_snr_gamma)
  check.fraction(label_dropout=label_dropout, t_min=t_min)
  if label_dropout and spec.num_classes is None:
    raise BadInput(f'label_dropout={label_dropout!r} on data without labels; allowed: 0.0')
  if estimator == 'denoising':
    weight = _weighting(weighting, min_snr_gamma, sigmoid_bias)
    loss = _denoising(model, spec, weight, t_min, label_dropout)
  elif estimator == 'denoising_one_level':
    loss = _denoising_one_level(model, spec, noise_std)
  else:
    loss = _implicit(model, estimator, num_projections, variance_reduced)
  return Objective(
      init=lambda rng, batch: ({'model': model.init(rng, batch)}, ()),
      players=(Player('model', loss, ('model',)),),
      # denoising trains no map between times
      model=model._replace(flow_map=None))


def _weighting(name, gamma, bias):
  """(snr, d snr / dt) -> the weight of |x_0 - x_hat|^2; of |eps - eps_hat|^2 it is 1 / snr of it.

  In terms of snr, because logsnr is infinite where the path ends without signal.
  """
  return {'simple': lambda snr, slope: snr,
          'elbo': lambda snr, slope: -0.5 * slope,
          'min_snr': lambda snr, slope: jnp.minimum(snr, gamma),
          'sigmoid': lambda snr, slope: -0.5 * slope / (1.0 + jnp.exp(-bias) * snr)}[name]


def stratified_times(rng, n: int, t_min: float):
  """n times, each uniform in [t_min, 1], one in each n-th of it (2107.00630, App. I.1)."""
  u = jnp.mod(jax.random.uniform(rng) + jnp.arange(n) / n, 1.0)
  return t_min + (1.0 - t_min) * u


def _denoising(model, spec, weight, t_min, label_dropout):
  def loss(params, carry, batch, rng, step):
    rng_t, rng_eps, rng_drop, rng_net = jax.random.split(rng, 4)
    x_0, cond, theta = batch['x'], batch.get('cond'), params['model']
    if label_dropout and cond is not None:
      dropped = jax.random.bernoulli(rng_drop, label_dropout, cond.shape)
      cond = jnp.where(dropped, spec.num_classes, cond)

    t = stratified_times(rng_t, x_0.shape[0], t_min)
    eps = jax.random.normal(rng_eps, x_0.shape)
    per_example = lambda a: a.reshape(-1, *(1,) * (x_0.ndim - 1))
    alpha, sigma = model.path(theta, t)
    x_t = per_example(alpha) * x_0 + per_example(sigma) * eps
    x_hat = model.denoise(theta, x_t, t, cond, rng_net)

    def snr_at(t):
      alpha, sigma = model.path(theta, t)
      return (alpha / sigma) ** 2

    snr, slope = derivatives.jvp(snr_at, t, jnp.ones_like(t))
    # x_t = alpha x_0 + sigma eps: |eps - eps_hat|^2 = snr |x_0 - x_hat|^2
    square = sum_event((x_0 - x_hat) ** 2)
    dim = x_0[0].size
    losses = weight(snr, slope) * square / dim
    metrics = {'eps_mse': (snr * square / dim).mean(), 'x_mse': (square / dim).mean(),
               'diffusion_loss': (-0.5 * slope * square).mean() * (1.0 - t_min)}
    return losses.mean(), Aux(metrics, carry)

  return loss


def _score(model, params, cond, rng):
  """x -> the gradient of log p_theta, [B, ...]."""
  if model.energy is not None:
    return derivatives.gradient_of(lambda x: -model.energy(params, x, cond))
  labels = {} if cond is None else {'cond': cond}
  return derivatives.gradient_of(lambda x: model.log_prob(params, {'x': x, **labels}, rng))


def _implicit(model, estimator, num_projections, variance_reduced):
  def loss(params, carry, batch, rng, step):
    rng_v, rng_net = jax.random.split(rng)
    score = _score(model, params['model'], batch.get('cond'), rng_net)
    if estimator == 'explicit':
      s, losses = derivatives.explicit_score_matching(score, batch['x'])
    else:
      s, losses = derivatives.sliced_score_matching(
          score, rng_v, batch['x'], num_projections=num_projections,
          variance_reduced=variance_reduced)
    return losses.mean(), Aux({'score_norm': derivatives.norm(s).mean()}, carry)

  return loss


def _denoising_one_level(model, spec, noise_std):
  def loss(params, carry, batch, rng, step):
    rng_cell, rng_eps, rng_net = jax.random.split(rng, 3)
    x = prob.cell_noise(rng_cell, batch['x'], spec.levels)
    eps = jax.random.normal(rng_eps, x.shape)
    s = _score(model, params['model'], batch.get('cond'), rng_net)(x + noise_std * eps)
    # the score of N(x, noise_std^2) at x + noise_std eps is -eps / noise_std
    losses = 0.5 * sum_event((noise_std * s + eps) ** 2)
    return losses.mean(), Aux({'score_norm': derivatives.norm(s).mean()}, carry)

  return loss
