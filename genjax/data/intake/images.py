"""The pixels of one image file, and notes on what else the file says of them."""

import pathlib
import struct
import warnings
import zlib
from typing import NamedTuple

import numpy as np

from genjax.data.intake.limits import regular_file, room_for
from genjax.types import BadInput

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
# Pillow looks at the content, not at the name: a PostScript file named .png would be run
FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'WEBP', 'TIFF', 'PPM')
LOSSY = ('.jpg', '.jpeg', '.webp')
MOST_PIXELS = 1 << 26
ORIENTATION = 0x0112  # of EXIF
# how each mode of Pillow is read; the palette of P and the bits of 1 are encodings, not content
MODES = {'L': 'L', '1': 'L', 'RGB': 'RGB', 'P': 'RGB', 'LA': 'L', 'RGBA': 'RGB', 'PA': 'RGB'}
# what Pillow's decoders raise on damaged and malicious files (tests/fuzz.py)
FAILURES = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError,
            ArithmeticError, MemoryError, RuntimeError, AssertionError, struct.error, zlib.error)


class Image(NamedTuple):
  """An image as it is meant to be seen, and what was done for that."""

  pixels: np.ndarray  # uint8 [H, W, 1 or 3]
  notes: tuple[str, ...]  # of NOTES


# a note -> the words that follow the number of files with it
NOTES = {
    'turned': 'turned as their EXIF orientation says',
    'opaque': 'with an alpha channel that is opaque everywhere, dropped',
    'profile': 'with a colour profile, which is not applied',
}


def read_image(path: str | pathlib.Path) -> Image:
  """The pixels of an image file, turned as its EXIF orientation says, and notes.

  Raises BadInput for a file that cannot be read, has transparent pixels, several frames, more
  than 8 bits, or more than MOST_PIXELS.
  """
  import PIL.Image  # slow to import
  regular_file(path)
  failures = (*FAILURES, PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of damaged metadata; the pixels are checked
      with PIL.Image.open(path, formats=FORMATS) as image:
        return _read(path, image)
  except BadInput:
    raise
  except failures as error:
    reason = ' '.join(str(error).split())[:300] or type(error).__name__
    raise BadInput(f'cannot read the image {path}: {reason}') from None


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """uint8 [*size, C]: pixels [H, W, C] resized by Pillow's Lanczos filter to (height, width)."""
  import PIL.Image
  height, width = size
  grey = pixels.shape[-1] == 1
  image = PIL.Image.fromarray(pixels[..., 0] if grey else pixels)
  image = image.resize((width, height), PIL.Image.Resampling.LANCZOS)
  return np.asarray(image).reshape(height, width, pixels.shape[-1])


def _read(path, image) -> Image:
  if image.mode not in MODES:
    raise BadInput(f'{path} has mode {image.mode}; allowed: {", ".join(MODES)} (convert to grey '
                   'or RGB of 8 bits before)')
  if image.width * image.height > MOST_PIXELS:
    raise BadInput(f'cannot read the image {path}: it is {image.width}x{image.height}; allowed: '
                   f'at most {MOST_PIXELS} pixels')
  from PIL import ImageOps
  frames = getattr(image, 'n_frames', 1)  # absent in formats without frames
  if frames != 1:
    raise BadInput(f'{path} holds {frames} frames or pages; allowed: one (save each as a file of '
                   'its own)')
  room_for(4 * image.width * image.height, path)
  notes = []
  if image.getexif().get(ORIENTATION, 1) in range(2, 9):
    image.load()
    image = ImageOps.exif_transpose(image)
    notes.append('turned')
  grey = MODES[image.mode] == 'L'
  if image.mode in ('LA', 'RGBA', 'PA') or 'transparency' in image.info:
    image = _opaque(path, image)
    notes.append('opaque')
  if image.info.get('icc_profile'):
    notes.append('profile')
  array = np.asarray(image.convert('L' if grey else 'RGB'))
  return Image(array[..., None] if grey else array, tuple(notes))


def _opaque(path, image):
  """The image in RGBA. Raises BadInput where a pixel is not opaque."""
  full = image.convert('RGBA')
  alpha = np.asarray(full.getchannel('A'))
  if alpha.min() < 255:
    raise BadInput(f'{path} has {int((alpha < 255).sum())} pixels that are not opaque; allowed: '
                   'none (draw it on the background that you mean, and save it without alpha)')
  return full
