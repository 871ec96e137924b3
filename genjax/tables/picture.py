"""One row of samples per row of a table, as one picture."""

import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from genjax.tables import run
from genjax.tables.cells import Cell, Row

TILE, GAP, LABEL, NUM = 48, 2, 300, 16  # pixels; images in a row
BINS, NUM_CLOUDS = 96, 3  # points: a picture of 96 x 96 pixels for each of up to 3 seeds


def draw(rows: Sequence[Row], cells: Sequence[Cell]) -> Image.Image | None:
  """A picture of labels and the samples next to them; None if no cell has samples.

  Images: the first NUM samples of the first finished seed. Points: one cloud per seed, all on one
  square that contains 99 % of all points. `samples/reference.npz` of a cell, if there is one, is
  the first line.
  """
  strips = [(row.label, [x for c in cells if c.label == row.label
                         if (x := samples(c, run.samples(c))) is not None]) for row in rows]
  reference = next((x for c in cells if (x := samples(c, 'reference')) is not None), None)
  if reference is not None:
    strips.insert(0, ('data', [reference]))
  drawn = [x for _, seeds in strips for x in seeds]
  if not drawn:
    return None
  are_points = drawn[0].ndim == 2
  box = _box(drawn) if are_points else None
  strips = [(label, _clouds(seeds, box) if are_points else _images(seeds))
            for label, seeds in strips]
  return _assemble(strips, BINS if are_points else TILE, NUM_CLOUDS if are_points else NUM)


def samples(cell: Cell, name: str) -> np.ndarray | None:
  """The samples in samples/NAME.npz: uint8 [N, H, W, C] or float [N, 2]; None if there are none."""
  path = pathlib.Path(cell.workdir, 'samples', f'{name}.npz')
  try:
    with np.load(path, allow_pickle=False) as file:
      x = file['pictures' if 'pictures' in file.files else 'x']
  except (OSError, KeyError, ValueError, zipfile.BadZipFile):
    return None
  is_image = x.ndim == 4 and x.dtype == np.uint8 and x.shape[-1] in (1, 3)
  is_points = x.ndim == 2 and x.shape[1] == 2 and np.issubdtype(x.dtype, np.floating)
  return x if len(x) and (is_image or is_points) else None


def _images(seeds: list) -> list[np.ndarray]:
  """Tiles [TILE, TILE, 3] of the first images, enlarged by repeating pixels."""
  tiles = []
  for image in seeds[0][:NUM] if seeds else []:
    rgb = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
    factor = max(1, TILE // max(rgb.shape[:2]))
    rgb = rgb.repeat(factor, 0).repeat(factor, 1)
    if max(rgb.shape[:2]) > TILE:
      scale = TILE / max(rgb.shape[:2])
      size = [max(1, round(side * scale)) for side in rgb.shape[1::-1]]
      rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX))
    tiles.append(rgb)
  return tiles


def _clouds(seeds: list, box: tuple[float, float]) -> list[np.ndarray]:
  """Tiles [BINS, BINS, 3]: dark where points are dense, on a root scale."""
  tiles = []
  for x in seeds[:NUM_CLOUDS]:
    x = x[np.isfinite(x).all(1)]
    counts, _, _ = np.histogram2d(x[:, 1], x[:, 0], BINS, [box, box])
    share = np.sqrt(counts[::-1] / max(counts.max(), 1.0))
    tiles.append(np.repeat((255 * (1 - share)).astype(np.uint8)[..., None], 3, -1))
  return tiles


def _box(clouds: list) -> tuple[float, float]:
  finite = np.concatenate([np.abs(x[np.isfinite(x).all(1)]).ravel() for x in clouds])
  edge = 1.1 * float(np.quantile(finite, 0.99)) if finite.size else 1.0
  return (-edge, edge) if edge > 0 else (-1.0, 1.0)


def _assemble(strips: list, side: int, columns: int) -> Image.Image:
  height = side + GAP
  width = LABEL + columns * (side + GAP)
  canvas = Image.new('RGB', (width, len(strips) * height + GAP), 'white')
  pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
  for i, (label, tiles) in enumerate(strips):
    top = i * height + GAP
    shown = label if tiles else f'{label} (no samples)'
    while pen.textlength(shown, font) > LABEL - 2 * GAP and len(shown) > 2:
      shown = shown[:-2] + '…'
    pen.text((GAP, top + side / 2), shown, 'black', font, anchor='lm')
    for j, tile in enumerate(tiles[:columns]):
      canvas.paste(Image.fromarray(tile), (LABEL + j * (side + GAP), top))
  return canvas
