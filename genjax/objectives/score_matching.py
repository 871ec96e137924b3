"""Fisher divergence E_p |grad log p - grad log p_theta|^2: score matching, which needs no Z."""

import jax

from genjax import prob
from genjax.numerics import conditions, derivatives, times
from genjax.numerics import weighting as weights
from genjax.numerics.shapes import sum_event
from genjax.objectives import check, diffusion_loss
from genjax.types import Aux, BadInput, DataSpec, Estimator, Model, Objective, Player

# weighting -> the sampling of times in its recipe; the others take stratified times
RECIPES = {'edm': 'edm'}


def denoising(model: Model, *, spec: DataSpec, weighting: str = 'simple',
              min_snr_gamma: float = 5.0, sigmoid_bias: float = 2.0, sigma_data: float = 0.5,
              time_sampling: str | None = None, time_mean: float | None = None,
              time_std: float | None = None, t_min: float = 1e-3, num_steps: int | None = None,
              bound_weight: float = 1e-3, label_dropout: float = 0.0) -> Objective:
  """Returns one player on E_t[weighting |x_0 - x_hat|^2] / D of a diffusion.

  weighting: a name in `numerics.weighting`; it does not depend on what the model predicts.
  min_snr_gamma, sigmoid_bias, sigma_data: constants of min_snr, sigmoid and edm.
  time_sampling: a name in `numerics.times`; None: 'edm' for weighting 'edm', else 'stratified'.
  time_mean, time_std: for time_sampling 'edm' and 'logit_normal'; None: as published.
  t_min: times are drawn in [t_min, 1].
  num_steps: draw times i / num_steps, i uniform over 1..num_steps (2006.11239), and ignore t_min;
    None: the number of steps of a model that learns its variance, else continuous times.
  bound_weight: weight of the num_steps-step bound, in nats per dimension, which trains only the
    variance, if that is learned (2102.09672, Eq. 16).
  label_dropout: probability that an example's condition is dropped, for classifier-free guidance
    (2207.12598).

  Metrics: eps_mse and x_mse, over the times as drawn; vlb; diffusion_loss, nats per example: the
  integral of -snr' / 2 |x_0 - x_hat|^2 from t_min to 1 (2107.00630, Eq. 17), or with num_steps its
  sum over the steps (Eq. 13), whatever time_sampling is. 'logit_normal' and 'edm' seldom reach the
  ends; there the outermost hundredth of the draws represents all times beyond.
  Raises BadInput for values out of range.
  """
  weight = weights.weight(weighting, min_snr_gamma=min_snr_gamma, sigmoid_bias=sigmoid_bias,
                          sigma_data=sigma_data)
  time_sampling = time_sampling or RECIPES.get(weighting, 'stratified')
  check.one_of('time_sampling', time_sampling, times.TIME_SAMPLINGS)
  check.positive(sigma_data=sigma_data, min_snr_gamma=min_snr_gamma,
                 time_std=1.0 if time_std is None else time_std,
                 num_steps=1 if num_steps is None else num_steps)
  check.not_negative(bound_weight=bound_weight)
  check.fraction(label_dropout=label_dropout, t_min=t_min)
  learned = model.diffusion.learned_variance_steps
  if learned and num_steps not in (None, learned):
    raise BadInput(f'num_steps={num_steps}, but the variance that the model learns is of {learned} '
                   f'steps; allowed: None, which takes them')
  how = diffusion_loss.Times(time_sampling, t_min, (time_mean, time_std), num_steps or learned)
  _check(spec, how, label_dropout)
  return Objective(
      init=lambda rng, batch: ({'model': model.init(rng, batch)}, diffusion_loss.init_carry(how)),
      players=(Player('model', diffusion_loss.make(model.diffusion, spec, weight, how,
                                                   label_dropout, bound_weight), ('model',)),),
      # denoising trains no map between times
      model=model._replace(flow_map=None,
                           null_cond=conditions.null(spec) if label_dropout else None))


def explicit(model: Model) -> Objective:
  """Returns one player on tr grad s + |s|^2 / 2, the trace exact (Hyvarinen 2005).

  Metric: score_norm.

  log p_theta must be twice differentiable. That of an affine flow is; that of a spline flow has
  kinks at its knots, which the trace does not see and the loss exploits.
  """
  return _implicit(model, lambda score, rng, x: derivatives.explicit_score_matching(score, x))


