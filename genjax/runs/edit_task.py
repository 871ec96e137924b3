"""The task of an edit: a measurement of a user's image, one of KINDS or a matrix."""

from typing import NamedTuple

import numpy as np

from genjax import disk, prob
from genjax.data import intake
from genjax.numerics import measurements
from genjax.runs import writer
from genjax.types import BadInput, DataSpec

KINDS = ('inpaint', 'super_resolve', 'colourise')


class Task(NamedTuple):
  """A measurement, its values, and the image that was measured."""

  name: str  # what is known, in words
  measurement: measurements.Measurement
  y: np.ndarray
  image: np.ndarray | None  # x [H, W, C] as the model sees it; None: y came without it
  record: dict  # the definition of the measurement, for the npz


def task(edit: str, spec: DataSpec, *, image: str | None, mask: str | None, factor: int | None,
         resize: bool, scale: tuple | None = None) -> Task:
  """The Task that the flags of experiments.sample describe.

  edit: one of KINDS, or FILE.npz with a matrix; image, mask: files or a box; factor: pixels a side.
  resize: resize an image of another size.
  scale: mean and deviation of standardised data (`Dataset.standardised`).
  Raises BadInput for files that cannot be read or have another size, for masks that hide nothing or
  everything, and for a flag of another kind of edit.
  """
  is_matrix = edit.endswith('.npz')
  if edit not in KINDS and not is_matrix:
    raise BadInput(f'--edit={edit}; allowed: {", ".join(KINDS)}, FILE.npz with the matrix A')
  for flag, value, kind in (('mask', mask, 'inpaint'), ('factor', factor, 'super_resolve')):
    if value is not None and edit != kind:
      raise BadInput(f'--{flag}={value} is for --edit={kind}, not --edit={edit}')
  if image is None and not is_matrix:
    raise BadInput(f'--edit={edit} needs --image=FILE.png')
  if image is not None and not writer.is_image(spec):
    raise BadInput(f'--image={image}: this model makes no images, but {spec.shape}; allowed: '
                   '--edit=FILE.npz with A and y')
  x = None if image is None else read_image(image, spec, resize, edit == 'colourise')
  if is_matrix:
    return _by_matrix(edit, spec, x, scale)
  height, width, channels = spec.shape
  if edit == 'inpaint':
    known = ~hidden(mask, (height, width))
    measurement = measurements.inpainting(known[..., None] * np.ones(channels))
    record = {'known': known}
    name = f'{known.sum()} of {known.size} pixels'
  elif edit == 'super_resolve':
    factor = 4 if factor is None else factor
    if factor < 2 or height % factor or width % factor:
      raise BadInput(f'--factor={factor}: the model makes images of {width}x{height}; allowed: '
                     'a divisor of both, at least 2')
    measurement, record = measurements.super_resolution(factor), {'factor': factor}
    name = f'{width // factor}x{height // factor} means'
  else:
    if channels != 3:
      raise BadInput('--edit=colourise: this model makes grey images; allowed: a model of colours')
    measurement, record, name = measurements.colourisation(), {}, 'mean of the channels'
  y = np.asarray(measurements.observe(measurement, x[None])[0])
  return Task(name, measurement, y, x, record)


def read_image(path: str, spec: DataSpec, resize: bool, grey_too: bool = False) -> np.ndarray:
  """x float32 [H, W, C] on the grid of levels; grey_too: a grey file may replace a colour image.

  Raises BadInput for an unreadable file, other channels and, without resize, another size.
  """
  pixels = intake.read_image(path).pixels
  height, width, channels = spec.shape
  kind = {1: 'grey', 3: 'RGB'}
  if grey_too and pixels.shape[-1] == 1:
    pixels = pixels.repeat(channels, -1)
  if pixels.shape[-1] != channels:
    raise BadInput(f'--image={path} is {kind[pixels.shape[-1]]}, but the model makes '
                   f'{kind[channels]} images; allowed: {kind[channels]}')
  if pixels.shape[:2] != (height, width):
    if not resize:
      raise BadInput(f'--image={path} is {pixels.shape[1]}x{pixels.shape[0]}, but the model makes '
                     f'{width}x{height}; allowed: {width}x{height}, or any with --resize')
    pixels = intake.resized(pixels, (height, width))
    values = np.rint(np.arange(spec.levels) * (255 / (spec.levels - 1)))
    pixels = values[np.abs(pixels[..., None] - values).argmin(-1)].astype(np.uint8)
  return np.asarray(prob.from_levels(disk.from_bytes(pixels, spec.levels, path), spec.levels))


