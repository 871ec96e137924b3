"""A Gaussian diffusion: path, network, what the network puts out, and the bound it gives.

DDPM, VDM, score SDE, EDM, flow matching and rectified flow are choices of `schedule` and
`prediction` here, of a weighting and times in `objectives.score_matching`, and of a sampler.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models.diffusion_bound import VARIANCES, bound, mean_level
from genjax.nn.dense import product_dtype
from genjax.nn.dit import DiT
from genjax.nn.monotone import Monotone
from genjax.nn.time_mlp import TimeMLP
from genjax.nn.unet import UNet
from genjax.numerics import path as paths
from genjax.numerics import prediction as predictions
from genjax.numerics import schedules
from genjax.types import BadInput, DataSpec, Denoised, Diffusion, Model, TwoTimes

NETWORKS = {'dit': DiT, 'unet': UNet, 'time_mlp': TimeMLP}
ON_IMAGES = ('dit', 'unet')
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


def default_logsnr_max(levels: int | None) -> float:
  """Where the path starts: noise of a third of half a cell, so that the integers survive it.

  At 256 levels this is 13.3, VDM's initial value; continuous data: 10.
  """
  return 10.0 if levels is None else float(2.0 * np.log(3.0 * (levels - 1)))


def make_network(name: str | None, spec: DataSpec, num_classes: int, num_out: int,
                 given: dict):
  """The module NETWORKS[name] (None: by the data) with its own defaults where `given` is None.

  BadInput for an unknown name, images that are none, and a kw that this network does not take.
  """
  image = len(spec.shape) == 3
  name = name or ('dit' if image else 'time_mlp')
  if name not in NETWORKS:
    raise BadInput(f'network = {name!r} is unknown; allowed: {", ".join(NETWORKS)}')
  if name in ON_IMAGES and not image:
    raise BadInput(f"network = {name!r} needs images, not shape {spec.shape}; "
                   "allowed: 'time_mlp'")
  network = NETWORKS[name]
  takes = [key for key in given if key in network.__dataclass_fields__]
  given = {key: value for key, value in given.items() if value is not None}
  for key, value in given.items():
    if key not in takes:
      raise BadInput(f'network {name!r} takes no {key} = {value!r}; it takes: {", ".join(takes)}')
  given = {key: tuple(value) if type(value) is list else value for key, value in given.items()}
  if 'dtype' in given:
    given['dtype'] = product_dtype(given['dtype'])
  return network(num_classes=num_classes, num_out=num_out, **given)


def make_noise(name: str, logsnr_min: float | None, logsnr_max: float | None,
               levels: int | None) -> Noise:
  """The schedule and its bounds; None: by schedule and levels. BadInput for an unknown name."""
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


def check(spec: DataSpec, prediction: str, condition: str, num_steps: int | None, variance: str,
          conditional: bool, **scales: float) -> None:
  """Refuses choices that are unknown, or that contradict each other or the data."""
  for name, value, allowed in (
      ('prediction', prediction, predictions.PREDICTIONS if spec.levels is None else PREDICTIONS),
      ('condition', condition, CONDITIONS), ('variance', variance, VARIANCES)):
    if value not in allowed:
      raise BadInput(f'{name} = {value!r} is unknown here; allowed: {", ".join(allowed)}')
  if num_steps is not None and num_steps < 1:
    raise BadInput(f'num_steps = {num_steps} must be None (continuous time) or at least 1')
  if variance != 'posterior' and num_steps is None:
    raise BadInput(f'variance = {variance!r} is of the steps of a bound, and num_steps = None says '
                   'there are none; allowed: a num_steps, or posterior')
  if conditional and spec.num_classes is None:
    raise BadInput('conditional = True, but the data have no labels; allowed: False')
  for name, scale in scales.items():
    if not scale > 0.0:
      raise BadInput(f'{name} = {scale} must be above 0')


def make(spec: DataSpec, *, network: str | None = None, width: int | None = None,
         num_blocks: int | None = None, num_heads: int | None = None, patch: int | None = None,
         multipliers: tuple[int, ...] | None = None, attention: tuple[int, ...] | None = None,
         dropout: float | None = None, dtype: str | None = None, remat: bool | None = None,
         scan: bool | None = None, fourier: tuple[int, ...] | None = None,
         residual_scale: float | None = None, schedule: str = 'cosine',
         prediction: str | None = None, logsnr_min: float | None = None,
         logsnr_max: float | None = None, sigma_data: float = 0.5, condition: str | None = None,
         scale_input: bool | None = None, time_scale: float | None = None,
         num_steps: int | None = None, variance: str = 'posterior',
         conditional: bool = False) -> Model:
  """Model with `denoise`, `path` and `elbo` (nats; with levels it bounds the probability mass).

  network: 'dit' (default for images), 'unet' or 'time_mlp' (default else); width to residual_scale
  are its fields, None its own default, and dtype 'float32' or 'bfloat16'.
  schedule: of `numerics.path`, or 'learned' (2107.00630, App. H; under objective kl alone): logsnr
  from logsnr_max (None: by the levels; of 'edm' sigma 0.002) to logsnr_min (None: -10; of 'edm'
  sigma 80); where a schedule has no such ends ('linear', 'zero_terminal_snr'), they are the
  bound's. prediction: what the network puts out: 'v' (default for continuous data), or another of
  `numerics.prediction`, or with levels 'levels' (default there): logits of each dimension's level
  before its own x_t is looked at. sigma_data: the data's deviation, of 'edm' and scale_input.
  condition: what of the noise the network is told, 'time', or 'logsnr' from 0 to 1 between its
  bounds (VDM; EDM's c_noise is an affine of it). scale_input: x_t divided by its deviation (EDM's
  c_in). None: both as in their papers for prediction 'edm', schedules 'edm' and 've' (scale_input)
  and 'learned' (logsnr), else 'time' and False. time_scale: the fastest angle of the embedding of
  that number. None: 1000 (2006.11239), and 2 of `two_time`, whose losses take derivatives in time,
  which the fastest angles would drown (2410.11081).
  num_steps, variance: of the bound; None is continuous time, else T steps with the variance
  'posterior' (beta tilde), 'upper' (beta) or 'learned' (2102.09672), which
  `denoise` then gives.
  `two_time`, on a fixed schedule and without a learned variance, is the same with a network that
  is told two numbers, that of t and its difference to that of s (2505.13447, its ablations).
  `denoise` given an rng applies dropout; `elbo` does not. BadInput on unknown names and on fields
  that the network does not have.
  """
  prediction = prediction or ('v' if spec.levels is None else 'levels')
  noise = make_noise(schedule, logsnr_min, logsnr_max, spec.levels)
  told_logsnr = prediction == 'edm' or schedule in ('edm', 'learned')
  condition = condition or ('logsnr' if told_logsnr else 'time')
  if scale_input is None:
    scale_input = prediction == 'edm' or schedule in schedules.EXPLODING
  check(spec, prediction, condition, num_steps, variance, conditional, sigma_data=sigma_data,
        time_scale=1.0 if time_scale is None else time_scale)
  num_classes = spec.num_classes if conditional else 0
  learned, learned_variance = schedule == 'learned', variance == 'learned'
  num_out = (spec.levels if prediction == 'levels' else 1) + learned_variance
  net = make_network(network, spec, num_classes, num_out, {
      'width': width, 'num_blocks': num_blocks, 'num_heads': num_heads, 'patch': patch,
      'multipliers': multipliers, 'attention': attention, 'dropout': dropout, 'dtype': dtype,
      'remat': remat, 'scan': scan, 'fourier': fourier, 'residual_scale': residual_scale})
  monotone = Monotone()

  def init_network(rng, t):
    return net.init(rng, jnp.zeros((1, *spec.shape)), t)['params']

  def init(rng, batch):
    if not learned:
      return init_network(rng, jnp.zeros(1))
    rng_network, rng_schedule = jax.random.split(rng)
    return {'network': init_network(rng_network, jnp.zeros(1)),
            'schedule': monotone.init(rng_schedule, jnp.zeros(1))['params']}

  def path(params, t):
    if not learned:
      return noise.fixed(t)
    fall = monotone.apply({'params': params['schedule']}, t)
    return schedules.from_logsnr(
        noise.logsnr_max + (noise.logsnr_min - noise.logsnr_max) * fall)

  def told(t, point):
    """What the network hears of the noise, [B] in [0, 1]."""
    if condition == 'time':
      return t
    # an infinite logsnr is told as the bound, and has no slope
    alpha, sigma = (jnp.maximum(a, 1e-12) for a in (point.alpha, point.sigma))
    share = noise.logsnr_max - paths.logsnr(alpha, sigma)
    return jnp.clip(share / (noise.logsnr_max - noise.logsnr_min), 0.0, 1.0)

  def denoise(params, x_t, t, cond, rng, s=None):
    point = paths.at(lambda t: path(params, t), t)
    inputs = x_t
    if scale_input:
      inputs = x_t * paths.match(predictions.c_in(point, sigma_data), x_t)
    heard, fastest = told(t, point), 1000.0 if time_scale is None else time_scale
    if s is not None:
      heard = jnp.stack([heard, heard - told(s, paths.Point(*path(params, s)))], -1)
      fastest = 2.0 if time_scale is None else time_scale
    theta = params['network'] if learned else params
    output = net.apply({'params': theta}, inputs, heard * (fastest / 1000.0),
                       cond if conditional else None, rng is None,
                       rngs={} if rng is None else {'dropout': rng})
    x_t, v = x_t.astype(jnp.float32), None
    if learned_variance:
      output = output.reshape(*x_t.shape, num_out)
      output, v = output[..., :-1], jax.nn.sigmoid(output[..., -1])
      output = output.reshape(x_t.shape) if num_out == 2 else output
    if prediction == 'levels':
      return Denoised(mean_level(output, x_t, point.alpha, point.sigma, spec.levels), v)
    return Denoised(predictions.to_data(prediction, output, x_t, point, sigma_data), v)

  def denoise_towards(params, x_t, t, s, cond, rng):
    return denoise(params, x_t, t, cond, rng, s).x_0

  def terms(params, batch, rng, uniform_in):
    cond = batch.get('cond')

    def of_step(x_t, t):
      x_hat, v = denoise(params, x_t, t, cond, None)
      return (x_hat, v) if learned_variance else x_hat

    return bound(of_step, lambda t: path(params, t), batch['x'], rng, levels=spec.levels,
                 num_steps=num_steps, variance=variance, ends=noise.ends(),
                 uniform_in=uniform_in)

  def elbo(params, batch, rng):
    return terms(params, batch, rng, 'time' if learned else 'logsnr')

  def schedule_loss(params, batch, rng):
    """The squared estimate: its mean is fixed by the ends, so that its variance remains."""
    diffusion = terms(params, batch, rng, 'time')['diffusion']
    return (diffusion / np.prod(spec.shape)) ** 2

  two_time = TwoTimes(lambda rng, batch: init_network(rng, jnp.zeros((1, 2))), denoise_towards)
  return Model(init=init, elbo=elbo, diffusion=Diffusion(
      path, lambda params, x_t, t, cond, rng: denoise(params, x_t, t, cond, rng),
      two_time=None if learned or learned_variance else two_time,
      schedule_loss=schedule_loss if learned else None,
      learned_variance_steps=num_steps if learned_variance else None))