def sliced(model: Model, *, num_projections: int = 1, variance_reduced: bool = True) -> Objective:
  """Returns one player on v^T grad s v + |s|^2 / 2 over random directions v (1905.07088).

  num_projections: directions per example.
  variance_reduced: the second term is |s|^2 / 2 (Eq. 8), else (v^T s)^2 / 2 (Eq. 7).
  Metric: score_norm. For its assumption see `explicit`.
  """
  check.positive(num_projections=num_projections)
  return _implicit(model, lambda score, rng, x: derivatives.sliced_score_matching(
      score, rng, x, num_projections=num_projections, variance_reduced=variance_reduced))


def denoising_one_level(model: Model, *, spec: DataSpec, noise_std: float = 0.3) -> Objective:
  """Returns one player on |noise_std s(x + noise_std eps) + eps|^2 / 2 (Vincent 2011).

  It matches the score of the data blurred by noise_std, in units of x. Metric: score_norm.
  """
  check.positive(noise_std=noise_std)

  def loss(params, carry, batch, rng, step):
    rng_cell, rng_eps, rng_net = jax.random.split(rng, 3)
    x = prob.cell_noise(rng_cell, batch['x'], spec.levels)
    eps = jax.random.normal(rng_eps, x.shape)
    s = _score(model, params['model'], batch.get('cond'), rng_net)(x + noise_std * eps)
    # the score of N(x, noise_std^2) at x + noise_std eps is -eps / noise_std
    losses = 0.5 * sum_event((noise_std * s + eps) ** 2)
    return losses.mean(), Aux({'score_norm': derivatives.norm(s).mean()}, carry)

  return _of_score(model, loss)


# log_prob of integers has no gradient in x, so data with levels need an energy. Neither has that of
# a histogram: a density that is smooth in x offers an energy, or samples with a pathwise log_prob
SMOOTH = 'energy|sample_and_log_prob'
ESTIMATORS = {
    'denoising': Estimator(('denoise', 'fixed_path'), denoising),
    'explicit': Estimator(('energy|log_prob', SMOOTH, 'data.continuous'), explicit),
    'sliced': Estimator(('energy|log_prob', SMOOTH, 'data.continuous'), sliced),
    'denoising_one_level': Estimator(('energy|log_prob', SMOOTH, 'energy|data.continuous'),
                                     denoising_one_level),
}


def _check(spec: DataSpec, how: diffusion_loss.Times, label_dropout: float) -> None:
  """Raises BadInput for choices that contradict each other or the data."""
  if how.normal != (None, None) and how.sampling not in times.NORMAL:
    raise BadInput(f'time_mean={how.normal[0]} and time_std={how.normal[1]} are of time_sampling '
                   f'{" and ".join(times.NORMAL)}, not {how.sampling!r}; allowed: None')
  if how.num_steps is not None and how.sampling not in times.OF_STEPS:
    raise BadInput(f'time_sampling={how.sampling!r} is a law of continuous times, and num_steps='
                   f'{how.num_steps}; allowed: num_steps=None, or time_sampling='
                   f'{", ".join(times.OF_STEPS)}')
  if label_dropout and conditions.null(spec) is None:
    raise BadInput(f'label_dropout={label_dropout!r} on data without labels; allowed: 0.0')


def _score(model, params, cond, rng):
  """The function x -> gradient of log p_theta, [B, ...]."""
  if model.energy is not None:
    return derivatives.gradient_of(lambda x: -model.energy(params, x, cond))
  labels = {} if cond is None else {'cond': cond}
  return derivatives.gradient_of(lambda x: model.log_prob(params, {'x': x, **labels}, rng))


def _implicit(model, matching) -> Objective:
  """One player on matching(score, rng, x) -> score [B, ...], losses [B]."""
  def loss(params, carry, batch, rng, step):
    rng_v, rng_net = jax.random.split(rng)
    score = _score(model, params['model'], batch.get('cond'), rng_net)
    s, losses = matching(score, rng_v, batch['x'])
    return losses.mean(), Aux({'score_norm': derivatives.norm(s).mean()}, carry)

  return _of_score(model, loss)


def _of_score(model, loss) -> Objective:
  return Objective(init=lambda rng, batch: ({'model': model.init(rng, batch)}, ()),
                   players=(Player('model', loss, ('model',)),),
                   model=model._replace(null_cond=None))
