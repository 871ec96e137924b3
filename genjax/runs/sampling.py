"""Samples of a run directory, and posterior samples of a partly known image.

The program experiments.sample and `genjax.sample` call it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from genjax import data, extension, identity, wiring
from genjax.runs import edit, edit_task, opening, rundir
from genjax.types import BadInput, DataSpec


class Samples(NamedTuple):
  """Samples and their origin."""

  x: np.ndarray  # [n, ...]: integer levels, or float32 in the units of the data's own file
  cond: np.ndarray | None  # requested labels [n] or vectors [n, context]
  classes: tuple[str, ...] | None  # their names
  spec: DataSpec
  step: int  # of the checkpoint
  evaluations: float  # of the network for each sample


def sample(workdir, num: int = 64, seed: int = 0, *, cond=None,
           step: int | None = None, ema: bool = True, sampler: Mapping | None = None,
           chunk: int | None = None, pictured: bool = False,
           check: Callable[[DataSpec], None] = lambda spec: None) -> Samples:
  """Returns num `Samples` of the model of a run directory; sample i depends on seed and i only.

  cond: the class of every sample, by name or number, or the vector that they are conditioned on;
    None: labels as in the run's config, or vectors of random training examples.
  step: of the checkpoint; None: the selected one, else the last.
  ema: use the averaged parameters if the run has them.
  sampler: {'name', 'kw', 'guidance'}, instead of the config's (`chosen`).
  chunk: number of samples drawn at once; None: config.mesh.chunk.
  pictured: for a VAE, means of pixels instead of draws.
  check(spec): called before the first draw.
  Raises BadInput for a directory that is no run, a model that cannot be sampled, and a label or a
  sampler that it cannot take.
  """
  with opening.on_mesh(workdir):
    # the vectors come from training examples
    with_data = cond is None and opening.is_conditioned_on_vectors(workdir)
    loaded = opening.load(workdir, step, ema, sampler, with_data)
    dataset = loaded.dataset
    if loaded.model.sample is None:
      raise BadInput(f'a {identity.title(loaded.config, "trained by")} cannot be sampled')
    check(dataset.spec)
    model = wiring.pictured(loaded.model) if pictured else loaded.model
    draw_from = wiring.drawer(loaded.config, loaded, seed, model=model,
                              cond=condition(loaded, cond), chunk=chunk)
    x, info = draw_from(loaded.params)(num)
  return Samples(data.to_raw(dataset, x), info['cond'], dataset.classes, dataset.spec, loaded.step,
                 info['nfe'])


def chosen(workdir, name: str | None, kw: Mapping, guidance: Mapping | None) -> dict:
  """The argument `sampler` of `sample`: {'name', 'kw', 'guidance'}.

  name: a sampler with its own defaults; None: the config's, with its keyword arguments.
  kw: further keyword arguments. guidance: 'weight', 'interval', 'autoguidance', or None.
  """
  recorded = rundir.read(workdir)['config']['sampler']
  own = {} if name else recorded['kw']
  return {'name': extension.pinned(name or recorded['name']), 'kw': {**own, **kw},
          **({'guidance': guidance} if guidance else {})}


def edited(workdir, known: str, num: int = 8, seed: int = 0, *, cond: int | str | None = None,
           step: int | None = None, ema: bool = True, num_particles: int = 16,
           num_steps: int | None = None, noise: float = 0.0, progress: Callable = iter,
           check: Callable[[DataSpec], None] = lambda spec: None, **of_task):
  """(edit_task.Task, edit.Edited, spec, step): posterior samples of a partly known image.

  known, of_task: see `edit_task.task`; the rest: see `edit.draw` and `sample`. Raises BadInput as
  these do.
  """
  with opening.on_mesh(workdir):
    # the error of the denoiser is measured on training examples
    loaded = opening.load(workdir, step, ema, with_data=True)
    spec = loaded.dataset.spec
    task = edit_task.task(known, spec, **of_task, scale=loaded.dataset.standardised)
    check(spec)
    drawn = edit.draw(loaded, task, num=num, seed=seed, cond=condition(loaded, cond),
                      num_particles=num_particles, num_steps=num_steps, noise=noise,
                      progress=progress)
  return task, drawn._replace(x=data.to_raw(loaded.dataset, drawn.x)), spec, loaded.step


def condition(loaded: opening.Loaded, cond) -> int | tuple[float, ...] | None:
  """The label or vector for a class by name or number, or for numbers; None for None."""
  if cond is None:
    return None
  text = str(cond) if np.ndim(cond) == 0 else ','.join(map(str, np.asarray(cond).tolist()))
  return data.condition_of_text(text, loaded.dataset)
