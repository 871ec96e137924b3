"""From images of any side to the input of Inception, on three paths, and to that of DINOv2.

A Frechet distance depends on how its images were resized (arXiv 2104.11222), so the card names the
path. `jax.image.resize` is none of them: it is half-pixel, and antialiased where it shrinks.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from genjax.types import BadInput

SIDE = 299  # of Inception's input
EXACT = jax.lax.Precision.HIGHEST  # GPUs and TPUs round float32 products without it


def tf1(x) -> jax.Array:
  """float32 [B, 299, 299, 3] in [-1, 127 / 128] from uint8 [B, H, W, 1 or 3], inside jit or not.

  Bilinear as in TensorFlow 1: neither half-pixel nor antialiased; then (x - 128) / 128. The path of
  the first published scores, of EDM and of torch-fidelity. Raises BadInput for what is no image.
  """
  x = _bilinear(_checked(x), half_pixel=False)
  return _in_colour(jnp, (x - 128) / 128)


def clean(x) -> np.ndarray:
  """float32 [B, 299, 299, 3] in [-1, 127 / 128] from uint8 [B, H, W, 1 or 3], on the host alone.

  Pillow's bicubic, antialiased, in floats, cut to 0..255 and not rounded; then (x - 128) / 128. The
  path of clean-fid. Raises BadInput for what is no image.
  """
  x = _pillow(_checked(x).astype(np.float32), SIDE)
  return _in_colour(np, (x.clip(0, 255) - 128) / 128)


def pt(x) -> jax.Array:
  """float32 [B, 299, 299, 3] in [-1, 1] from uint8 [B, H, W, 1 or 3], inside jit or not.

  x / 255, bilinear as in PyTorch: half-pixel, not antialiased; then 2 x - 1. The path of
  pytorch-fid. Raises BadInput for what is no image.
  """
  x = _bilinear(_checked(x) / np.float32(255), half_pixel=True)
  return _in_colour(jnp, 2 * x - 1)


RESIZES: dict[str, Callable] = {'tf1': tf1, 'clean': clean, 'pt': pt}
ON_HOST = ('clean',)  # which jit cannot trace


def pil_bicubic_uint8(x, size: int) -> np.ndarray:
  """uint8 [B, size, size, 3] from uint8 [B, H, W, 1 or 3] by Pillow's bicubic, antialiased.

  Rounded after the rows and after the columns. With size 224 the input of DINOv2. Raises BadInput
  for what is no image.
  """
  return _in_colour(np, _pillow(_checked(x), size))


def bilinear_weights(size: int, out: int, half_pixel: bool) -> np.ndarray:
  """float32 [out, size]: the weight of each of `size` inputs in each of `out` outputs.

  Output i interpolates the two inputs around s i, with s = size / out; if half_pixel, around
  max(s (i + 1/2) - 1/2, 0). The last input repeats beyond the border. Positions are float32,
  rounded where TensorFlow rounds them, and PyTorch: once, after product and difference.
  """
  scale, i = np.float64(np.float32(size) / np.float32(out)), np.arange(out)
  at = (np.maximum(scale * (i + 0.5) - 0.5, 0) if half_pixel else scale * i).astype(np.float32)
  low = at.astype(int)
  share = at - low.astype(np.float32)
  weights = np.zeros((out, size), np.float32)
  np.add.at(weights, (np.arange(out), low), 1 - share)
  np.add.at(weights, (np.arange(out), np.minimum(low + 1, size - 1)), share)
  return weights


def _bilinear(x, half_pixel):
  """[B, H, W, C] -> float32 [B, 299, 299, C]: a product over columns and one over rows."""
  rows, columns = (bilinear_weights(n, SIDE, half_pixel) for n in x.shape[1:3])
  x = jnp.einsum('jw,bhwc->bhjc', columns, jnp.asarray(x, jnp.float32), precision=EXACT)
  return jnp.einsum('ih,bhjc->bijc', rows, x, precision=EXACT)


def _pillow(x, size):
  """[B, H, W, C] -> [B, size, size, C] of the same type; each channel by itself, rows first.

  Pillow 13 begins with the columns of some images that are higher than wide, older ones do not.
  """
  resized = np.empty((len(x), size, size, x.shape[3]), x.dtype)
  for image, target in zip(x, resized, strict=True):
    for c in range(x.shape[3]):
      plane = Image.fromarray(np.ascontiguousarray(image[..., c]))
      for sides in ((size, plane.height), (size, size)):
        plane = plane.resize(sides, Image.Resampling.BICUBIC)
      target[..., c] = np.asarray(plane)
  return resized


def _checked(x):
  if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape:
    raise BadInput(f'images of shape {x.shape} and type {x.dtype}; '
                   'allowed: uint8 [B, H, W, 1] and [B, H, W, 3]')
  return x


def _in_colour(numpy, x):
  return numpy.broadcast_to(x, (*x.shape[:3], 3))
