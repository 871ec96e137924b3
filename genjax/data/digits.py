"""The digits bundled with scikit-learn: 1797 images of 8x8 with 17 grey levels, 10 classes."""

import gzip
import importlib.util
import pathlib

import numpy as np

from genjax.data import dataset
from genjax.types import BadInput, DataSpec

RECIPE = ('scikit-learn digits (UCI optical recognition, test part); counts 0..16 as uint8 '
          '[8, 8, 1]; split 1197/200/400 by numpy RandomState(0).permutation(1797)')


def make() -> dataset.Dataset:
  """uint8 0..16 of shape (8, 8, 1), labels 0..9; train 1197, validation 200, test 400."""
  table = _table()
  arrays = {'x': table[:, :-1].astype(np.uint8).reshape(-1, 8, 8, 1),
            'cond': table[:, -1].astype(np.int32)}
  rows = dataset.split_rows(len(table), {'validation': 200, 'test': 400}, seed=0)
  splits = {name: dataset.rows_of(arrays, rows[name]) for name in dataset.SPLITS}
  return dataset.Dataset('digits', DataSpec((8, 8, 1), 17, 10), splits,
                         dataset.identity('digits', {}, RECIPE, splits))


def _table() -> np.ndarray:
  """uint8 [1797, 65]: 64 grey values, then the label."""
  # Reading the package's file takes milliseconds, importing scikit-learn a second
  package = importlib.util.find_spec('sklearn')
  if package is None:
    raise BadInput("data set 'digits' is read from scikit-learn, which is not installed: "
                   'pip install -r requirements.txt')
  path = pathlib.Path(package.submodule_search_locations[0], 'datasets', 'data', 'digits.csv.gz')
  if path.exists():
    text = gzip.decompress(path.read_bytes())
    return np.array(text.replace(b'\n', b',').rstrip(b',').split(b','),
                    np.float32).reshape(-1, 65).astype(np.uint8)
  from sklearn.datasets import load_digits
  bunch = load_digits()
  return np.column_stack([bunch.data, bunch.target]).astype(np.uint8)
