"""A Gaussian diffusion: its path, the inputs and outputs of its network, and its bound.

DDPM, VDM, score SDE, EDM, flow matching and rectified flow are choices of `schedule` and
`prediction` here, of weighting and times in `objectives.score_matching`, and of a sampler.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models.diffusion_bound import VARIANCES, bound, mean_level
from genjax.nn.monotone import Monotone
from genjax.numerics import path as paths
from genjax.numerics import prediction as predictions
from genjax.numerics import schedules
from genjax.numerics.shapes import match
from genjax.types import BadInput, DataSpec, Denoised, Diffusion, Model, TwoTimes

PREDICTIONS = (*predictions.PREDICTIONS, 'levels')
SCHEDULES = (*schedules.SCHEDULES, 'learned')
CONDITIONS = ('time', 'logsnr')


class Noise(NamedTuple):
  """A schedule, the bounds of its logsnr, and the times at which they are reached."""

  name: str
  logsnr_min: float
  logsnr_max: float
  fixed: Callable | None  # t -> alpha, sigma; None: learned

  def ends(self):
    """The times of the bounds: (0, 1), unless logsnr is infinite there."""
    if self.name not in schedules.UNBOUNDED:
      return 0.0, 1.0
    bounds = jnp.array([self.logsnr_max, self.logsnr_min])
    return tuple(paths.time_of_logsnr(self.fixed, bounds))

  def parameters(self, init_network: Callable):
    """init(rng, batch, t=None) -> params, and path(params, t) -> alpha, sigma.

    init_network: (rng, t) -> the network's params; with a learned schedule params are {'network',
    'schedule'}.
    """
    if self.fixed:
      return (lambda rng, batch, t=None: init_network(rng, jnp.zeros(1) if t is None else t),
              lambda params, t: self.fixed(t))
    monotone = Monotone()

    def init(rng, batch):
      rng_network, rng_schedule = jax.random.split(rng)
      return {'network': init_network(rng_network, jnp.zeros(1)),
              'schedule': monotone.init(rng_schedule, jnp.zeros(1))['params']}

    def path(params, t):
      fall = monotone.apply({'params': params['schedule']}, t)
      return schedules.from_logsnr(self.logsnr_max + (self.logsnr_min - self.logsnr_max) * fall)

    return init, path


def default_logsnr_max(levels: int | None) -> float:
  """The logsnr at the start of the path: sigma is a third of half a cell, so integers survive it.

  For 256 levels it is 13.3, VDM's initial value; for continuous data 10.
  """
  return 10.0 if levels is None else float(2.0 * np.log(3.0 * (levels - 1)))


def make_noise(name: str, logsnr_min: float | None, logsnr_max: float | None,
               levels: int | None) -> Noise:
  """The schedule and its bounds. BadInput for an unknown name.

  name: in `numerics.schedules`, or 'learned' (2107.00630, App. H; only for objective kl).
  logsnr_max: at the start; None: by the levels, for 'edm' sigma 0.002.
  logsnr_min: at the end; None: -10, for 'edm' sigma 80.
  Schedules with infinite logsnr ('linear', 'zero_terminal_snr') use both only for the ELBO.
  """
  if name not in SCHEDULES:
    raise BadInput(f'schedule = {name!r} is unknown; allowed: {", ".join(SCHEDULES)}')
  if name == 'edm':  # sigma from 0.002 to 80 (2206.00364, Table 1)
    default_min, default_max = -2.0 * float(np.log(80.0)), -2.0 * float(np.log(0.002))
  else:
    default_min, default_max = -10.0, default_logsnr_max(levels)
  low = default_min if logsnr_min is None else logsnr_min
  high = default_max if logsnr_max is None else logsnr_max
  checked = schedules.schedule('linear_logsnr' if name == 'learned' else name, low, high)
  return Noise(name, low, high, None if name == 'learned' else checked)


class Parameterisation(NamedTuple):
  """The inputs and the output of the network; see `make`.

  With a target time s its second number is the difference of the noise levels at t and s
  (2505.13447, its ablations).
  """

  # 'levels': logits of each dimension's level without the information in its own x_t
  prediction: str
  # 'time', or 'logsnr', scaled to 0..1 between its bounds (VDM; EDM's c_noise is affine in it)
  condition: str
  scale_input: bool
  sigma_data: float
  time_scale: float | None

  def of_noise(self, noise: Noise, t, point):
    """The noise level at t on which the network is conditioned, [B] in [0, 1]."""
    if self.condition == 'time':
      return t
    # an infinite logsnr is replaced by its bound, without a slope
    alpha, sigma = (jnp.maximum(a, 1e-12) for a in (point.alpha, point.sigma))
    share = noise.logsnr_max - paths.logsnr(alpha, sigma)
    return jnp.clip(share / (noise.logsnr_max - noise.logsnr_min), 0.0, 1.0)

  def times(self, noise: Noise, path, t, point, s):
    """The network's input for t, or for t and s, in units of its time embedding."""
    level, fastest = self.of_noise(noise, t, point), 1000.0
    if s is not None:
      at_s = self.of_noise(noise, s, paths.Point(*path(s)))
      level, fastest = jnp.stack([level, level - at_s], -1), 2.0
    return level * ((fastest if self.time_scale is None else self.time_scale) / 1000.0)

  def inputs(self, x_t, point):
    """x_t, divided by its standard deviation if scale_input."""
    if not self.scale_input:
      return x_t
    return x_t * match(predictions.c_in(point, self.sigma_data), x_t)

  def denoised(self, output, x_t, point, levels: int | None, learned_variance: bool) -> Denoised:
    """Denoised from the output [B, ..., out]; a learned variance is its last channel."""
    v = None
    if learned_variance:
      output, v = output[..., :-1], jax.nn.sigmoid(output[..., -1])
    if self.prediction == 'levels':
      return Denoised(mean_level(output, x_t, point.alpha, point.sigma, levels), v)
    return Denoised(predictions.to_data(self.prediction, output[..., 0], x_t, point,
                                        self.sigma_data), v)


