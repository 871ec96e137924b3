"""MeanFlow (2505.13447): the flow map between any two times, by its average velocity."""

import jax
import jax.numpy as jnp

from genjax.numerics import conditions, times
from genjax.numerics import flow_map as maps
from genjax.numerics import path as paths
from genjax.numerics.shapes import sum_event
from genjax.objectives import check
from genjax.types import Aux, BadInput, DataSpec, Denoised, Estimator, Model, Objective, Player

SAMPLINGS = tuple(name for name in times.TIME_SAMPLINGS if name != 'importance')
NORMAL = {'logit_normal': (-0.4, 1.0)}  # 2505.13447, its ablations


def average_velocity(model: Model, *, spec: DataSpec, apart: float = 0.25, t_min: float = 1e-3,
                     time_sampling: str = 'logit_normal', time_mean: float | None = None,
                     time_std: float | None = None, weight_power: float = 1.0,
                     weight_floor: float = 1e-3, guidance: float = 1.0,
                     label_dropout: float = 0.0) -> Objective:
  """Returns one player that trains x_s = x_t - (t - s) u(x_t, t, s), u the average velocity.

  The target of u is v - (t - s) du/dt, held constant. v is the example's own velocity, and du/dt is
  one jvp along (v, 1). On any path that target equals u + dx_s / dt, x_s as in `numerics.flow_map`.

  apart: probability of s < t; else s = t, which is flow matching.
  time_sampling, time_mean, time_std: of two draws in [t_min, 1] the larger is t (`numerics.times`).
  weight_power, weight_floor: p and c of the weight 1 / (|error|^2 + c)^p.
  guidance: weight of the label against "no label" in the velocity; needs label_dropout.
  label_dropout: probability that a condition is dropped.

  The trained model has a flow_map, and a denoise, which is the flow map's x_hat at s = t (of the
  guided field). Metrics: u_mse (per dimension), x_mse. Raises BadInput for values out of range.
  """
  check.fraction(apart=apart, t_min=t_min, label_dropout=label_dropout)
  check.not_negative(weight_power=weight_power, guidance=guidance)
  check.positive(weight_floor=weight_floor, time_std=1.0 if time_std is None else time_std)
  _check(spec, time_sampling, (time_mean, time_std), guidance, label_dropout)
  normal = tuple(default if given is None else given for given, default in zip(
      (time_mean, time_std), NORMAL.get(time_sampling, (None, None)), strict=True))
  diffusion = model.diffusion
  field = diffusion.two_time.denoise

  def loss(params, carry, batch, rng, step):
    rng_time, rng_eps, rng_drop, rng_net = jax.random.split(rng, 4)
    x_0, cond, theta = batch['x'], batch.get('cond'), params['model']
    path = lambda t: diffusion.path(theta, t)
    t, s = _two_times(rng_time, x_0.shape[0], apart,
                      lambda rng, n: times.draw(time_sampling, rng, n, path, t_min, normal).t)
    eps = jax.random.normal(rng_eps, x_0.shape)
    x_t = paths.diffuse(x_0, eps, *path(t))

    unlabelled = lambda null: jax.lax.stop_gradient(field(theta, x_t, t, t, null, None))
    target, cond = _guided(rng_drop, x_0, cond, spec, label_dropout, guidance, unlabelled)

    def flow_map(x_t, t):  # x_s = x_t - (t - s) u on the linear path (Eq. 12)
      x_hat = field(theta, x_t, t, s, cond, rng_net)
      return maps.step(path, x_t, x_hat, t, s), x_hat

    v = maps.velocity(path, x_t, target, t)  # eps - x_0 on the linear path (Alg. 1)
    (_, x_hat), (d_x_s, _) = jax.jvp(flow_map, (x_t, t), (v, jnp.ones_like(t)))
    u = maps.velocity(path, x_t, x_hat, t)
    # d x_s / dt = v - u - (t - s) du / dt, so that this is v - (t - s) du / dt (Eq. 10)
    u_target = u + d_x_s
    square = sum_event((u - jax.lax.stop_gradient(u_target)) ** 2)  # Eq. 9
    # w = 1 / (|error|^2 + c)^p (Sec. 4.3)
    losses = square * jax.lax.stop_gradient(square + weight_floor) ** -weight_power
    metrics = {'u_mse': square.mean() / x_0[0].size, 'x_mse': ((x_0 - x_hat) ** 2).mean()}
    return losses.mean(), Aux(metrics, carry)

  return Objective(
      init=lambda rng, batch: ({'model': diffusion.two_time.init(rng, batch)}, ()),
      players=(Player('model', loss, ('model',)),),
      model=_trained(model)._replace(null_cond=conditions.null(spec) if label_dropout else None),
      sampler=('flow_map', {'num_steps': 1}))


