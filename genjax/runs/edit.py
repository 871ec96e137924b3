"""What of an image was measured, and images that agree with it: inputs, posterior samples, figure.

A measurement of a user's file is one of KINDS, or a matrix A in FILE.npz.
"""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat, disk, identity, prob, sharding
from genjax.data import intake
from genjax.numerics import editing, measurements, streams
from genjax.runs import writer
from genjax.types import BadInput, DataSpec

KINDS = ('inpaint', 'super_resolve', 'colourise')
AT_ONCE = 64  # particles of one call on each device
SEEN = 256  # training examples on which the denoiser's spread is measured
LEVELS = 24  # of noise, of each of them
NUM_STEPS = 100  # levels of a draw; of 28 x 28 pixels some 10 of 16 particles count then, of 25 5


class Task(NamedTuple):
  """A measurement, what it gave, and the image it was taken of."""

  name: str  # for people: what is known
  measurement: measurements.Measurement
  y: np.ndarray
  image: np.ndarray | None  # [H, W, C] as the model sees it, x; None: y came without it
  record: dict  # of what defines the measurement, for the npz


class Edited(NamedTuple):
  """Posterior samples, and what they took."""

  x: np.ndarray  # [n, ...]: int32 levels, or float32 for continuous data
  residual: np.ndarray  # [n]: root mean square of A x - y for these x, on the scale of [-1, 1]
  effective: float  # particles of num_particles, mean over levels and samples
  evaluations: int  # of the network, all together
  seconds: float


def task(edit: str, spec: DataSpec, *, image: str | None, mask: str | None, factor: int | None,
         resize: bool, scale: tuple | None = None) -> Task:
  """The measurement that the flags of experiments.sample name.

  scale: mean and deviation of standardised data (`Dataset.standardised`).
  Raises BadInput for what cannot be read, has another size, measures nothing or everything, and for
  a flag of another kind of edit.
  """
  is_matrix = edit.endswith('.npz')
  if edit not in KINDS and not is_matrix:
    raise BadInput(f'--edit={edit}; allowed: {", ".join(KINDS)}, FILE.npz with the matrix A')
  for flag, value, kind in (('mask', mask, 'inpaint'), ('factor', factor, 'super_resolve')):
    if value is not None and edit != kind:
      raise BadInput(f'--{flag}={value} is of --edit={kind}, not --edit={edit}')
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
  """x float32 [H, W, C] on the grid of levels; grey_too: a grey file may stand for a colour image.

  Raises BadInput for a file that cannot be read, other channels and, without resize, another size.
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

  Raises BadInput for another size, a box outside, and what hides nothing or everything.
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
    found = np.zeros(size, bool)
    found[top:bottom, left:right] = True
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
    found = pixels == 255
  if found.all() or not found.any():
    raise BadInput(f'--mask={mask} hides {"everything" if found.any() else "nothing"}; allowed: '
                   'some pixels, not all')
  return found


def _by_matrix(path: str, spec: DataSpec, x, scale: tuple | None) -> Task:
  """The measurement by A [M, D] of an npz, and its y [M] or A x.

  scale: mean and deviation of standardised data, whose x, A and y are in the units of the file.
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
                   + ('no y; allowed: y [M] beside A, or --image' if x is None else
                      'y stands beside A, and --image would give another; allowed: one of them'))
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


