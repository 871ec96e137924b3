"""Values of a user's examples: integer levels of images, or continuous ones as they are.

An array that is probably an image in another convention is refused, with code that converts it.
"""

import warnings

import numpy as np

from genjax import disk
from genjax.types import BadInput

CHANNELS = (1, 3)
SCALES = 100  # ratio of standard deviations of columns beyond which a warning is given
TO_BYTES = 'np.rint({}).astype(np.uint8)'


def checked(x: np.ndarray, levels: int | None, source: str) -> tuple[np.ndarray, int | None]:
  """x as uint8 levels [N, H, W, C] or as float32 [N, ...], and its number of levels or None.

  levels: of uint8 images, whose 0..255 are mapped back to 0..levels - 1; None declares float values
  continuous, whatever they look like. Raises BadInput for another dtype or order of axes, float
  images of 0..255 and values that are not finite; warns of float images of 0..1.
  """
  if not x.size:
    raise BadInput(f'{source}: x has shape {x.shape}; allowed: at least one example')
  if x.dtype == np.uint8 and x.ndim == 4:
    if levels is None:
      raise BadInput(f'{source}: x is {x.dtype}, images with levels, and levels=None says that '
                     'they are continuous; allowed: levels=256, or x.astype(np.float32)')
    _check_axes(x, source)
    return disk.from_bytes(x, whole_levels(levels), source), levels
  if x.dtype.kind != 'f' or x.ndim < 2:
    raise BadInput(f'{source}: x is {x.dtype} {x.shape}; allowed: uint8 [N, H, W, C] (0..255), '
                   f'or float [N, ...]{_remedy(x)}')
  with np.errstate(over='ignore'):
    x = x.astype(np.float32)
  bad = int((~np.isfinite(x)).sum())
  if bad:
    raise BadInput(f'{source}: {bad} values of x are not finite in float32')
  if levels is not None:
    _check_no_image(x, source)
  return x, None


def whole_levels(levels: int) -> int:
  """levels itself. Raises BadInput if it is no integer from 2 to 256."""
  if type(levels) is not int or not 2 <= levels <= 256:
    raise BadInput(f'levels={levels!r}: must be an integer from 2 to 256')
  return levels


def _check_axes(x: np.ndarray, source: str) -> None:
  """Refuses [N, C, H, W]; warns of numbers of channels outside CHANNELS."""
  if x.shape[-1] in CHANNELS:
    return
  if x.shape[1] in CHANNELS:
    raise BadInput(f'{source}: x is {x.dtype} {x.shape}, which looks like [N, C, H, W]; allowed: '
                   '[N, H, W, C], by x.transpose(0, 2, 3, 1)')
  warnings.warn(f'{source}: images of {x.shape[-1]} channels are modelled as they are, and drawn '
                'nowhere' + ('; is the last one transparency?' if x.shape[-1] == 4 else ''),
                stacklevel=4)


def _remedy(x: np.ndarray) -> str:
  """How to convert an array of another dtype or shape to images; '' if that is not clear."""
  if x.dtype == np.uint8 and x.ndim == 3:
    return '; grey images need their axis of channels, x[..., None]'
  if x.dtype == np.uint8 and x.ndim == 2:
    return '; rows of pixels need their axes, x.reshape(-1, H, W, C)'
  if x.dtype.kind in 'iu' and x.ndim >= 2:
    if int(x.min()) >= 0 and int(x.max()) <= 255:
      return '; of images x.astype(np.uint8), else x.astype(np.float32)'
    return f'; these go from {x.min()} to {x.max()}: x.astype(np.float32) if they are continuous'
  return '; True and False become images by 255 * x.astype(np.uint8)' if x.dtype == bool else ''


def _check_no_image(x: np.ndarray, source: str) -> None:
  """Refuses float images of 0..255, and warns of those of 0..1 or -1..1."""
  low, high = float(x.min()), float(x.max())
  image_shaped = x.ndim == 4 and (x.shape[-1] in CHANNELS or x.shape[1] in CHANNELS)
  byte_range = low >= 0 and 2 < high <= 255
  whole = byte_range and bool((x == np.rint(x)).all())
  or_else = 'levels=None if the values are continuous'
  if byte_range and image_shaped or (whole and x.ndim == 3):
    raise BadInput(f'{source}: x is {x.dtype} {x.shape} from {low:g} to {high:g}, which looks like '
                   f'images of 0..255; allowed: {TO_BYTES.format("x")}, or {or_else}')
  if whole and x.ndim == 2 and x.shape[1] >= 64 and high > 127:
    warnings.warn(f'{source}: x has whole values from {low:g} to {high:g}; if its rows are images, '
                  f'{TO_BYTES.format("x.reshape(-1, H, W, C)")} gives them levels', stacklevel=4)
  if image_shaped and low >= -1 and 0.5 < high <= 1:
    inner = '255 * x' if low >= 0 else '127.5 * (x + 1)'
    warnings.warn(f'{source}: x is {x.dtype} {x.shape} from {low:g} to {high:g}; if these are '
                  f'images, {TO_BYTES.format(inner)} gives them levels; {or_else}', stacklevel=4)


def warn_of_scales(x: np.ndarray, source: str) -> None:
  """Warns of vectors [N, D] with columns that do not vary, or whose deviations differ by SCALES."""
  if x.ndim != 2 or len(x) < 2:
    return
  varies, std = np.ptp(x, axis=0) > 0, x.std(0, dtype=np.float64)
  if not varies.all():
    warnings.warn(f'{source}: column {int(np.argmin(varies))} does not vary, so that its density '
                  'is infinite; drop it', stacklevel=4)
  low, high = int(np.argmin(np.where(varies, std, np.inf))), int(np.argmax(varies * std))
  if varies.any() and std[high] > SCALES * std[low]:
    warnings.warn(f'{source}: the deviation of column {high} is {std[high] / std[low]:.3g} times '
                  f'that of column {low}, and few models train on such scales; '
                  'data.standardise=True divides them out and counts that in likelihoods',
                  stacklevel=4)


def standardised(splits: dict, source: str) -> tuple[dict, tuple[np.ndarray, np.ndarray]]:
  """The splits with x = (raw - mean) / std, and (mean, std), by component over the training split.

  Raises BadInput for a component that does not vary.
  """
  x = splits['train']['x']
  varies = np.ptp(x, axis=0) > 0
  if not varies.all():
    raise BadInput(f'{source}: standardise=True, but component {int(np.argmin(varies))} of x does '
                   'not vary in the training split; allowed: data without it')
  mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
  return {split: {**arrays, 'x': ((arrays['x'] - mean) / std).astype(np.float32)}
          for split, arrays in splits.items()}, (mean, std)
