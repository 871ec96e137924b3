"""Output of a run: metrics, pictures, samples. Files appear complete or not at all."""

import hashlib
import io
import json
import math
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genjax import disk
from genjax.types import BadInput, DataSpec

SAMPLE_FORMATS = ('.png', '.npz')
_FLUSH_SECONDS = 10  # of TensorBoard events, by a thread; metrics.jsonl is written at once
_CHECKED = re.compile(r'(\{.*), "sha256": "([0-9a-f]{16})"\}')  # a line and its digest
_VISIBLE = 48  # pixels: smaller images are enlarged to at least this
_LINE, _LETTER = 12, 6  # height and width of a letter of Pillow's own font, in pixels


def open_log(workdir: str | os.PathLike, start: int = 0) -> Callable[[int, Mapping], None]:
  """Returns write(step, {metric: number}), which adds to metrics.jsonl and TensorBoard.

  Lines after the restored step `start` are removed first, since they will be written again. The
  first write imports tensorboardX.
  """
  workdir = pathlib.Path(workdir)
  path = workdir / 'metrics.jsonl'
  _drop_after(path, start)
  events = []

  def write(step: int, metrics: Mapping[str, Any]) -> None:
    values = {name: float(value) for name, value in metrics.items()}
    line = json.dumps({'step': int(step), 'time': round(time.time(), 3), **values})[:-1]
    with open(path, 'a', encoding='utf-8') as file:
      file.write(f'{line}, "sha256": "{_digest(line)}"}}\n')
    if not events:
      from tensorboardX import SummaryWriter
      # purge_step: TensorBoard hides these steps in earlier event files
      events.append(SummaryWriter(str(workdir), purge_step=start + 1 if start else None,
                                  flush_secs=_FLUSH_SECONDS))
    for name, value in values.items():
      events[0].add_scalar(name, value, int(step))

  return write


def read_metrics(workdir: str | os.PathLike) -> list[dict]:
  """The rows of metrics.jsonl, in order, without an incomplete last line of a killed process.

  Each line ends with 16 digits of the sha256 of the rest, under 'sha256', which is not part of the
  row; older lines have none. Raises BadInput for a damaged line, with its number.
  """
  return [row for _, row in _lines(pathlib.Path(workdir) / 'metrics.jsonl')]


def _drop_after(path: pathlib.Path, start: int) -> None:
  kept = ''.join(f'{line}\n' for line, row in _lines(path) if row['step'] <= start)
  if path.is_file() and kept.encode() != path.read_bytes():
    disk.write_bytes(path, kept.encode())


def _lines(path: pathlib.Path) -> list[tuple[str, dict]]:
  """[(text, row)] of the complete lines."""
  text = path.read_text(encoding='utf-8', errors='replace') if path.is_file() else ''
  *lines, last = text.split('\n')
  rows = [(line, _parse(line)) for line in lines]
  if _CHECKED.match(last):  # a torn line has no digest
    rows.append((last, _parse(last) if _CHECKED.fullmatch(last) else None))
  bad = next((i for i, (_, row) in enumerate(rows, 1) if row is None), None)
  if bad:
    raise BadInput(f'{path} is damaged in line {bad}; allowed: lines as training wrote them, or no '
                   'such file, and with it no training time')
  return rows


def _digest(line: str) -> str:
  return hashlib.sha256(line.encode()).hexdigest()[:16]


def _parse(line: str) -> dict | None:
  """The row of a line; None if it is not a row, or if its digest differs."""
  checked = _CHECKED.fullmatch(line)
  if checked and _digest(checked[1]) != checked[2]:
    return None
  try:
    row = json.loads(line)
  except json.JSONDecodeError:
    return None
  if not isinstance(row, dict) or not isinstance(row.get('step'), int):
    return None
  row.pop('sha256', None)
  return row