ESTIMATORS = {'average_velocity': Estimator(('two_time',), average_velocity)}


def _check(spec: DataSpec, time_sampling: str, normal: tuple, guidance: float,
           label_dropout: float) -> None:
  """Raises BadInput for choices that contradict each other or the data."""
  check.one_of('time_sampling', time_sampling, SAMPLINGS)
  if normal != (None, None) and time_sampling not in times.NORMAL:
    raise BadInput(f'time_mean={normal[0]} and time_std={normal[1]} are of time_sampling '
                   f'{" and ".join(times.NORMAL)}, not {time_sampling!r}; allowed: None')
  if (label_dropout or guidance != 1.0) and conditions.null(spec) is None:
    raise BadInput(f'label_dropout={label_dropout!r} and guidance={guidance!r} on data without '
                   'labels; allowed: 0.0 and 1.0')
  if guidance != 1.0 and not label_dropout:
    raise BadInput(f'guidance={guidance!r} asks the network without labels, and label_dropout=0.0 '
                   'never trains it so; allowed: a label_dropout such as 0.1')


def _guided(rng, x_0, cond, spec: DataSpec, label_dropout: float, guidance: float, unlabelled):
  """(x_0, cond): the x_0 whose velocity is the target, guided where a label is kept (Eq. 19).

  unlabelled(null): the network's own x_0 without a label.
  """
  if cond is None or not label_dropout:
    return x_0, cond
  dropped = jax.random.bernoulli(rng, label_dropout, cond.shape[:1])
  null = conditions.null(spec)(cond.shape[0])
  target = x_0
  if guidance != 1.0:
    x_hat = unlabelled(null)
    target = conditions.where(dropped, x_0, x_hat + guidance * (x_0 - x_hat))
  return target, conditions.where(dropped, null, cond)


def _two_times(rng, n: int, apart: float, draw):
  """(t, s), both [n], s <= t, by two independent draws; s = t but for a share `apart`."""
  rng_one, rng_other, rng_order, rng_apart = jax.random.split(rng, 4)
  # a draw may be stratified along the batch; permuted, the second is independent of the first
  one, other = draw(rng_one, n), jax.random.permutation(rng_order, draw(rng_other, n))
  t, s = jnp.maximum(one, other), jnp.minimum(one, other)
  return t, jnp.where(jax.random.bernoulli(rng_apart, apart, (n,)), s, t)


def _trained(model: Model) -> Model:
  """The model after training: what its network with two times can do."""
  diffusion = model.diffusion
  field = diffusion.two_time.denoise

  def denoise(params, x_t, t, cond, rng):
    return Denoised(field(params, x_t, t, t, cond, rng))

  def flow_map(params, x_t, t, s, cond):
    x_hat = field(params, x_t, t, s, cond, None)
    return maps.step(lambda t: diffusion.path(params, t), x_t, x_hat, t, s)

  # the model's bound needs the network with one time, which was not trained
  return model._replace(init=diffusion.two_time.init, flow_map=flow_map, elbo=None,
                        diffusion=diffusion._replace(denoise=denoise, two_time=None))
