"""Posterior samples of a partly known image, with their files and figure."""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat, disk, identity, prob, sharding
from genjax.numerics import conditions, editing, measurements, streams
from genjax.runs import writer
from genjax.runs.edit_task import Task
from genjax.types import BadInput, DataSpec

AT_ONCE = 64  # particles per call on each device
SEEN = 256  # training examples on which the denoiser's spread is measured
LEVELS = 24  # of noise, for each of these examples
NUM_STEPS = 100  # noise levels of a draw: about 10 of 16 particles count at 28 x 28 pixels; 25: 5


class Edited(NamedTuple):
  """Posterior samples and their cost."""

  x: np.ndarray  # [n, ...]: int32 levels, or float32 for continuous data
  residual: np.ndarray  # [n]: root mean square of A x - y for these x, on the scale of [-1, 1]
  effective: float  # effective number of particles, mean over levels and samples
  evaluations: int  # of the network, in total
  seconds: float


def draw(loaded, task: Task, *, num: int, seed: int, cond, num_particles: int,
         num_steps: int | None, noise: float, progress: Callable = iter) -> Edited:
  """Returns `Edited`: num posterior samples of the model given a task; y is in grid units.

  loaded: `runs.Loaded`; num, seed: sample i depends on (parameters, task, seed, i) only.
  cond: label or vector; None: a conditional model is used without a label.
  num_particles, num_steps: particles per sample; noise levels, None: NUM_STEPS.
  noise: deviation of the noise in y. At 0, A x = y holds before values are rounded to levels, so
    that the error of a mean is at most half a cell. progress: wraps the iterable of calls.
  Raises BadInput for a model that does not denoise, a label that it cannot take, and for no label
  if training never dropped labels.
  """
  model, spec = loaded.model, loaded.dataset.spec
  if model.diffusion is None or model.diffusion.denoise is None:
    raise BadInput(f'--edit: a {identity.title(loaded.config, "trained by")} does not denoise; '
                   'allowed: a diffusion')
  num_steps = NUM_STEPS if num_steps is None else num_steps
  _check(num_particles, num_steps, noise)
  asked = _condition(loaded, cond)
  at_once = min(num, max(1, AT_ONCE * jax.device_count() // num_particles))
  # rounding removes anything finer than half a cell
  rho_min = max(0.02, 0.5 / (spec.levels - 1)) if spec.levels else 0.02
  kw = {'num_particles': num_particles, 'noise': noise, 'rho_min': rho_min, 'num_steps': num_steps}

  def labels(count):
    return None if asked is None else conditions.constant(asked, count)

  @sharding.jit
  def spread(params, x):
    return editing.spread(
        lambda *args: model.diffusion.denoise(params, *args).x_0,
        lambda t: model.diffusion.path(params, t),
        streams.stream(seed, streams.Purpose.EDIT_SPREAD), x, labels(len(x)), num_levels=LEVELS)

  @sharding.jit
  def some(params, spread, index):
    keys = jax.vmap(lambda i: streams.stream(seed, streams.Purpose.EDIT_DRAWS, i))(index)
    posterior = editing.posterior_sample(
        lambda *args: model.diffusion.denoise(params, *args).x_0,
        lambda t: model.diffusion.path(params, t), keys, spec.shape, task.measurement,
        jnp.asarray(task.y), spread, cond=labels(at_once * num_particles), **kw)
    x = posterior.x
    if spec.levels is not None:
      # other pixels make up for what clipping to levels removes
      x = x if noise else measurements.met(task.measurement, x, task.y, -1.0, 1.0)
      x = prob.to_levels(x, spec.levels)
    seen = x if spec.levels is None else prob.from_levels(x, spec.levels)
    residual = measurements.residual(task.measurement, seen, task.y)
    return x, residual, posterior.effective, posterior.evaluations

  start, parts = time.perf_counter(), []
  examples = seen(loaded.dataset.splits['train'], spec, asked if cond is not None else None)
  varies = spread(loaded.params, examples)
  for first in progress(range(0, num, at_once)):
    index = jnp.arange(first, first + at_once)
    parts.append(jax.tree.map(np.asarray, some(loaded.params, varies, index)))
  x, residual, effective = (np.concatenate(a)[:num] for a in list(zip(*parts, strict=True))[:3])
  total = len(examples) * LEVELS + int(parts[0][3]) * len(parts) * at_once * num_particles
  return Edited(x, residual, float(effective.mean()), total, time.perf_counter() - start)


def _check(num_particles: int, num_steps: int, noise: float) -> None:
  if num_particles < 1:
    raise BadInput(f'--particles={num_particles}; allowed: at least 1')
  if num_steps < 1:
    raise BadInput(f'--num_steps={num_steps}; allowed: at least 1')
  if not 0.0 <= noise < float('inf'):
    raise BadInput(f'--noise={noise}; allowed: at least 0 and finite')


def _condition(loaded, cond) -> int | tuple[float, ...] | None:
  """The cond of every particle: the user's, or "no label"; None for unconditional models.

  Raises BadInput for a label that the model cannot take, and for no label if it needs one.
  """
  spec, num_classes = loaded.dataset.spec, loaded.dataset.spec.num_classes
  if not loaded.config.conditional:
    if cond is not None:
      raise BadInput(f'cond={cond}; allowed: none, since this model is unconditional')
    return None
  if spec.context is not None:
    if cond is not None and np.isfinite(cond).all():
      return cond
    return tuple(compat.null_cond(loaded.model, '--edit without a vector', '--cond=NUMBERS')(1)[0])
  if cond is not None and not 0 <= cond <= num_classes:
    raise BadInput(f'cond={cond}; allowed: 0..{num_classes - 1}, or {num_classes} for no label')
  if cond is not None and cond < num_classes:
    return cond
  compat.null_cond(loaded.model, '--edit without a label' if cond is None else f'cond={cond}',
                   f'--cond=0..{num_classes - 1}')
  return num_classes


def seen(split: dict, spec: DataSpec, cond) -> jax.Array:
  """The first SEEN examples of a split, as the model sees them; only of class cond if it is one."""
  of_class = cond is not None and spec.context is None and cond != spec.num_classes
  index = np.flatnonzero(split['cond'] == cond) if of_class else np.arange(len(split['x']))
  x = split['x'][index[:SEEN]]
  return jnp.asarray(x) if spec.levels is None else prob.from_levels(x, spec.levels)


def write(path: pathlib.Path, task: Task, edited: Edited, spec: DataSpec) -> None:
  """Writes FILE.npz with x, y, residual and the measurement, or FILE.png with their figure."""
  if path.suffix == '.npz':
    truth = {} if task.image is None else {'truth': _bytes(task.image, spec)}
    x = disk.to_bytes(edited.x, spec.levels) if writer.is_image(spec) else edited.x
    writer.write_arrays(path, {'x': x, 'y': task.y, 'residual': edited.residual,
                               'measurement': np.asarray(task.name), **truth, **task.record})
    return
  writer.captioned(path, panels(task, edited, spec))


def panels(task: Task, edited: Edited, spec: DataSpec) -> list[list[tuple[np.ndarray | None, str]]]:
  """Two rows of (uint8 image, caption): truth, measurement, samples; and |A x - y| under these."""
  top = [(None if task.image is None else _bytes(task.image, spec), 'truth'),
         (_seen(task, spec), f'measured: {task.name}')]
  below = [(None, ''), (None, '|A x - y|,\nwhite: 0.1')]
  for x, residual in zip(edited.x, edited.residual, strict=True):
    grid = prob.from_levels(x, spec.levels)[None]
    error = measurements.observe(task.measurement, grid)[0] - task.y
    # if the components are not pixels, the error is lifted to an image
    shown = error if task.measurement.mix is None else measurements.lift(
        task.measurement, measurements.components(task.measurement, error)[None], grid)[0]
    top.append((disk.to_bytes(x, spec.levels), f'sample {len(top) - 1}'))
    shown = np.clip(np.abs(np.asarray(shown)) * 2550.0, 0, 255).astype(np.uint8)
    below.append((shown, f'{residual:.2g}'))
  return [top, below]


def _seen(task: Task, spec: DataSpec) -> np.ndarray:
  """The measurement as a uint8 image: pixels as they are, hidden ones grey; otherwise A^+ y."""
  if task.measurement.mix is None:
    return np.clip(np.rint((task.y + 1.0) * 127.5), 0, 255).astype(np.uint8)
  like = jnp.zeros((1, *spec.shape))
  u = measurements.components(task.measurement, task.y)
  x = measurements.lift(task.measurement, u[None], like)[0]
  return _bytes(np.asarray(x), spec)


def _bytes(x, spec: DataSpec) -> np.ndarray:
  return disk.to_bytes(np.asarray(prob.to_levels(x, spec.levels)), spec.levels)