def draw(run, task: Task, *, num: int, seed: int, cond: int | None, num_particles: int,
         num_steps: int | None, noise: float, progress: Callable = iter) -> Edited:
  """Posterior samples of the model of a run (`runs.Loaded`) given a task; y in grid units.

  Sample i depends on (parameters, task, seed, i) alone. A conditional model is asked without a
  label where cond is None. Without noise A x = y holds before the values are rounded to levels, so
  that a mean is off by half a cell at most. progress wraps the list of calls. Raises BadInput for
  a model that does not denoise, a label it cannot take, and none where labels were never dropped.
  """
  model, spec = run.model, run.dataset.spec
  if model.diffusion is None or model.diffusion.denoise is None:
    raise BadInput(f'--edit: a {identity.title(run.config, "trained by")} does not denoise; '
                   'allowed: a diffusion')
  if num_particles < 1:
    raise BadInput(f'--particles={num_particles}; allowed: at least 1')
  num_steps = NUM_STEPS if num_steps is None else num_steps
  if num_steps < 1:
    raise BadInput(f'--num_steps={num_steps}; allowed: at least 1')
  if not 0.0 <= noise < float('inf'):
    raise BadInput(f'--noise={noise}; allowed: at least 0 and finite')
  asked = _label(run, cond)
  at_once = min(num, max(1, AT_ONCE * jax.device_count() // num_particles))
  # finer than half a cell nothing is left of it by rounding
  rho_min = max(0.02, 0.5 / (spec.levels - 1)) if spec.levels else 0.02
  kw = {'num_particles': num_particles, 'noise': noise, 'rho_min': rho_min, 'num_steps': num_steps}

  def labels(count):
    return None if asked is None else jnp.full(count, asked, jnp.int32)

  @sharding.jit
  def spread(params, x):
    return editing.spread(
        lambda *args: model.diffusion.denoise(params, *args).x_0,
        lambda t: model.diffusion.path(params, t),
        streams.stream(seed, streams.Purpose.EDIT_SPREAD), x, labels(len(x)), num_levels=LEVELS)

  @sharding.jit
  def some(params, spread, index):
    keys = jax.vmap(lambda i: streams.stream(seed, streams.Purpose.EDIT_DRAWS, i))(index)
    found = editing.posterior_sample(
        lambda *args: model.diffusion.denoise(params, *args).x_0,
        lambda t: model.diffusion.path(params, t), keys, spec.shape, task.measurement,
        jnp.asarray(task.y), spread, cond=labels(at_once * num_particles), **kw)
    x = found.x
    if spec.levels is not None:
      # what the clipping to levels takes away elsewhere makes up for
      x = x if noise else measurements.met(task.measurement, x, task.y, -1.0, 1.0)
      x = prob.to_levels(x, spec.levels)
    seen = x if spec.levels is None else prob.from_levels(x, spec.levels)
    residual = measurements.residual(task.measurement, seen, task.y)
    return x, residual, found.effective, found.evaluations

  start, parts = time.perf_counter(), []
  examples = seen(run.dataset.splits['train'], spec, None if asked == spec.num_classes else asked)
  varies = spread(run.params, examples)
  for first in progress(range(0, num, at_once)):
    index = jnp.arange(first, first + at_once)
    parts.append(jax.tree.map(np.asarray, some(run.params, varies, index)))
  x, residual, effective = (np.concatenate(a)[:num] for a in list(zip(*parts, strict=True))[:3])
  total = len(examples) * LEVELS + int(parts[0][3]) * len(parts) * at_once * num_particles
  return Edited(x, residual, float(effective.mean()), total, time.perf_counter() - start)


def _label(run, cond: int | None) -> int | None:
  """The cond of every particle: that of the user, or "no label"; None for unconditional models.

  Raises BadInput for a label that the model cannot take, and for none where it has to have one.
  """
  num_classes = run.dataset.spec.num_classes
  if not run.config.conditional:
    if cond is not None:
      raise BadInput(f'cond={cond}; allowed: none, since this model is unconditional')
    return None
  if cond is not None and not 0 <= cond <= num_classes:
    raise BadInput(f'cond={cond}; allowed: 0..{num_classes - 1}, or {num_classes} for no label')
  if cond is not None and cond < num_classes:
    return cond
  compat.null_cond(run.model, '--edit without a label' if cond is None else f'cond={cond}',
                   f'--cond=0..{num_classes - 1}')
  return num_classes


def seen(split: dict, spec: DataSpec, cond: int | None) -> jax.Array:
  """The first SEEN examples of a split as the model sees them, of the class cond if that is one."""
  index = np.arange(len(split['x'])) if cond is None else np.flatnonzero(split['cond'] == cond)
  x = split['x'][index[:SEEN]]
  return jnp.asarray(x) if spec.levels is None else prob.from_levels(x, spec.levels)


def write(path: pathlib.Path, task: Task, found: Edited, spec: DataSpec) -> None:
  """None; FILE.npz with x, y, residual and the measurement, or FILE.png, the figure of them."""
  if path.suffix == '.npz':
    truth = {} if task.image is None else {'truth': _bytes(task.image, spec)}
    x = disk.to_bytes(found.x, spec.levels) if writer.is_image(spec) else found.x
    writer.write_arrays(path, {'x': x, 'y': task.y, 'residual': found.residual,
                               'measurement': np.asarray(task.name), **truth, **task.record})
    return
  writer.captioned(path, panels(task, found, spec))


def panels(task: Task, found: Edited, spec: DataSpec) -> list[list[tuple[np.ndarray | None, str]]]:
  """Two rows of (uint8 image, caption): truth, measurement and samples; under each |A x - y|."""
  top = [(None if task.image is None else _bytes(task.image, spec), 'truth'),
         (_seen(task, spec), f'measured: {task.name}')]
  below = [(None, ''), (None, '|A x - y|,\nwhite: 0.1')]
  for x, residual in zip(found.x, found.residual, strict=True):
    grid = prob.from_levels(x, spec.levels)[None]
    error = measurements.observe(task.measurement, grid)[0] - task.y
    # of components that are no pixels: where in the image the disagreement lies
    shown = error if task.measurement.mix is None else measurements.lift(
        task.measurement, measurements.components(task.measurement, error)[None], grid)[0]
    top.append((disk.to_bytes(x, spec.levels), f'sample {len(top) - 1}'))
    shown = np.clip(np.abs(np.asarray(shown)) * 2550.0, 0, 255).astype(np.uint8)
    below.append((shown, f'{residual:.2g}'))
  return [top, below]


def _seen(task: Task, spec: DataSpec) -> np.ndarray:
  """What was measured as a picture: hidden pixels grey, fewer pixels as they are, else A^+ y."""
  if task.measurement.mix is None:
    return np.clip(np.rint((task.y + 1.0) * 127.5), 0, 255).astype(np.uint8)
  like = jnp.zeros((1, *spec.shape))
  u = measurements.components(task.measurement, task.y)
  x = measurements.lift(task.measurement, u[None], like)[0]
  return _bytes(np.asarray(x), spec)


def _bytes(x, spec: DataSpec) -> np.ndarray:
  return disk.to_bytes(np.asarray(prob.to_levels(x, spec.levels)), spec.levels)