def hidden(mask: str | None, size: tuple[int, int]) -> np.ndarray:
  """bool [H, W], true where --mask hides: white pixels of a file, or TOP,LEFT,BOTTOM,RIGHT.

  Raises BadInput for another size, a box outside, and a mask that hides nothing or everything.
  """
  words = 'allowed: FILE.png whose white pixels are hidden, or TOP,LEFT,BOTTOM,RIGHT'
  if mask is None:
    raise BadInput(f'--edit=inpaint needs --mask; {words}')
  height, width = size
  parts = mask.split(',')
  if len(parts) == 4 and all(part.strip().isdigit() for part in parts):
    top, left, bottom, right = map(int, parts)
    if not (top < bottom <= height and left < right <= width):
      raise BadInput(f'--mask={mask} is no box in {width}x{height}; allowed: TOP,LEFT,BOTTOM,RIGHT '
                     f'with TOP < BOTTOM <= {height}, LEFT < RIGHT <= {width}')
    is_hidden = np.zeros(size, bool)
    is_hidden[top:bottom, left:right] = True
  elif len(parts) > 1:
    raise BadInput(f'--mask={mask}; {words}')
  else:
    pixels = intake.read_image(mask).pixels.max(-1)
    if pixels.shape != size:
      raise BadInput(f'--mask={mask} is {pixels.shape[1]}x{pixels.shape[0]}, but the model makes '
                     f'{width}x{height}; allowed: the same size')
    if set(np.unique(pixels)) - {0, 255}:
      raise BadInput(f'--mask={mask} has values besides 0 and 255; allowed: black (known) and '
                     'white (hidden)')
    is_hidden = pixels == 255
  if is_hidden.all() or not is_hidden.any():
    raise BadInput(f'--mask={mask} hides {"everything" if is_hidden.any() else "nothing"}; '
                   'allowed: some pixels, not all')
  return is_hidden


def _by_matrix(path: str, spec: DataSpec, x, scale: tuple | None) -> Task:
  """The Task of measuring A [M, D] of an npz, with its y [M] or A x.

  scale: mean and deviation of standardised data; A and y are in the units of the data's file.
  """
  arrays = intake.read_npz(path, ('A', 'y')).arrays
  dimensions = int(np.prod(spec.shape))
  if 'A' not in arrays:
    raise BadInput(f'--edit={path} has no key A; allowed: A [M, {dimensions}], and y [M] if any')
  for key, array in arrays.items():
    with np.errstate(over='ignore'):
      numbers = array.dtype.kind in 'fiub' and np.isfinite(array.astype(np.float32)).all()
    if not numbers:
      raise BadInput(f'--edit={path}: {key} is {array.dtype} or not finite in float32; allowed: '
                     'finite numbers')
  matrix = arrays['A'].astype(np.float64)
  if matrix.ndim != 2 or matrix.shape[1] != dimensions or not len(matrix):
    raise BadInput(f'--edit={path}: A has shape {matrix.shape}; allowed: [M, {dimensions}], since '
                   f'the model makes {spec.shape}')
  if (x is None) == ('y' not in arrays):
    raise BadInput(f'--edit={path}: '
                   + ('no y; allowed: y [M] next to A, or --image' if x is None else
                      'has y, and --image would give another; allowed: one of them'))
  if x is not None:
    measurement = measurements.linear(matrix)
    y = np.asarray(measurements.observe(measurement, x[None])[0])
    return Task(f'{len(matrix)} linear values', measurement, y, x, {'A': arrays['A']})
  y = arrays['y'].astype(np.float64)
  if y.shape != (len(matrix),):
    raise BadInput(f'--edit={path}: y has shape {y.shape}; allowed: [{len(matrix)}], as A has rows')
  if scale is not None:  # A raw = (A std) x + A mean
    y, matrix = y - matrix @ scale[0].ravel(), matrix * scale[1].ravel()
  return Task(f'{len(matrix)} linear values', measurements.linear(matrix), y.astype(np.float32), x,
              {'A': arrays['A'], 'y': arrays['y'].astype(np.float32)})