def write_samples(path: str | os.PathLike, x: np.ndarray, spec: DataSpec, num: int = 64,
                  labels: np.ndarray | None = None, classes: tuple[str, ...] | None = None,
                  pictures: np.ndarray | None = None) -> None:
  """Writes PATH.npz with all samples x and, for images and points, PATH.png with the first `num`.

  labels, classes: as in `write_sample_file`; pictures: a VAE's means [num, ...], in npz and PNG.
  """
  path = pathlib.Path(path)
  write_sample_file(path.with_name(path.name + '.npz'), x, spec, labels, classes, pictures)
  if is_image(spec) or spec.shape == (2,):
    num, shown = num if is_image(spec) else len(x), x if pictures is None else pictures
    write_sample_file(path.with_name(path.name + '.png'), shown[:num], spec,
                      None if labels is None else labels[:num], classes)


def write_sample_file(path: str | os.PathLike, x: np.ndarray, spec: DataSpec,
                      labels: np.ndarray | None = None, classes: tuple[str, ...] | None = None,
                      pictures: np.ndarray | None = None) -> None:
  """Writes x [n, *spec.shape] to FILE.npz (key x) or FILE.png (images and 2-D points).

  x: integer levels if spec.levels is set; the npz of images then has 0..255 (uint8).
  labels: requested labels [n], in npz and picture; vectors [n, C] have the key context.
  classes: their names. pictures: see `write_samples`.
  Raises BadInput for another suffix, and for a PNG of samples that are no picture.
  """
  path, x = pathlib.Path(path), np.asarray(x)
  if path.suffix not in SAMPLE_FORMATS:
    raise BadInput(f'{path}: allowed: FILE{" or FILE".join(SAMPLE_FORMATS)}')
  if path.suffix == '.npz':
    key = 'context' if np.ndim(labels) == 2 else 'labels'
    named = {} if labels is None else {key: np.asarray(labels)}
    if named and classes:
      named['classes'] = np.array(classes)
    if pictures is not None:
      named['pictures'] = disk.to_bytes(pictures, spec.levels)
    write_arrays(path, {'x': disk.to_bytes(x, spec.levels) if is_image(spec) else x, **named})
  elif is_image(spec):
    differ = np.ndim(labels) == 1 and len(set(np.asarray(labels).tolist())) > 1
    image_grid(x, spec.levels, path, captions=names_of(labels, classes) if differ else None)
  elif spec.shape == (2,):
    scatter(x, path)
  else:
    raise BadInput(f'{path}: samples of shape {spec.shape} are no picture; allowed: FILE.npz')


def names_of(labels: np.ndarray, classes: tuple[str, ...] | None) -> list[str]:
  """The name of each label, or its number; 'none' for "no label", which is beyond the classes."""
  if not classes:
    return [str(label) for label in labels]
  return [classes[label] if label < len(classes) else 'none' for label in labels]


def write_folder(path: str | os.PathLike, x: np.ndarray, spec: DataSpec,
                 labels: np.ndarray | None = None, classes: tuple[str, ...] | None = None) -> None:
  """Writes a new folder of images x [n, height, width, 1 or 3], 00000.png or 00000-NAME.png.

  It appears complete, by a rename. Raises BadInput for samples that are no images, and for a folder
  that has files. labels, classes: see `write_sample_file`.
  """
  from PIL import Image
  path = check_folder(path, spec)
  names = [''] * len(x) if np.ndim(labels) != 1 else [
      '-' + re.sub(r'[^\w.-]', '_', name) for name in names_of(labels, classes)]
  path.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as work:
    complete = pathlib.Path(work, 'complete')
    complete.mkdir()
    for i, (image, name) in enumerate(zip(disk.to_bytes(x, spec.levels), names, strict=True)):
      pixels = image[..., 0] if image.shape[-1] == 1 else image
      Image.fromarray(pixels).save(complete / f'{i:05d}{name}.png')
    complete.replace(path)  # also replaces an empty folder


