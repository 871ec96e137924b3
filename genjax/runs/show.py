"""Pictures of what a run has learned: reconstructions, interpolations, sweeps, completions.

SHOWS maps a name to {way: Estimator}, whose make(loaded, num, seed) -> `Sheet` draws the picture of
a loaded run. A new picture is one function and one line; its needs are those of `compat`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compat, data, prob, sharding, wiring
from genjax.numerics import streams
from genjax.runs import opening, writer
from genjax.types import BadInput, DataSpec, Estimator

NUM = 10  # default of images, pairs or units
STEPS = 8  # of an interpolation, or of a sweep
EXTENT = 3.0  # of a sweep, in standard deviations of E[z | x] over the data
SEEN = 256  # images that measure these deviations
SIDE = 12  # of the grid of two latents
COMPLETIONS = 4  # of each half image


class Sheet(NamedTuple):
  """A picture as images row by row."""

  x: np.ndarray  # int32 levels [rows * columns, height, width, channels]
  columns: int


def show(workdir, name: str, num: int | None = None, seed: int = 0, *, step: int | None = None,
         ema: bool = True) -> tuple[Sheet, DataSpec, int]:
  """(Sheet, spec, step of the checkpoint): the picture `name` of SHOWS of a run directory.

  num: of images, pairs or units, None: NUM.
  seed: which examples of the test split are shown.
  step, ema: of the checkpoint, as in `sampling.sample`.
  Raises BadInput for a directory that is no run, an unknown picture, and a model or data that have
  no such picture.
  """
  ways = compat.pick('picture', name, SHOWS)
  with opening.on_mesh(workdir):
    loaded = opening.load(workdir, step, ema, with_data=True)
    dataset = loaded.dataset
    way = compat.choose(
        'picture', name, ways, compat.provides(loaded.model, data.properties(dataset)), None,
        model=loaded.config.model.family, data=dataset.name, others=SHOWS,
        models=lambda: wiring.provided(dataset.spec))
    if not writer.is_image(dataset.spec):
      raise BadInput(f'picture {name!r}: data of shape {dataset.spec.shape} cannot be drawn; '
                     'allowed: images of 1 or 3 channels')
    sheet = ways[way].make(loaded, NUM if num is None else num, seed)
  return sheet, dataset.spec, loaded.step


def reconstructions(loaded: opening.Loaded, num: int, seed: int) -> Sheet:
  """A row of test images, and one of E[x | z], z a central point of q(z | x)."""
  batch = examples(loaded, num, seed)
  x = _decoded(loaded, _inferred(loaded, batch), batch.get('cond'))
  return Sheet(np.concatenate([_levels(loaded, batch['x']), x]), len(x))


def interpolation(loaded: opening.Loaded, num: int, seed: int) -> Sheet:
  """A row per pair of test images: the first, decodings between their latents, the second."""
  batch = examples(loaded, 2 * num, seed)
  ends, num = _levels(loaded, batch['x']), len(batch['x']) // 2
  z, rows = _inferred(loaded, batch), []
  for t in np.linspace(0.0, 1.0, STEPS):
    between = jax.tree.map(lambda a, t=t: (1.0 - t) * a[:num] + t * a[num:2 * num], z)
    cond = batch.get('cond')
    # the label of the nearer end
    cond = None if cond is None else cond[:num] if t < 0.5 else cond[num:2 * num]
    rows.append(_decoded(loaded, between, cond))
  columns = np.stack([ends[:num], *rows, ends[num:2 * num]], 1)
  return Sheet(columns.reshape(-1, *ends.shape[1:]), STEPS + 2)


def latents(loaded: opening.Loaded, num: int, seed: int) -> Sheet:
  """A row per unit, the most active first: it moves, the others stay at those of a test image.

  It moves by EXTENT standard deviations of E[z | x] on either side of its mean. Two latents: their
  grid.
  """
  batch = examples(loaded, SEEN, seed)
  leaves, tree = jax.tree.flatten(_inferred(loaded, batch))
  means = np.concatenate([np.asarray(leaf).reshape(len(leaf), -1) for leaf in leaves], 1)
  centre, std = means.mean(0), means.std(0)
  if means.shape[1] == 2:
    axis = np.linspace(-EXTENT, EXTENT, SIDE)
    moved = centre + std * np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    columns = SIDE
  else:
    columns, units = STEPS + 1, np.argsort(-std)[:num]
    moved = np.repeat(means[:1], len(units) * columns, 0)
    index = np.repeat(units, columns)
    along = np.tile(np.linspace(-EXTENT, EXTENT, columns), len(units))
    moved[np.arange(len(moved)), index] = centre[index] + along * std[index]
  parts = np.split(moved, np.cumsum([leaf[0].size for leaf in leaves])[:-1], 1)
  z = jax.tree.unflatten(tree, [part.reshape(-1, *leaf.shape[1:]).astype(np.float32)
                                for part, leaf in zip(parts, leaves, strict=True)])
  cond = batch.get('cond')
  return Sheet(_decoded(loaded, z, None if cond is None else np.repeat(cond[:1], len(moved), 0)),
               columns)


def completion(loaded: opening.Loaded, num: int, seed: int) -> Sheet:
  """A column per test image: the image, its upper half, and completions of that half."""
  batch = examples(loaded, num, seed)
  x, cond = batch['x'], batch.get('cond')
  num_known = x.shape[1] // 2 * x.shape[2] * x.shape[3]
  half = np.where(np.arange(x[0].size) < num_known, x.reshape(len(x), -1), -1.0).reshape(x.shape)
  complete = sharding.jit(lambda params, rng: loaded.model.complete(
      params, rng, jnp.asarray(x), num_known, cond)[0])
  drawn = [_levels(loaded, complete(loaded.params, streams.stream(
      seed, streams.Purpose.COMPLETIONS, i))) for i in range(COMPLETIONS)]
  return Sheet(np.concatenate([_levels(loaded, x), _levels(loaded, half), *drawn]), len(x))


def examples(loaded: opening.Loaded, num: int, seed: int) -> dict:
  """A batch of num test examples as the model sees them, fewer if there are fewer."""
  split = loaded.dataset.splits['test']
  index = np.sort(np.random.default_rng(seed).permutation(len(split['x']))[:num])
  batch = loaded.training.prepare({key: column[index] for key, column in split.items()})
  return jax.tree.map(np.asarray, batch)


def _inferred(loaded: opening.Loaded, batch: dict):
  """The mean latents of a batch, a tree of arrays."""
  infer = sharding.jit(partial(loaded.model.latents.infer, rng=None))
  return jax.tree.map(np.asarray, infer(loaded.params, batch))


def _decoded(loaded: opening.Loaded, z, cond) -> np.ndarray:
  """E[x | z] as levels, computed in parts of config.mesh.chunk."""
  decode, chunk = sharding.jit(loaded.model.latents.decode), loaded.config.mesh.chunk
  size = len(jax.tree.leaves(z)[0])
  part = lambda tree, i: jax.tree.map(lambda a: jnp.asarray(a[i:i + chunk]), tree)
  x = [decode(loaded.params, part(z, i), part(cond, i)) for i in range(0, size, chunk)]
  return _levels(loaded, np.concatenate(x))


def _levels(loaded: opening.Loaded, x) -> np.ndarray:
  return np.asarray(prob.to_levels(x, loaded.dataset.spec.levels))


SHOWS = {
    'reconstructions': {'latents': Estimator(('latents', 'data.image'), reconstructions)},
    'interpolation': {'latents': Estimator(('latents', 'data.image'), interpolation)},
    'latents': {'latents': Estimator(('latents', 'data.image'), latents)},
    'completion': {'raster': Estimator(('complete', 'data.image'), completion)},
}
