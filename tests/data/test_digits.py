import jax
import numpy as np
import pytest

from genjax import data, disk, prob
from genjax.data import dataset, digits
from genjax.types import BadInput, DataSpec


def test_split_is_disjoint_complete_and_stable():
  sets = data.load('digits')
  assert sets.spec == DataSpec((8, 8, 1), 17, 10)
  assert {split: len(a['x']) for split, a in sets.splits.items()} == {
      'train': 1197, 'validation': 200, 'test': 400}
  rows = dataset.split_rows(1797, {'validation': 200, 'test': 400}, seed=0)
  assert sorted(np.concatenate(list(rows.values()))) == list(range(1797))
  # what every published number of this package rests on: a change here changes the data set
  assert {split: sha[:12] for split, sha in sets.identity['sha256'].items()} == {
      'train': '91fe2599e560', 'validation': 'cc9e4d45b45b', 'test': 'ff9d32c606e7'}


def test_content_is_that_of_scikit_learn():
  from sklearn.datasets import load_digits
  bunch, sets = load_digits(), data.load('digits')
  rows = dataset.split_rows(1797, {'validation': 200, 'test': 400}, seed=0)
  for split, arrays in sets.splits.items():
    assert arrays['x'].dtype == np.uint8 and arrays['cond'].dtype == np.int32
    np.testing.assert_array_equal(arrays['x'][..., 0], bunch.images[rows[split]])
    np.testing.assert_array_equal(arrays['cond'], bunch.target[rows[split]])


def test_without_the_file_scikit_learn_itself_is_asked(monkeypatch):
  expected = digits.make().identity
  monkeypatch.setattr(digits.pathlib.Path, 'exists', lambda self: False)
  assert digits.make().identity == expected


def test_prepare_and_the_way_back():
  sets = data.load('digits')
  batch = jax.jit(lambda batch: data.prepare(batch, sets.spec))(sets.splits['test'])
  assert batch['x'].dtype == np.float32 and batch['cond'].dtype == np.int32
  assert float(batch['x'].min()) == -1.0 and float(batch['x'].max()) == 1.0
  np.testing.assert_array_equal(prob.to_levels(batch['x'], 17), sets.splits['test']['x'])
  with pytest.raises(BadInput, match='prepared twice'):
    data.prepare(batch, sets.spec)


def test_prepare_leaves_continuous_data_and_masks():
  x, mask = np.array([[0.5, -3.0]]), np.array([True])
  batch = data.prepare({'x': x, 'mask': mask}, DataSpec((2,), None, None))
  np.testing.assert_array_equal(batch['x'], x)
  assert batch['x'].dtype == np.float32 and batch['mask'] is mask


@pytest.mark.parametrize('levels', [2, 5, 17, 255, 256])
def test_bytes_round_trip(levels, recwarn):
  k = np.arange(levels)
  np.testing.assert_array_equal(disk.from_bytes(disk.to_bytes(k, levels), levels), k)
  assert disk.to_bytes(k, levels)[-1] == 255 and not recwarn.list


def test_bytes_off_the_grid_are_counted():
  with pytest.warns(UserWarning, match='2 of 4 values'):
    k = disk.from_bytes(np.array([0, 1, 254, 255], np.uint8), 17)
  assert k.tolist() == [0, 0, 16, 16]


def test_identity_changes_with_a_byte_a_shape_and_a_type():
  x = np.zeros((4, 6), np.uint8)
  other = x.copy()
  other[2, 3] = 1
  seen = {disk.digest({'x': a}) for a in
          (x, other, x.reshape(6, 4), x.astype(np.int8), x.astype(np.int16)[:, :3])}
  assert len(seen) == 5
  assert disk.digest({'x': x}) != disk.digest({'cond': x})


def test_properties():
  assert data.properties(data.load('digits')) == {
      'discrete', 'image', 'labels', 'training_set'}


def test_unknown_names_and_arguments(monkeypatch, tmp_path):
  monkeypatch.setenv('GENJAX_DATA', str(tmp_path))
  with pytest.raises(BadInput, match="'digts'.*did you mean 'digits'.*bundled: digits, ring8"):
    data.load('digts')
  with pytest.raises(BadInput, match="'digits' takes no argument 'levels'; it takes: none"):
    data.load('digits', levels=3)
  with pytest.raises(BadInput, match='data set name'):
    data.load('../secret')