def check_folder(path: str | os.PathLike, spec: DataSpec) -> pathlib.Path:
  """The path of a folder to which images may be written; BadInput if they may not."""
  path = pathlib.Path(path)
  if not is_image(spec):
    raise BadInput(f'{path}/: samples of shape {spec.shape} are no picture; allowed: FILE.npz')
  if path.exists() and not (path.is_dir() and not any(path.iterdir())):
    raise BadInput(f'{path}/ has files already; allowed: a new or an empty folder')
  return path


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes the arrays to FILE.npz, each under its name."""
  content = io.BytesIO()
  np.savez_compressed(content, **arrays)
  disk.write_bytes(path, content.getvalue())


def is_image(spec: DataSpec) -> bool:
  """True for integer data of shape (height, width, 1 or 3)."""
  return spec.levels is not None and len(spec.shape) == 3 and spec.shape[-1] in (1, 3)


def image_grid(x: np.ndarray, levels: int, path: str | os.PathLike, columns: int = 0,
               captions: list[str] | None = None) -> None:
  """Writes a PNG with the images x [n, height, width, 1 or 3] (levels 0..L-1), row by row.

  columns: 0: a square. captions: one below each image. Small images are enlarged by whole pixels.
  """
  from PIL import Image, ImageDraw
  n, height, width, channels = x.shape
  if not n:
    raise BadInput(f'no image to draw: shape {x.shape}')
  columns = columns or math.ceil(math.sqrt(n))
  scale = max(1, math.ceil(_VISIBLE / max(height, width)))
  x = disk.to_bytes(x, levels).repeat(scale, axis=1).repeat(scale, axis=2)
  gap, rows = 2, math.ceil(n / columns)
  cell = np.array(x.shape[1:3]) + gap + np.array([_LINE if captions else 0, 0])
  sheet = np.full((rows * cell[0] + gap, columns * cell[1] + gap, channels), 128, np.uint8)
  for i, image in enumerate(x):
    top, left = np.array(divmod(i, columns)) * cell + gap
    sheet[top:top + image.shape[0], left:left + image.shape[1]] = image
  picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
  draw = ImageDraw.Draw(picture)
  for i, caption in enumerate(captions or ()):
    top, left = np.array(divmod(i, columns)) * cell + gap
    shown = caption.encode('ascii', 'replace').decode()[:x.shape[2] // _LETTER]
    draw.text((int(left), int(top) + x.shape[1]), shown, fill='white')
  content = io.BytesIO()
  picture.save(content, 'PNG')
  disk.write_bytes(path, content.getvalue())


def captioned(path: str | os.PathLike, rows: list[list[tuple[np.ndarray | None, str]]]) -> None:
  """Writes a PNG of rows of (uint8 image [h, w, 1 or 3] or None: empty, caption)."""
  from matplotlib.figure import Figure
  columns = max(map(len, rows))
  figure = Figure(figsize=(1.3 * columns, 1.6 * len(rows)), dpi=100, layout='constrained')
  places = figure.subplots(len(rows), columns, squeeze=False)
  for all_axes, row in zip(places, rows, strict=True):
    for axes in all_axes:
      axes.set_axis_off()
    for axes, (image, caption) in zip(all_axes, row, strict=False):
      axes.set_title(caption, fontsize=7)
      if image is not None:
        axes.imshow(image.repeat(3 // image.shape[-1], -1), interpolation='nearest')
  content = io.BytesIO()
  figure.savefig(content, format='png')
  disk.write_bytes(path, content.getvalue())


def scatter(x: np.ndarray, path: str | os.PathLike, box: tuple[float, float] | None = None) -> None:
  """Writes a PNG with the points x [n, 2], on the square box x box or around the points."""
  from matplotlib.figure import Figure  # without pyplot: no window system, no global state
  figure = Figure(figsize=(4, 4), dpi=100)
  axes = figure.add_axes((0.1, 0.08, 0.87, 0.87))
  shown = np.asarray(x)[np.isfinite(x).all(-1)]
  axes.scatter(*shown.T, s=4, alpha=0.5, linewidths=0)
  axes.set_aspect('equal', 'box' if box else 'datalim')
  if box:
    axes.set(xlim=box, ylim=box)
  axes.set_title(f'{len(shown)} points' + (f', {len(x) - len(shown)} not finite'
                                            if len(shown) < len(x) else ''), fontsize=9)
  content = io.BytesIO()
  figure.savefig(content, format='png')
  disk.write_bytes(path, content.getvalue())
