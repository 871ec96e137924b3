"""Coupling flows: exact density by a change of variables, samples by the inverse pass.

log p(x) = log p_base(z) + log |det dz/dx|, z = f(x) a chain of coupling layers: RealNVP
(1605.08803), neural spline flows (1906.04032). f runs from data to base, so that the density, which
training needs most, uses the transforms' direct form; samples use their inverse.

Vectors: first z' = L (x - shift), L lower triangular and learned (alone it fits any Gaussian); then
couplings on R^D and a standard normal base. Data with levels, splines: the dequantised data fill a
cube. A learned spline per element maps it to itself (marginals), couplings keep it, and the base is
uniform on it, so that no mass lies outside. Data with levels, affine couplings: a logit maps the
cube to R^D.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics import bijections, splits
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, DataSpec, Model

TRANSFORMS = ('affine', 'rational_quadratic')
SPLITS = ('permutation', 'checkerboard')
SIDE = 32  # least side of images for which checkerboard and convolutions are the default
MAX_LOG_SCALE = 2.0  # bound for an affine coupling; unbounded scales overflow early in training
MAX_BINS = 64  # arrays of [B, bins, D] in each spline; 64 least bins are 6 % of the box
MAX_MARGINAL_BINS = 32
# pairs of couplings per iteration of the scan, whose copies cost 10 to 30 % of a train step on CPU;
# compilation takes a quarter longer with four than with one
UNROLL = 4
MARGINAL_GAIN = 10.0  # factor on the marginals' parameters, which need larger steps


class Bijection(NamedTuple):
  """[B, D] -> [B, D] and log |det| [B], both ways."""

  init: Callable  # () -> params
  forward: Callable  # (params, x) -> z, log |det dz/dx|
  inverse: Callable  # (params, z) -> x, log |det dx/dz|


def triangular(size: int) -> Bijection:
  """z = L (x - shift), L lower triangular with a positive diagonal; starts as the identity."""

  def init():
    return {'shift': jnp.zeros(size), 'log_diag': jnp.zeros(size), 'lower': jnp.zeros((size, size))}

  def matrix(params):
    return jnp.tril(params['lower'], -1) + jnp.diag(jnp.exp(params['log_diag']))

  def forward(params, x):
    z = jnp.matmul(x - params['shift'], matrix(params).T, precision=jax.lax.Precision.HIGHEST)
    return z, jnp.broadcast_to(params['log_diag'].sum(), x.shape[:1])

  def inverse(params, z):
    # a solve costs as much as all couplings of a small flow, so only samples use it
    x = jax.scipy.linalg.solve_triangular(matrix(params), z.T, lower=True).T + params['shift']
    return x, jnp.broadcast_to(-params['log_diag'].sum(), z.shape[:1])

  return Bijection(init, forward, inverse)


def marginals(size: int, levels: int) -> Bijection:
  """The dequantised cube to [-1, 1]^D by a spline per element, with one bin per level if few."""
  edge = 1.0 + 1.0 / (levels - 1)
  log_volume = size * float(np.log(edge))
  num_params = bijections.num_spline_params(max(2, min(levels, MAX_MARGINAL_BINS)))

  def init():
    return {'spline': jnp.zeros((num_params, size))}

  def forward(params, x):
    x = jnp.clip(x / edge, -1.0, 1.0)  # only rounding leads out of the cube
    z, log_det = bijections.rational_quadratic(x, MARGINAL_GAIN * params['spline'], 1.0)
    return z, log_det.sum(-1) - log_volume

  def inverse(params, z):
    x, log_det = bijections.rational_quadratic_inverse(z, MARGINAL_GAIN * params['spline'], 1.0)
    return x * edge, log_det.sum(-1) + log_volume

  return Bijection(init, forward, inverse)


def logit(inner: Bijection) -> Bijection:
  """`inner`, which maps to [-1, 1]^D, followed by z = 2 artanh(z'), the logit of that cube."""
  most = 1.0 - 1e-6  # float32 has no finite logit nearer to the edge

  def log_slope(z):  # log d tanh(z / 2) / dz
    return jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z) + float(np.log(2.0))

  def forward(params, x):
    h, log_det = inner.forward(params, x)
    z = 2.0 * jnp.arctanh(jnp.clip(h, -most, most))
    return z, log_det - log_slope(z).sum(-1)

  def inverse(params, z):
    x, log_det = inner.inverse(params, jnp.tanh(0.5 * z))
    return x, log_det + log_slope(z).sum(-1)

  return Bijection(inner.init, forward, inverse)