def make_parameterisation(spec: DataSpec, schedule: str, prediction: str | None,
                          condition: str | None, scale_input: bool | None, sigma_data: float,
                          time_scale: float | None) -> Parameterisation:
  """The choices of `make` with defaults instead of None. BadInput for unknown or illegal ones."""
  prediction = prediction or ('v' if spec.levels is None else 'levels')
  by_logsnr = prediction == 'edm' or schedule in ('edm', 'learned')
  condition = condition or ('logsnr' if by_logsnr else 'time')
  if scale_input is None:
    scale_input = prediction == 'edm' or schedule in schedules.EXPLODING
  allowed = predictions.PREDICTIONS if spec.levels is None else PREDICTIONS
  for name, value, known in (('prediction', prediction, allowed),
                             ('condition', condition, CONDITIONS)):
    if value not in known:
      raise BadInput(f'{name} = {value!r} is unknown here; allowed: {", ".join(known)}')
  for name, scale in (('sigma_data', sigma_data), ('time_scale', time_scale)):
    if scale is not None and not scale > 0.0:
      raise BadInput(f'{name} = {scale} must be above 0')
  return Parameterisation(prediction, condition, scale_input, sigma_data, time_scale)


def check_steps(num_steps: int | None, variance: str) -> None:
  """Raises BadInput for an unknown variance, and for one of steps without num_steps."""
  if variance not in VARIANCES:
    raise BadInput(f'variance = {variance!r} is unknown here; allowed: {", ".join(VARIANCES)}')
  if num_steps is not None and num_steps < 1:
    raise BadInput(f'num_steps = {num_steps} must be None (continuous time) or at least 1')
  if variance != 'posterior' and num_steps is None:
    raise BadInput(f'variance = {variance!r} is of the steps of a bound, and num_steps = None says '
                   'there are none; allowed: a num_steps, or posterior')


