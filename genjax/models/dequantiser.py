"""Variational dequantisation: noise within the cells by a flow given x (Flow++, 1902.00275).

u = h f(e; x) with e uniform on [-1, 1]^D, h half the side of a cell, and f a pair of spline
couplings that keep the cube. Networks that start at zero start as uniform dequantisation.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.models import bijection
from genjax.models.bijection import Noise
from genjax.models.couplings import conditioners, couplings
from genjax.numerics import bijections, splits
from genjax.types import BadInput, DataSpec

DEQUANTISATIONS = ('uniform', 'variational')
NUM_BINS = 8
NUM_COUPLINGS = 2  # a pair: each half of the noise given the other and all of x


def noise(spec: DataSpec, dequantiser: Callable, dequantisation: str) -> Noise | None:
  """The noise of that name; None: uniform. Its term is `log_noise_volume`, -log q(u | x) in nats.

  dequantiser: network role. Raises BadInput for another name, and for 'variational' on data without
  levels.
  """
  if dequantisation not in DEQUANTISATIONS:
    raise BadInput(f'unknown dequantisation {dequantisation!r}; allowed: '
                   f'{", ".join(DEQUANTISATIONS)}')
  if dequantisation == 'uniform':
    return None
  if spec.levels is None:
    raise BadInput(f'dequantisation = {dequantisation!r}, but the data are continuous; allowed: '
                   "'uniform', which then adds nothing")
  shape, size = spec.shape, int(np.prod(spec.shape))
  if size < 2:
    raise BadInput(f"dequantisation = 'variational' splits the elements of x, of shape {shape}; "
                   "allowed: 'uniform', or 2 elements or more")
  on_board = len(shape) == 3 and not (shape[0] % 2 or shape[1] % 2)
  halves = (splits.checkerboard(shape, NUM_COUPLINGS) if on_board
            else splits.permutation(size, NUM_COUPLINGS))
  side = (*halves.shapes[0][:-1], size // int(np.prod(halves.shapes[0][:-1])))
  init, net = conditioners(dequantiser, halves, bijections.num_spline_params(NUM_BINS), side)
  layers = couplings(halves, partial(bijections.elementwise, 'rational_quadratic', 1.0), init, net)
  keep, base = int(np.prod(halves.shapes[0])), bijection.uniform(size)
  in_place = np.argsort(halves.orders[0])
  log_volume, half = prob.log_cell_volume(spec), 1.0 / (spec.levels - 1)

  def draw(params, rng, batch):
    x = batch['x']
    ordered = x.reshape(len(x), -1)[:, halves.orders[0]]
    parts = (ordered[:, :keep].reshape(-1, *halves.shapes[0]),
             ordered[:, keep:].reshape(-1, *halves.shapes[1]))
    u, log_det = layers.forward(params, base.sample(rng, len(x)),
                                (jnp.concatenate(parts, -1), batch.get('cond')))
    u = u[:, in_place].reshape(x.shape)
    return x + half * u, {'log_noise_volume': log_volume + log_det}

  return Noise(init, draw)