def couplings(split: splits.Split, transform: Callable, net: Callable) -> Callable:
  """Returns run(params, x, cond, inverse) -> y, log |det| [B]: a scan over pairs of couplings.

  A pair orders the elements as the split says, transforms the last half given the first, and then
  the first given the last. All pairs have the same form, so that the scan compiles one.
  transform: (raw [B, P, d], x [B, d], inverse) -> y, log-derivative [B, d]; net: (params, x, cond,
  which) -> raw.
  """
  keep = int(np.prod(split.shapes[0]))
  # each order and its inverse
  orders = jnp.asarray(np.stack([split.orders, np.argsort(split.orders, -1)], 1))

  def couple(params, x, given, cond, which, inverse):
    y, log_det = transform(net(params[which], given, cond, which), x, inverse)
    return y, log_det.sum(-1)

  def pair(carry, layer, cond, inverse):
    (x, total), (params, order) = carry, layer
    if not inverse:
      x = x[:, order[0]]
    a, b = x[:, :keep], x[:, keep:]
    if inverse:
      a, log_det_a = couple(params, a, b, cond, 'first', True)
      b, log_det_b = couple(params, b, a, cond, 'last', True)
    else:
      b, log_det_b = couple(params, b, a, cond, 'last', False)
      a, log_det_a = couple(params, a, b, cond, 'first', False)
    x = jnp.concatenate([a, b], -1)
    return (x[:, order[1]] if inverse else x, total + log_det_a + log_det_b), None

  def run(params, x, cond, inverse):
    start = (x, jnp.zeros(x.shape[0]))
    body = partial(pair, cond=cond, inverse=inverse)
    return jax.lax.scan(body, start, (params, orders), reverse=inverse, unroll=UNROLL)[0]

  return run


def conditioners(conditioner: Callable, split: splits.Split, num_params: int):
  """init(rng) -> params of all pairs, and net(params, given [B, d], cond, which) -> [B, P, d'].

  which: 'first', the half that is transformed, or 'last'.
  """
  shapes = dict(zip(('first', 'last'), split.shapes, strict=True))
  given = {'first': shapes['last'], 'last': shapes['first']}
  nets = {which: conditioner(given=given[which], shape=shape, out=num_params)
          for which, shape in shapes.items()}

  def init(rng):
    one = lambda which: lambda key: nets[which].init(key, jnp.zeros((1, *given[which])), None)
    rngs = jax.random.split(rng, (2, len(split.orders)))
    return {which: jax.vmap(one(which))(keys) for which, keys in zip(nets, rngs, strict=True)}

  def net(params, x, cond, which):
    raw, _ = nets[which].apply(params, x.reshape(-1, *given[which]), cond)
    return raw.reshape(x.shape[0], -1, num_params).swapaxes(1, 2)

  return init, net


