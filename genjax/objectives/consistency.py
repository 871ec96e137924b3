"""Consistency training in continuous time: every point of a trajectory maps to its start."""

import jax
import jax.numpy as jnp

from genjax.numerics import flow_map as maps
from genjax.numerics import path as paths
from genjax.numerics import times
from genjax.numerics.shapes import match, sum_event
from genjax.objectives import check, few_steps
from genjax.types import Aux, Estimator, Model, Objective, Player

NORMAL = (-1.0, 1.4)  # of log(sigma / alpha), 2410.11081


def continuous(model: Model, *, t_min: float = 1e-3, time_mean: float | None = None,
               time_std: float | None = None, warmup: int = 1000,
               tangent_floor: float = 0.1) -> Objective:
  """Returns one player that trains f(x_t, t) = x_{t_min} of the ODE, without a teacher.

  This is sCT of 2410.11081, on any path. f is one DDIM step from t to t_min with the network's
  x_hat, so that f is the identity at t_min. With schedule 'cosine' and prediction 'v' it is the
  paper's TrigFlow for data of deviation 1. The tangent is g = alpha_t df/dt along the example's own
  velocity. The target of the network's velocity is itself, held constant, plus g. Normalised
  tangents weight all examples alike, so there is no learned weight.

  time_mean, time_std: of the normal log(sigma / alpha), cut to t in [t_min, 1]; None: as published.
  warmup: number of steps over which the network's part of g is scaled from 0 to 1 (paper: 10,000).
  tangent_floor: c of the normalisation g / (|g| + c).

  The trained model has a flow_map, valid for s <= t_min, and no denoise. Metrics: tangent_norm
  (before normalisation, per root dimension), x_mse. Raises BadInput for values out of range.
  """
  check.fraction(t_min=t_min)
  check.positive(t_min=t_min, warmup=warmup, tangent_floor=tangent_floor,
                 time_std=1.0 if time_std is None else time_std)
  diffusion = model.diffusion
  normal = tuple(default if given is None else given
                 for given, default in zip((time_mean, time_std), NORMAL, strict=True))

  def loss(params, carry, batch, rng, step):
    rng_t, rng_eps, rng_net = jax.random.split(rng, 3)
    x_0, cond, theta = batch['x'], batch.get('cond'), params['model']
    path = lambda t: diffusion.path(theta, t)
    t = times.draw('edm', rng_t, x_0.shape[0], path, t_min, normal).t
    alpha, sigma = path(t)
    x_t = paths.diffuse(x_0, jax.random.normal(rng_eps, x_0.shape), alpha, sigma)

    s = jnp.full_like(t, t_min)

    def f(x_t, t):  # cos t x_t - sin t F(x_t, t) on the path of TrigFlow (Sec. 3.1)
      x_hat = diffusion.denoise(theta, x_t, t, cond, rng_net).x_0
      return maps.step(path, x_t, x_hat, t, s), x_hat

    # the paper's time is the angle arctan(sigma / alpha); per unit of it:
    dt = 1.0 / paths.angular_speed(paths.at(path, t))
    per_angle = match(dt, x_t)
    velocity = per_angle * maps.velocity(path, x_t, x_0, t)
    (_, x_hat), (d_f, _) = jax.jvp(f, (x_t, t), (velocity, dt))
    # g = cos t df/dt, the part that differentiates the network scaled by r (Alg. 1)
    r = jnp.minimum(step / warmup, 1.0)
    held = per_angle * maps.by_velocity_error(path, x_t, x_0, x_hat, t, s)
    g = match(alpha, x_t) * (held + r * (d_f - held))
    norm = jnp.sqrt(sum_event(g**2))
    g = g / match(norm + tangent_floor, x_t)  # tangent normalisation (Sec. 4.2)
    network = per_angle * maps.velocity(path, x_t, x_hat, t)  # F
    losses = sum_event((network - jax.lax.stop_gradient(network + g)) ** 2)  # Eq. 8, w = 0
    metrics = {'tangent_norm': norm.mean() / x_0[0].size**0.5, 'x_mse': ((x_0 - x_hat) ** 2).mean()}
    return losses.mean(), Aux(metrics, carry)

  return Objective(
      init=lambda rng, batch: ({'model': model.init(rng, batch)}, ()),
      players=(Player('model', loss, ('model',)),),
      model=few_steps.flow_map_alone(model),
      sampler=('flow_map', {'num_steps': 2, 'renoise': True}))


ESTIMATORS = {'continuous': Estimator(('denoise', 'fixed_path'), continuous)}
