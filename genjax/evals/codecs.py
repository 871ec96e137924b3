"""How small general codecs make the images of a split, lossless: the reference of every likelihood.

Each metric is the bits per dimension of the compressed bytes. gzip -9 and xz -9e compress the
whole split as one file of levels (two levels: eight pixels to a byte), PNG (optimised) and WebP
(lossless, method 6) each image as a file of its own, headers included.
"""

import gzip
import io
import lzma
from collections.abc import Callable

import numpy as np
import PIL
from PIL import Image

from genjax import disk
from genjax.evals import card as cards
from genjax.evals.kinds import Task
from genjax.types import BadInput, Estimator

METRICS = ('gzip_bpd', 'xz_bpd', 'png_bpd', 'webp_bpd')
WHOLE = {
    'gzip': lambda content: gzip.compress(content, 9, mtime=0),
    'xz': lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME),
}
PER_IMAGE = {
    'png': {'format': 'PNG', 'optimize': True},
    'webp': {'format': 'WEBP', 'lossless': True, 'quality': 100, 'method': 6},
}


def make(task: Task, *, num_images: int = 1000) -> Callable:
  """evaluate(params, draw) -> the four metrics; they depend on the data alone, and
  are kept on disk, since each row of a table asks for them.

  num_images: for PNG and WebP, the first of the split. Raises BadInput for images that are neither
  grey nor RGB.
  """
  x, levels = task.dataset.splits[task.split]['x'], task.dataset.spec.levels
  if x.shape[-1] not in (1, 3):
    raise BadInput(f'evaluator codecs: images of {x.shape[-1]} channels; allowed: 1 or 3')

  def evaluate(params, draw):
    del params, draw
    key = {'x': disk.digest({'x': x}), 'levels': levels, 'num_images': num_images,
           'source': disk.source_digest('evals/codecs.py'), 'pillow': PIL.__version__}
    sizes = disk.kept_json('codecs', key, lambda: measured(x, levels, num_images))
    return {f'{name}_bpd': cards.plain(each['bits'], task.card(
        f'{name}_bpd', unit='bits per dimension', n_reference=each['count'],
        compressed=each['how']), 'a size, not an estimate') for name, each in sizes.items()}

  return evaluate


def measured(x, levels: int, num_images: int) -> dict:
  """{codec: {'bits': per dimension, 'count': of images, 'how'}} of levels x [N, H, W, C]."""
  content = (np.packbits(x) if levels == 2 else np.asarray(x, np.uint8)).tobytes()
  sizes = {name: {'bits': 8.0 * len(compress(content)) / x.size, 'count': len(x),
                  'how': 'the whole split at once'} for name, compress in WHOLE.items()}
  images = disk.to_bytes(x[:num_images], levels)
  for name, options in PER_IMAGE.items():
    total = sum(len(encoded(image, options, levels == 2)) for image in images)
    sizes[name] = {'bits': 8.0 * total / images.size, 'count': len(images),
                   'how': 'image by image'}
  return sizes


def encoded(image: np.ndarray, options: dict, binary: bool = False) -> bytes:
  """The file of an image uint8 [H, W, 1 or 3]; options: of Pillow's `save`.

  binary: all pixels are 0 or 255; a grey PNG then has a bit a pixel.
  """
  file = io.BytesIO()
  made = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
  (made.convert('1') if binary and options['format'] == 'PNG' else made).save(file, **options)
  return file.getvalue()


ESTIMATORS = {'files': Estimator(('data.image',), make)}
