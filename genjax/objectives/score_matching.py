"""Fisher divergence E_p |grad log p - grad log p_theta|^2: score matching, which needs no Z."""

import jax

from genjax import prob
from genjax.numerics import derivatives, times
from genjax.numerics import weighting as weights
from genjax.objectives import check, denoising
from genjax.prob import sum_event
from genjax.types import Aux, BadInput, DataSpec, Model, Objective, Player

# the log_prob of integers has no gradient in x, so with levels an energy is needed
NEEDS = {
    'denoising': ('denoise', 'path'),
    'explicit': ('energy|log_prob', 'data.continuous'),
    'sliced': ('energy|log_prob', 'data.continuous'),
    'denoising_one_level': ('energy|log_prob', 'energy|data.continuous'),
}
# the times that belong to a weighting's recipe; of the others: stratified
RECIPES = {'edm': 'edm'}


def make(model: Model, *, estimator: str, spec: DataSpec, weighting: str = 'simple',
         t_min: float = 1e-3, min_snr_gamma: float = 5.0, sigmoid_bias: float = 2.0,
         sigma_data: float = 0.5, time_sampling: str | None = None,
         time_mean: float | None = None, time_std: float | None = None,
         num_steps: int | None = None, bound_weight: float = 1e-3, label_dropout: float = 0.0,
         noise_std: float = 0.3, num_projections: int = 1,
         variance_reduced: bool = True) -> Objective:
  """Returns one player that matches the model's score to the data's.

  'denoising' (a diffusion): the mean over t in [t_min, 1] of weighting x |x_0 - x_hat|^2 / D;
    weighting: of `numerics.weighting` with min_snr_gamma, sigmoid_bias, sigma_data, whatever the
    model predicts; time_sampling: of `numerics.times` with time_mean, time_std (None: 'edm' for
    weighting 'edm', else 'stratified'); num_steps: times i / num_steps instead, i uniform over
    1..num_steps (2006.11239), whatever t_min; None: all times in [t_min, 1]; label_dropout:
    probability that an example's label becomes num_classes, for classifier-free guidance
    (2207.12598); bound_weight: of the num_steps-step bound that trains the variance alone, for a
    model that learns it (2102.09672, Eq. 16, in nats per dimension).
  'explicit': tr grad s + |s|^2 / 2 with the exact trace (Hyvarinen 2005); 'sliced': by
    num_projections random directions (1905.07088), variance_reduced as there.
  'denoising_one_level': |noise_std s(x + noise_std eps) + eps|^2 / 2 (Vincent 2011): the score of
    the data blurred by noise_std.
  Explicit and sliced matching take log p_theta to be twice differentiable: an affine flow's is, a
  spline flow's has kinks at its knots, which the trace does not see and the loss exploits.
  Metrics: eps_mse, x_mse (of the times as drawn); diffusion_loss, nats per example for any law of
    the times: the integral of -snr' / 2 |x_0 - x_hat|^2 from t_min to 1 (2107.00630, Eq. 17), or
    with num_steps its sum over the steps (Eq. 13); 'logit_normal' and 'edm' seldom reach the ends,
    where their outermost hundredth of draws stands for all times beyond; vlb; score_norm.
  Raises BadInput for values out of range.
  """
  check.one_of('estimator', estimator, NEEDS)
  weight = weights.weight(weighting, min_snr_gamma=min_snr_gamma, sigmoid_bias=sigmoid_bias,
                          sigma_data=sigma_data)
  time_sampling = time_sampling or RECIPES.get(weighting, 'stratified')
  check.one_of('time_sampling', time_sampling, times.TIME_SAMPLINGS)
  check.positive(noise_std=noise_std, num_projections=num_projections, sigma_data=sigma_data,
                 min_snr_gamma=min_snr_gamma, time_std=1.0 if time_std is None else time_std,
                 num_steps=1 if num_steps is None else num_steps)
  check.not_negative(bound_weight=bound_weight)
  check.fraction(label_dropout=label_dropout, t_min=t_min)
  how = denoising.Times(time_sampling, t_min, (time_mean, time_std), num_steps)
  _check(model, spec, how, label_dropout)
  carry = ()
  if estimator == 'denoising':
    loss = denoising.make_loss(model, spec, weight, how, label_dropout, bound_weight)
    carry = denoising.init_carry(how)
  elif estimator == 'denoising_one_level':
    loss = _denoising_one_level(model, spec, noise_std)
  else:
    loss = _implicit(model, estimator, num_projections, variance_reduced)
  return Objective(
      init=lambda rng, batch: ({'model': model.init(rng, batch)}, carry),
      players=(Player('model', loss, ('model',)),),
      # denoising trains no map between times
      model=model._replace(
          flow_map=None,
          null_label=spec.num_classes if estimator == 'denoising' and label_dropout else None))


def _check(model: Model, spec: DataSpec, how: denoising.Times, label_dropout: float) -> None:
  """Refuses choices that contradict each other, the data or the model."""
  if how.normal != (None, None) and how.sampling not in times.NORMAL:
    raise BadInput(f'time_mean={how.normal[0]} and time_std={how.normal[1]} are of time_sampling '
                   f'{" and ".join(times.NORMAL)}, not {how.sampling!r}; allowed: None')
  if how.num_steps is not None and how.sampling not in times.OF_STEPS:
    raise BadInput(f'time_sampling={how.sampling!r} is a law of continuous times, and num_steps='
                   f'{how.num_steps}; allowed: num_steps=None, or time_sampling='
                   f'{", ".join(times.OF_STEPS)}')
  if label_dropout and spec.num_classes is None:
    raise BadInput(f'label_dropout={label_dropout!r} on data without labels; allowed: 0.0')
  if model.schedule_loss is not None:
    raise BadInput("schedule='learned' minimises the variance of a bound, which score_matching "
                   "does not train; allowed: objective='kl', or a fixed schedule")
  if model.reverse is not None and how.num_steps is None:
    raise BadInput("variance='learned' is of a number of steps, and objective.num_steps is None; "
                   "allowed: the model's num_steps")


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
