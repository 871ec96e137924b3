"""A Gaussian diffusion: path, what its network is told and puts out, and the bound it gives.

DDPM, VDM, score SDE, EDM, flow matching and rectified flow are choices of `schedule` and
`prediction` here, of a weighting and times in `objectives.score_matching`, and of a sampler.
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
  """A schedule with its bounds, and the times between which logsnr lies within them."""

  name: str
  logsnr_min: float
  logsnr_max: float
  fixed: Callable | None  # t -> alpha, sigma; None: learned

  def ends(self):
    """(0, 1), unless logsnr is infinite there."""
    if self.name not in schedules.UNBOUNDED:
      return 0.0, 1.0
    bounds = jnp.array([self.logsnr_max, self.logsnr_min])
    return tuple(paths.time_of_logsnr(self.fixed, bounds))

  def parameters(self, init_network: Callable):
    """init(rng, batch, t=None) -> params, and path(params, t) -> alpha, sigma.

    init_network: (rng, t) -> the network's; beside a learned schedule they are 'network'.
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
  """Where the path starts: noise of a third of half a cell, so that the integers survive it.

  At 256 levels this is 13.3, VDM's initial value; continuous data: 10.
  """
  return 10.0 if levels is None else float(2.0 * np.log(3.0 * (levels - 1)))


def make_noise(name: str, logsnr_min: float | None, logsnr_max: float | None,
               levels: int | None) -> Noise:
  """The schedule and its bounds. BadInput for an unknown name.

  name: of `numerics.path`, or 'learned' (2107.00630, App. H; under objective kl alone). logsnr runs
  from logsnr_max (None: by the levels; of 'edm' sigma 0.002) to logsnr_min (None: -10; of 'edm'
  sigma 80); where a schedule has no such ends ('linear', 'zero_terminal_snr'), they are the
  bound's.
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


class Told(NamedTuple):
  """What goes into the network and comes out of it; see `make`."""

  prediction: str
  condition: str
  scale_input: bool
  sigma_data: float
  time_scale: float | None

  def of_noise(self, noise: Noise, t, point):
    """What the network hears of the noise at t, [B] in [0, 1]."""
    if self.condition == 'time':
      return t
    # an infinite logsnr is told as the bound, and has no slope
    alpha, sigma = (jnp.maximum(a, 1e-12) for a in (point.alpha, point.sigma))
    share = noise.logsnr_max - paths.logsnr(alpha, sigma)
    return jnp.clip(share / (noise.logsnr_max - noise.logsnr_min), 0.0, 1.0)

  def times(self, noise: Noise, path, t, point, s):
    """What the network is given for t, or for t and s, in units of its time embedding."""
    heard, fastest = self.of_noise(noise, t, point), 1000.0
    if s is not None:
      at_s = self.of_noise(noise, s, paths.Point(*path(s)))
      heard, fastest = jnp.stack([heard, heard - at_s], -1), 2.0
    return heard * ((fastest if self.time_scale is None else self.time_scale) / 1000.0)

  def inputs(self, x_t, point):
    """x_t, or x_t divided by its deviation."""
    if not self.scale_input:
      return x_t
    return x_t * match(predictions.c_in(point, self.sigma_data), x_t)

  def denoised(self, output, x_t, point, levels: int | None, learned_variance: bool) -> Denoised:
    """What the output [B, ..., out] says of x_t; a learned variance is the last number of each."""
    v = None
    if learned_variance:
      output, v = output[..., :-1], jax.nn.sigmoid(output[..., -1])
    if self.prediction == 'levels':
      return Denoised(mean_level(output, x_t, point.alpha, point.sigma, levels), v)
    return Denoised(predictions.to_data(self.prediction, output[..., 0], x_t, point,
                                        self.sigma_data), v)


def make_told(spec: DataSpec, schedule: str, prediction: str | None, condition: str | None,
              scale_input: bool | None, sigma_data: float, time_scale: float | None) -> Told:
  """The choices of `make`, None replaced by what suits. BadInput for unknown or wrong ones."""
  prediction = prediction or ('v' if spec.levels is None else 'levels')
  told_logsnr = prediction == 'edm' or schedule in ('edm', 'learned')
  condition = condition or ('logsnr' if told_logsnr else 'time')
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
  return Told(prediction, condition, scale_input, sigma_data, time_scale)


def check_steps(num_steps: int | None, variance: str) -> None:
  """Refuses a variance of the bound's steps that is unknown, or of steps that there are none of."""
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
  """Model with a `diffusion` and `elbo` (nats; with levels it bounds the probability mass).

  schedule, logsnr_min, logsnr_max: see `make_noise`. prediction: what the network puts out: 'v'
  (default for continuous data), or another of `numerics.prediction`, or with levels 'levels'
  (default there): logits of each dimension's level before its own x_t is looked at. sigma_data: the
  data's deviation, of 'edm' and scale_input. condition: what of the noise the network is told,
  'time', or 'logsnr' from 0 to 1 between its bounds (VDM; EDM's c_noise is an affine of it).
  scale_input: x_t divided by its deviation (EDM's c_in). None: both as in their papers for
  prediction 'edm', schedules 'edm' and 've' (scale_input) and 'learned' (logsnr), else 'time' and
  False. time_scale: the fastest angle of the embedding of that number. None: 1000 (2006.11239), and
  2 of `two_time`, whose losses take derivatives in time, which the fastest angles would drown
  (2410.11081). num_steps, variance: of the bound; None is continuous time, else T steps with the
  variance 'posterior' (beta tilde), 'upper' (beta) or 'learned' (2102.09672), which `denoise` then
  gives. `two_time`, on a fixed schedule and without a learned variance, is the same with a network
  that is told two numbers, that of t and its difference to that of s (2505.13447, its ablations).
  `denoise` given an rng applies dropout; `elbo` does not. BadInput on unknown names.
  """
  noise = make_noise(schedule, logsnr_min, logsnr_max, spec.levels)
  told = make_told(spec, schedule, prediction, condition, scale_input, sigma_data, time_scale)
  check_steps(num_steps, variance)
  learned, learned_variance = schedule == 'learned', variance == 'learned'
  net = denoiser(out=(spec.levels if told.prediction == 'levels' else 1) + learned_variance)
  init, path = noise.parameters(lambda rng, t: net.init(rng, jnp.zeros((1, *spec.shape)), t, None))

  def denoise(params, x_t, t, cond, rng, s=None):
    along = lambda t: path(params, t)
    point = paths.at(along, t)
    output, _ = net.apply(params['network'] if learned else params, told.inputs(x_t, point),
                          told.times(noise, along, t, point, s), cond, rng=rng)
    return told.denoised(output, x_t.astype(jnp.float32), point, spec.levels, learned_variance)

  def terms(params, batch, rng, uniform_in):
    def of_step(x_t, t):
      x_hat, v = denoise(params, x_t, t, batch.get('cond'), None)
      return (x_hat, v) if learned_variance else x_hat

    return bound(of_step, lambda t: path(params, t), batch['x'], rng, levels=spec.levels,
                 num_steps=num_steps, variance=variance, ends=noise.ends(),
                 uniform_in=uniform_in)

  def schedule_loss(params, batch, rng):
    """The squared estimate: its mean is fixed by the ends, so that its variance remains."""
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