def make(spec: DataSpec, denoiser: Callable, *, schedule: str = 'cosine',
         prediction: str | None = None, logsnr_min: float | None = None,
         logsnr_max: float | None = None, sigma_data: float = 0.5, condition: str | None = None,
         scale_input: bool | None = None, time_scale: float | None = None,
         num_steps: int | None = None, variance: str = 'posterior') -> Model:
  """Returns a model with `diffusion` and `elbo` (nats; with levels it bounds the mass).

  schedule, logsnr_min, logsnr_max: see `make_noise`.
  prediction: the network's output, in `numerics.prediction`; None: 'v', with levels 'levels'.
  sigma_data: standard deviation of the data, for 'edm' and scale_input.
  condition: see `Parameterisation`; None: 'logsnr' for prediction 'edm' and schedules 'edm' and
    'learned', else 'time'.
  scale_input: divide x_t by its deviation (EDM's c_in). None: for 'edm' and schedule 've'.
  time_scale: fastest angle of the time embedding. None: 1000 (2006.11239), and 2 for `two_time`,
    whose losses take derivatives in time that the fastest angles would dominate (2410.11081).
  num_steps: number of steps T of the ELBO; None: continuous time.
  variance: of these steps: 'posterior' (beta tilde), 'upper' (beta) or 'learned' (2102.09672).

  `two_time` exists for fixed schedules without a learned variance. `denoise` with an rng applies
  dropout; `elbo` does not. Raises BadInput for unknown names.
  """
  noise = make_noise(schedule, logsnr_min, logsnr_max, spec.levels)
  chosen = make_parameterisation(spec, schedule, prediction, condition, scale_input, sigma_data,
                                 time_scale)
  check_steps(num_steps, variance)
  learned, learned_variance = schedule == 'learned', variance == 'learned'
  net = denoiser(out=(spec.levels if chosen.prediction == 'levels' else 1) + learned_variance)
  init, path = noise.parameters(lambda rng, t: net.init(rng, jnp.zeros((1, *spec.shape)), t, None))

  def denoise(params, x_t, t, cond, rng, s=None):
    along = lambda t: path(params, t)
    point = paths.at(along, t)
    output, _ = net.apply(params['network'] if learned else params, chosen.inputs(x_t, point),
                          chosen.times(noise, along, t, point, s), cond, rng=rng)
    return chosen.denoised(output, x_t.astype(jnp.float32), point, spec.levels, learned_variance)

  def terms(params, batch, rng, uniform_in):
    def of_step(x_t, t):
      x_hat, v = denoise(params, x_t, t, batch.get('cond'), None)
      return (x_hat, v) if learned_variance else x_hat

    return bound(of_step, lambda t: path(params, t), batch['x'], rng, levels=spec.levels,
                 num_steps=num_steps, variance=variance, ends=noise.ends(),
                 uniform_in=uniform_in)

  def schedule_loss(params, batch, rng):
    """The squared estimate: the ends fix its mean, so that it measures the variance."""
    return (terms(params, batch, rng, 'time')['diffusion'] / np.prod(spec.shape)) ** 2

  two_time = TwoTimes(
      lambda rng, batch: init(rng, batch, jnp.zeros((1, 2))),
      lambda params, x_t, t, s, cond, rng: denoise(params, x_t, t, cond, rng, s).x_0)
  return Model(
      init=init,
      elbo=lambda params, batch, rng: terms(params, batch, rng, 'time' if learned else 'logsnr'),
      diffusion=Diffusion(
          path, lambda params, x_t, t, cond, rng: denoise(params, x_t, t, cond, rng),
          two_time=None if learned or learned_variance else two_time,
          schedule_loss=schedule_loss if learned else None,
          learned_variance_steps=num_steps if learned_variance else None))
