"""TFDS without TensorFlow, using the standard library and Pillow in the few places that need it.

TFDS reads and writes records without TensorFlow, but opens archives and encodes images with it.
The places are private names of tensorflow-datasets 4.9.10, which is why that version is pinned; a
test prepares real builders through them.
"""

import contextlib
import glob
import importlib
import io
import os
import types
from importlib.machinery import PathFinder

import absl.logging
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import extractor
from tensorflow_datasets.core.features import image_feature


class _Reader(io.FileIO):
  """A file that a `with` block does not close: celeb_a reads members of an archive after it."""

  def __exit__(self, *unused):
    return None


def _open(path, mode='r'):
  return _Reader(os.fspath(path), 'r') if mode == 'rb' else open(path, mode)


TENSORFLOW = types.SimpleNamespace(
    compat=types.SimpleNamespace(
        as_text=lambda text: text.decode() if type(text) is bytes else str(text)),
    io=types.SimpleNamespace(gfile=types.SimpleNamespace(
        GFile=_open, exists=os.path.exists, isdir=os.path.isdir, listdir=os.listdir,
        glob=glob.glob, walk=os.walk)))


def _encode_image(self, image: np.ndarray) -> bytes:
  """An image as the bytes of a record; PNG at its fastest unless TFDS asks for another format."""
  from PIL import Image
  pixels = image[..., 0] if image.shape[-1] == 1 else image
  out, form = io.BytesIO(), self.encoding_format or 'png'
  Image.fromarray(pixels).save(out, form, **({'compress_level': 1} if form == 'png' else {}))
  return out.getvalue()


@contextlib.contextmanager
def replaced(places):
  """Sets attributes within a `with` block: places = [(object, name, value)]."""
  before = [(where, name, getattr(where, name)) for where, name, _ in places]
  for where, name, value in places:
    setattr(where, name, value)
  try:
    yield
  finally:
    for where, name, value in before:
      setattr(where, name, value)


@contextlib.contextmanager
def without_tensorflow():
  """Within the block TFDS works as if TensorFlow were not installed, with replacements for it."""
  tfds.disable_progress_bar()
  modules = [importlib.import_module(f'tensorflow_datasets.image_classification.{module}')
             for module in ('mnist', 'cifar')]
  find_spec = PathFinder.find_spec

  def find_all_but_tensorflow(name, *rest):
    return None if name == 'tensorflow' else find_spec(name, *rest)

  places = [(module, 'tf', TENSORFLOW) for module in (*modules, extractor)]
  places.append((image_feature._ImageEncoder, '_encode_image', _encode_image))
  # if TensorFlow is installed, libraries that TFDS uses would import it
  places.append((PathFinder, 'find_spec', find_all_but_tensorflow))
  verbosity = absl.logging.get_verbosity()
  absl.logging.set_verbosity(absl.logging.ERROR)
  try:
    with replaced(places):
      yield
  finally:
    absl.logging.set_verbosity(verbosity)