def make(spec: DataSpec, conditioner: Callable, *, transform: str = 'rational_quadratic',
         num_couplings: int = 8, split: str | None = None, num_bins: int | None = None,
         bound: float = 4.0) -> Model:
  """Returns a flow: sample, rsample, log_prob, sample_and_log_prob; with levels elbo, log_weight.

  conditioner: network role.
  transform: 'rational_quadratic' (1906.04032) or 'affine'.
  num_couplings: an even number.
  split: 'permutation', or 'checkerboard' of images, which conditioners then see as images; None:
    'checkerboard' for images of even sides from 32 pixels on.
  num_bins: of a spline; None: 8, with levels 4.
  bound: splines of vectors act on [-bound, bound].
  Raises BadInput for other values.
  """
  _check(spec, transform, num_couplings, split, num_bins)
  size, cube = int(np.prod(spec.shape)), spec.levels is not None
  uniform = cube and transform == 'rational_quadratic'
  num_bins = (4 if cube else 8) if num_bins is None else num_bins
  num_params = 2 if transform == 'affine' else bijections.num_spline_params(num_bins)
  halves = (splits.checkerboard(spec.shape, num_couplings) if _on_board(spec.shape, split)
            else splits.permutation(size, num_couplings))
  init_couplings, net = conditioners(conditioner, halves, num_params)
  frame = marginals(size, spec.levels) if cube else triangular(size)
  frame = logit(frame) if cube and not uniform else frame
  run = couplings(halves, partial(_transform, transform, 1.0 if uniform else bound), net)

  def init(rng, batch):
    return {'frame': frame.init(), 'couplings': init_couplings(rng)}

  def log_base(z):
    if uniform:
      return jnp.full(z.shape[0], -size * float(np.log(2.0)))
    return sum_event(prob.normal_log_prob(z))

  def log_prob(params, batch, rng):
    del rng
    x = batch['x'].reshape(-1, size).astype(jnp.float32)
    h, log_det = frame.forward(params['frame'], x)
    z, log_det_h = run(params['couplings'], h, batch.get('cond'), False)
    return log_base(z) + log_det + log_det_h

  def sample_and_log_prob(params, rng, n, cond):
    z = (jax.random.uniform(rng, (n, size), minval=-1.0, maxval=1.0) if uniform
         else jax.random.normal(rng, (n, size)))
    h, log_det = run(params['couplings'], z, cond, True)
    x, log_det_x = frame.inverse(params['frame'], h)
    return x.reshape(n, *spec.shape), log_base(z) - log_det - log_det_x

  def rsample(params, rng, n, cond):
    return sample_and_log_prob(params, rng, n, cond)[0]

  return prob.dequantise(Model(
      init, sample=lambda params, rng, n, cond: (rsample(params, rng, n, cond), 1),
      rsample=rsample, log_prob=log_prob, sample_and_log_prob=sample_and_log_prob), spec)


def _on_board(shape: tuple[int, ...], split: str | None) -> bool:
  """Whether couplings split images by squares of pixels."""
  if split is not None:
    return split == 'checkerboard'
  return len(shape) == 3 and min(shape[:2]) >= SIDE and not (shape[0] % 2 or shape[1] % 2)


def _transform(name: str, bound: float, raw, x, inverse: bool):
  """One coupling's transform, or its inverse, from unconstrained raw [B, num_params, d]."""
  if name == 'affine':
    f = bijections.affine_inverse if inverse else bijections.affine
    return f(x, raw[:, 0], MAX_LOG_SCALE * jnp.tanh(raw[:, 1] / MAX_LOG_SCALE))
  f = bijections.rational_quadratic_inverse if inverse else bijections.rational_quadratic
  # the batch last: sums over the bins then add whole rows
  y, log_det = f(x.T, raw.transpose(2, 1, 0), bound)
  return y.T, log_det.T


def _check(spec, transform, num_couplings, split, num_bins):
  if transform not in TRANSFORMS:
    raise BadInput(f'unknown transform {transform!r}; allowed: {", ".join(TRANSFORMS)}')
  if split is not None and split not in SPLITS:
    raise BadInput(f'unknown split {split!r}; allowed: {", ".join(SPLITS)}')
  if num_couplings < 2 or num_couplings % 2:
    raise BadInput(f'num_couplings = {num_couplings}; allowed: 2, 4, 6, ...')
  if num_bins is not None and not 2 <= num_bins <= MAX_BINS:
    raise BadInput(f'num_bins = {num_bins}; allowed: 2 to {MAX_BINS}')
  if int(np.prod(spec.shape)) < 2:
    raise BadInput(f'couplings split the elements of x, of shape {spec.shape}; allowed: 2 or more')
