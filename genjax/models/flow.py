"""Coupling flows: RealNVP (1605.08803), neural spline flows (1906.04032).

A frame that suits the data (`models.frames`), then pairs of couplings, then a base distribution.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from genjax.models import bijection, frames
from genjax.models.couplings import conditioners, couplings
from genjax.models.dequantiser import noise
from genjax.numerics import bijections, splits
from genjax.types import BadInput, DataSpec, Model

OPTIONAL = {'dequantiser': ('dequantisation', 'variational')}
SPLITS = ('permutation', 'checkerboard')
SIDE = 32  # least side of images for which checkerboard and convolutions are the default


def make(spec: DataSpec, conditioner: Callable, dequantiser: Callable, *,
         transform: str = 'rational_quadratic', num_couplings: int = 8, split: str | None = None,
         num_bins: int | None = None, bound: float = 4.0, dequantisation: str = 'uniform') -> Model:
  """Returns a flow: sample, rsample, log_prob, sample_and_log_prob; with levels elbo, log_weight.

  conditioner: network role.
  transform: 'rational_quadratic' (1906.04032) or 'affine'.
  num_couplings: an even number.
  split: 'permutation', or 'checkerboard' of images, which conditioners then see as images; None:
    'checkerboard' for images of even sides from 32 pixels on.
  num_bins: of a spline; None: 8, with levels 4.
  bound: splines of vectors act on [-bound, bound].
  dequantisation: of data with levels, 'uniform', or 'variational' by the network role dequantiser.
  Raises BadInput for other values.
  """
  num_bins = bijections.checked_bins(transform, num_bins, 8 if spec.levels is None else 4)
  _check(spec, num_couplings, split)
  halves = (splits.checkerboard(spec.shape, num_couplings) if _on_board(spec.shape, split)
            else splits.permutation(int(np.prod(spec.shape)), num_couplings))
  frame = frames.frame(spec, transform, bound)
  layers = couplings(
      halves, partial(bijections.elementwise, transform, frame.bound),
      *conditioners(conditioner, halves, bijections.num_params(transform, num_bins)))
  return bijection.flow(bijection.chain(frame=frame.bijection, couplings=layers), frame.base, spec,
                        noise=noise(spec, dequantiser, dequantisation))


def _on_board(shape: tuple[int, ...], split: str | None) -> bool:
  """Whether couplings split images by squares of pixels."""
  if split is not None:
    return split == 'checkerboard'
  return len(shape) == 3 and min(shape[:2]) >= SIDE and not (shape[0] % 2 or shape[1] % 2)


def _check(spec, num_couplings, split):
  if split is not None and split not in SPLITS:
    raise BadInput(f'unknown split {split!r}; allowed: {", ".join(SPLITS)}')
  if num_couplings < 2 or num_couplings % 2:
    raise BadInput(f'num_couplings = {num_couplings}; allowed: 2, 4, 6, ...')
  if int(np.prod(spec.shape)) < 2:
    raise BadInput(f'couplings split the elements of x, of shape {spec.shape}; allowed: 2 or more')
