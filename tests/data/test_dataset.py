"""What a run keeps of its data: written as JSON and read back equal."""

import json

import numpy as np

from genjax import data
from genjax.types import DataSpec


def test_described_data_are_the_same_without_splits():
  dataset = data.Dataset('mine', DataSpec((2,), None, 3), {'train': {'x': np.zeros((4, 2))}},
                         {'name': 'mine'}, classes=('ant', 'bee', 'cat'), label_counts=(1, 2, 1),
                         standardised=(np.array([1.0, 2.0]), np.array([3.0, 0.1])))
  read = data.described(json.loads(json.dumps(data.describe(dataset))), dataset.identity)
  assert read.splits == {}
  for mean_or_std, written in zip(read.standardised, dataset.standardised, strict=True):
    np.testing.assert_array_equal(mean_or_std, written)
  assert read._replace(standardised=None) == dataset._replace(splits={}, standardised=None)


def test_described_data_without_labels_or_scale():
  dataset = data.Dataset('mine', DataSpec((8, 8, 1), 17, None), {}, {'name': 'mine'})
  assert data.described(json.loads(json.dumps(data.describe(dataset))), {'name': 'mine'}) == dataset
