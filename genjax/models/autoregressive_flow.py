"""Autoregressive flows: masked (MAF, 1705.07057) and inverse (IAF, 1606.04934).

z_i = T(x_i; theta_i(x_<i)) per dimension, with a masked network for theta and T affine or a spline
(1906.04032). One direction is one pass of the network, the other D passes, one dimension after
another.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models import bijection, frames
from genjax.models.bijection import Bijection
from genjax.models.dequantiser import noise
from genjax.numerics import bijections
from genjax.types import BadInput, DataSpec, Model, Network

OPTIONAL = {'dequantiser': ('dequantisation', 'variational')}
DIRECTIONS = ('density', 'sampling')
UNROLL = 4  # layers per iteration of the scan, as for couplings


def layer(size: int, transform: Callable, net: Network) -> Bijection:
  """Returns z_i = T(x_i; theta_i(x_<i)) of x [B, D], with z in the reversed order.

  transform: (raw [B, P, d], x [B, d], inverse) -> y, log-derivative [B, d]; net: a masked network
  with P outputs. `forward` is one pass, `inverse` a loop over the dimensions, which is
  differentiable (each pass is computed again for the gradient).
  """

  def init(rng):
    return net.init(rng, jnp.zeros((1, size)), None)

  def parameters(params, x, cond):
    return net.apply(params, x, cond)[0].swapaxes(1, 2)  # [B, P, D]

  def forward(params, x, cond):
    z, log_det = transform(parameters(params, x, cond), x, False)
    return z[:, ::-1], log_det.sum(-1)

  def inverse(params, z, cond):
    z = z[:, ::-1]

    @jax.checkpoint
    def dimension(x, i):
      raw = jax.lax.dynamic_slice_in_dim(parameters(params, x, cond), i, 1, 2)
      x_i, log_det = transform(raw, jax.lax.dynamic_slice_in_dim(z, i, 1, 1), True)
      return jax.lax.dynamic_update_slice_in_dim(x, x_i, i, 1), log_det[:, 0]

    x, log_det = jax.lax.scan(dimension, jnp.zeros_like(z), jnp.arange(size))
    return x, log_det.sum(0)

  return Bijection(init, forward, inverse)


def make(spec: DataSpec, masked: Callable, dequantiser: Callable, *, direction: str = 'density',
         transform: str = 'rational_quadratic', num_layers: int = 4, num_bins: int | None = None,
         bound: float = 4.0, dequantisation: str = 'uniform') -> Model:
  """Returns a flow: sample, rsample, log_prob, sample_and_log_prob; with levels elbo, log_weight.

  masked: network role.
  direction: 'density': log_prob is one pass, sampling D passes (MAF); 'sampling': samples and their
    log_prob are one pass, log_prob of other points D passes (IAF).
  transform: 'rational_quadratic' or 'affine'.
  num_layers: each sees the dimensions in the reversed order of the one before.
  num_bins: of a spline; None: 8, with levels 4.
  bound: splines of vectors act on [-bound, bound].
  dequantisation: of data with levels, 'uniform', or 'variational' by the network role dequantiser.
  Raises BadInput for other values.
  """
  num_bins = bijections.checked_bins(transform, num_bins, 8 if spec.levels is None else 4)
  if direction not in DIRECTIONS:
    raise BadInput(f'unknown direction {direction!r}; allowed: {", ".join(DIRECTIONS)}')
  size, frame = int(np.prod(spec.shape)), frames.frame(spec, transform, bound)
  fast = direction == 'density'
  one = layer(size, partial(bijections.elementwise, transform, frame.bound),
              masked(out=bijections.num_params(transform, num_bins)))
  chosen = bijection.repeated(one if fast else bijection.inverted(one), num_layers, UNROLL)
  return bijection.flow(
      bijection.chain(frame=frame.bijection, layers=chosen),
      frame.base, spec, noise=noise(spec, dequantiser, dequantisation),
      evaluations=size if fast else 1)
