"""Glow: a multi-scale flow of images (1807.03039).

Each scale squeezes squares of 2 x 2 pixels into channels and applies steps of actnorm, an
invertible 1 x 1 convolution and a coupling. After each scale but the last, half of the channels
leave as z, normalised given the other half.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from genjax.models import bijection, frames
from genjax.models.bijection import Bijection
from genjax.models.dequantiser import noise
from genjax.nn.convnet import patches
from genjax.nn.dit import unpatchify
from genjax.numerics import bijections
from genjax.types import BadInput, DataSpec, Model, Network

OPTIONAL = {'dequantiser': ('dequantisation', 'variational')}
MOST_SCALES, LEAST_SIDE = 3, 2  # of the default number of scales
HIGHEST = jax.lax.Precision.HIGHEST
LEAST_STD = 1e-4  # of a channel in the first batch; constant channels are scaled by 1 / LEAST_STD


def actnorm(channels: int) -> Bijection:
  """z = (x + bias) exp(log_scale) per channel; `adapt` gives the batch mean 0 and variance 1."""

  def init(rng):
    del rng
    return {'bias': jnp.zeros(channels), 'log_scale': jnp.zeros(channels)}

  def log_det(params, x):
    return jnp.full(x.shape[0], x.shape[1] * x.shape[2] * params['log_scale'].sum())

  def forward(params, x, cond):
    del cond
    return (x + params['bias']) * jnp.exp(params['log_scale']), log_det(params, x)

  def inverse(params, z, cond):
    del cond
    return z * jnp.exp(-params['log_scale']) - params['bias'], -log_det(params, z)

  def adapt(params, x, cond):
    del params, cond
    mean = x.mean((0, 1, 2))
    std = jnp.sqrt(((x - mean)**2).mean((0, 1, 2)))
    return {'bias': -mean, 'log_scale': -jnp.log(jnp.maximum(std, LEAST_STD))}

  return Bijection(init, forward, inverse, adapt)


def invertible_convolution(channels: int) -> Bijection:
  """z = P L U x per pixel, P a fixed permutation; starts as a rotation (1807.03039, Eq. 10)."""
  noise = np.random.default_rng(channels).normal(size=(channels, channels))
  p, lower_0, upper_0 = scipy.linalg.lu(np.linalg.qr(noise)[0])
  order = p.argmax(1)  # z = (L U x)[order]
  back, diagonal = np.argsort(order), np.diag(upper_0)
  signs = np.sign(diagonal).astype(np.float32)

  def init(rng):
    del rng
    return {'lower': jnp.asarray(np.tril(lower_0, -1), jnp.float32),
            'upper': jnp.asarray(np.triu(upper_0, 1), jnp.float32),
            'log_diag': jnp.asarray(np.log(np.abs(diagonal)), jnp.float32)}

  def factors(params):
    lower = jnp.tril(params['lower'], -1) + jnp.eye(channels)
    return lower, jnp.triu(params['upper'], 1) + jnp.diag(signs * jnp.exp(params['log_diag']))

  def log_det(params, x):
    return jnp.full(x.shape[0], x.shape[1] * x.shape[2] * params['log_diag'].sum())

  def forward(params, x, cond):
    del cond
    lower, upper = factors(params)
    matrix = jnp.matmul(lower, upper, precision=HIGHEST)[order]
    return jnp.matmul(x, matrix.T, precision=HIGHEST), log_det(params, x)

  def inverse(params, z, cond):
    del cond
    lower, upper = factors(params)
    solve = jax.scipy.linalg.solve_triangular
    matrix = solve(upper, solve(lower, jnp.eye(channels)[back], lower=True, unit_diagonal=True))
    return jnp.matmul(z, matrix.T, precision=HIGHEST), -log_det(params, z)

  return Bijection(init, forward, inverse)


def channel_coupling(shape: tuple[int, ...], transform: Callable, net: Network) -> Bijection:
  """The last half of the channels is transformed given the first half; shape = (h, w, c).

  transform: (raw [B, P, d], x [B, d], inverse) -> y, log-derivative [B, d].
  """
  half = (*shape[:2], shape[2] // 2)

  def init(rng):
    return net.init(rng, jnp.zeros((1, *half)), None)

  def run(params, x, cond, inverse):
    given, other = jnp.split(x, 2, -1)
    raw, _ = net.apply(params, given, cond)
    raw = raw.reshape(x.shape[0], -1, raw.shape[-1]).swapaxes(1, 2)
    y, log_det = transform(raw, other.reshape(x.shape[0], -1), inverse)
    return jnp.concatenate([given, y.reshape(other.shape)], -1), log_det.sum(-1)

  return Bijection(init, partial(run, inverse=False), partial(run, inverse=True))


def multi_scale(shape: tuple[int, ...], scales: list[Bijection]) -> Bijection:
  """Images [B, h, w, c] as vectors <-> z [B, h w c]: squeeze, a scale, half of the channels out.

  scales: of images with 4 times the channels of what remains, from the first to the last.
  """
  names = [f'scale_{i}' for i in range(len(scales))]
  h, w, c = shape
  # of what remains before each scale
  shapes = [(h // 2**i, w // 2**i, c * 2**i) for i in range(len(scales))]

  def init(rng):
    rngs = jax.random.split(rng, len(scales))
    return {name: scale.init(key) for name, scale, key in zip(names, scales, rngs, strict=True)}

  def forward(params, x, cond):
    x, total, leaving = x.reshape(-1, *shape), 0.0, []
    for name, scale in zip(names, scales, strict=True):
      x, log_det = scale.forward(params[name], patches(x, 2), cond)
      total = total + log_det
      if name != names[-1]:
        x, z = jnp.split(x, 2, -1)
        leaving.append(z.reshape(len(z), -1))
    return jnp.concatenate([*leaving, x.reshape(len(x), -1)], -1), total

  def inverse(params, z, cond):
    sizes = [int(np.prod(of)) // 2 for of in shapes[:-1]]
    *leaving, x = jnp.split(z, np.cumsum(sizes), -1)
    total = 0.0
    for i, (name, scale) in reversed(list(enumerate(zip(names, scales, strict=True)))):
      height, width, channels = shapes[i]
      squeezed = (height // 2, width // 2, 4 * channels)
      if name == names[-1]:
        x = x.reshape(-1, *squeezed)
      else:
        x = jnp.concatenate([x, leaving[i].reshape(x.shape)], -1)
      x, log_det = scale.inverse(params[name], x, cond)
      x, total = unpatchify(x, 2, shapes[i]), total + log_det
    return x.reshape(len(x), -1), total

  def adapt(params, x, cond):
    x, adapted = x.reshape(-1, *shape), {}
    for name, scale in zip(names, scales, strict=True):
      adapted[name] = scale.adapt(params[name], patches(x, 2), cond)
      x = jnp.split(scale.forward(adapted[name], patches(x, 2), cond)[0], 2, -1)[0]
    return adapted

  return Bijection(init, forward, inverse, adapt)


def make(spec: DataSpec, conditioner: Callable, dequantiser: Callable, *, transform: str = 'affine',
         num_layers: int = 8, num_scales: int | None = None, num_bins: int | None = None,
         bound: float = 4.0, dequantisation: str = 'uniform') -> Model:
  """Returns a flow of images: sample, rsample, log_prob, sample_and_log_prob; levels: elbo.

  conditioner: network role; a convolutional network unless the config chooses another.
  transform: of the couplings, 'affine' or 'rational_quadratic'.
  num_layers: per scale, each an actnorm, a convolution and a coupling.
  num_scales: None: up to 3, with at least 2 pixels a side at the last.
  num_bins: of a spline; None: 8. bound: splines act on [-bound, bound].
  dequantisation: of data with levels, 'uniform', or 'variational' by the network role dequantiser.
  Raises BadInput for other values, and for data that are no images with sides that 2^num_scales
  divides.
  """
  num_bins = bijections.checked_bins(transform, num_bins, 8)
  shape, num_scales = spec.shape, _scales(spec.shape, num_scales)
  num_params = bijections.num_params(transform, num_bins)

  def coupling(shape, transform, num_params):
    half = (*shape[:2], shape[2] // 2)
    net = conditioner(given=half, shape=half, out=num_params, otherwise='conv')
    return channel_coupling(shape, partial(bijections.elementwise, transform, bound), net)

  def scale(i):
    squeezed = (shape[0] // 2**(i + 1), shape[1] // 2**(i + 1), 4 * shape[2] * 2**i)
    steps = bijection.repeated(bijection.chain(
        actnorm=actnorm(squeezed[2]), mix=invertible_convolution(squeezed[2]),
        coupling=coupling(squeezed, transform, num_params)), num_layers)
    prior = {} if i == num_scales - 1 else {'prior': coupling(squeezed, 'affine', 2)}
    return bijection.chain(steps=steps, **prior)

  levels = {} if spec.levels is None else {'frame': frames.unbounded(spec).bijection}
  scales = multi_scale(shape, [scale(i) for i in range(num_scales)])
  return bijection.flow(bijection.chain(**levels, scales=scales),
                        bijection.normal(int(np.prod(shape))), spec,
                        noise=noise(spec, dequantiser, dequantisation))


def _scales(shape: tuple[int, ...], asked: int | None) -> int:
  """The number of scales; BadInput if images of this shape have no such number."""
  if len(shape) != 3:
    raise BadInput(f'model glow needs images, not shape {shape}; allowed there: flow, '
                   'autoregressive_flow, continuous_flow')
  possible = [n for n in range(1, 16) if not shape[0] % 2**n and not shape[1] % 2**n]
  if not possible or asked is not None and asked not in possible:
    raise BadInput(f'num_scales = {asked}: 2^num_scales must divide the sides of images of shape '
                   f'{shape}; allowed: {", ".join(map(str, possible)) or "none; use flow"}')
  fitting = [n for n in possible if n <= MOST_SCALES and min(shape[:2]) >= LEAST_SIDE * 2**n]
  return asked or max(fitting, default=1)
