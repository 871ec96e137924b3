"""Declared data: the spec and the shapes of what `load` gives, without what it reads."""

import jax
import numpy as np
import pytest

from genjax import data
from genjax.data import dataset, latents, shapes
from genjax.types import BadInput


@pytest.fixture(autouse=True)
def nothing_prepared(monkeypatch, tmp_path):
  monkeypatch.setenv('GENJAX_DATA', str(tmp_path / 'cache'))
  return tmp_path


def check_alike(declared, loaded):
  assert declared.spec == loaded.spec and data.properties(declared) == data.properties(loaded)
  for split, arrays in loaded.splits.items():
    assert set(declared.splits[split]) == set(arrays)
    for key, array in arrays.items():
      column = declared.splits[split][key]
      assert type(column) is jax.ShapeDtypeStruct
      assert (column.shape, column.dtype) == (array.shape, array.dtype)


@pytest.mark.parametrize(('name', 'kw'), [('digits', {}), ('ring8', {'num_train': 100})])
def test_what_is_here_has_its_own_shapes(name, kw):
  check_alike(data.declared(name, **kw), data.load(name, **kw))


def test_latents_are_declared_as_they_are_read(nothing_prepared):
  moments = [(np.zeros((4, 4, 2)), np.ones((4, 4, 2)), i % 3) for i in range(20)]
  kw = {'shape': (4, 4, 2), 'num_classes': 3}
  absent = data.declared('latents', **kw)
  latents.write(latents.place(), {'train': moments}, scale_factor=1.0, autoencoder='a',
                autoencoder_sha256='', num_classes=3)
  loaded = data.load('latents', **kw)
  check_alike(data.declared('latents'), loaded)
  assert (absent.spec, data.properties(absent)) == (loaded.spec, data.properties(loaded))
  for split, arrays in loaded.splits.items():
    for key, array in arrays.items():
      column = absent.splits[split][key]
      assert (column.shape[1:], column.dtype) == (array.shape[1:], array.dtype)
  with pytest.raises(BadInput, match='num_classes=4.*allowed: 3'):
    data.declared('latents', num_classes=4)


@pytest.mark.parametrize(('name', 'shape', 'num_classes', 'sizes'), [
    ('cifar10', (32, 32, 3), 10, (45000, 5000, 10000)),
    ('fashion_mnist', (28, 28, 1), 10, (55000, 5000, 10000)),
    ('imagenet_resized/64x64', (64, 64, 3), 1000, (1276167, 5000, 50000)),
    ('celeb_a', (218, 178, 3), None, (162770, 19867, 19962))])
def test_sets_of_tfds_that_are_not_here(name, shape, num_classes, sizes, nothing_prepared):
  made = data.declared(name)
  assert made.spec[:3] == (shape, 256, num_classes) and tuple(made.splits) == dataset.SPLITS
  assert tuple(len(arrays['x'].shape) and arrays['x'].shape[0]
               for arrays in made.splits.values()) == sizes
  assert ('cond' in made.splits['train']) == (num_classes is not None)
  assert list(nothing_prepared.iterdir()) == []  # nothing was written


@pytest.mark.parametrize(('name', 'kw', 'words'), [
    ('latents', {}, 'declare data.kw.shape=.*data.kw.num_classes'),
    ('latents', {'shpe': 1}, "did you mean 'shape'"),
    ('cifar10', {'path': 'a'}, "takes no argument 'path'; it takes: data_dir"),
    ('stl10', {}, "'stl10' is not prepared here.*allowed: celeb_a, .*--data=stl10"),
    ('cifar1', {}, "unknown data set 'cifar1'.*did you mean 'cifar10"),
    ('folder', {}, 'needs path')])
def test_what_cannot_be_declared(name, kw, words):
  with pytest.raises(BadInput, match=words):
    data.declared(name, **kw)


def test_every_size_belongs_to_a_builder():
  assert set(shapes.SIZES) <= data._tfds_names()


@pytest.mark.parametrize(('sizes', 'origins', 'counts'), [
    ({'train': 60}, ('train', 'train', 'train'), (48, 6, 6)),
    ({'train': 60, 'test': 7}, ('train', 'train', 'test'), (54, 6, 7)),
    ({'train': 60, 'validation': 7}, ('train', 'train', 'validation'), (54, 6, 7)),
    ({'train': 60, 'validation': 7, 'test': 8}, ('train', 'validation', 'test'), (60, 7, 8)),
    ({'train': 60, 'test': 7, 'extra': 9}, ('train', 'train', 'test'), (54, 6, 7))])
def test_splits_that_a_source_lacks_are_carved(sizes, origins, counts):
  assigned, words = dataset.assign(sizes)
  assert tuple(assigned) == dataset.SPLITS
  assert tuple(origin for origin, _ in assigned.values()) == origins
  assert tuple(len(rows) for _, rows in assigned.values()) == counts
  of_train = np.concatenate([rows for origin, rows in assigned.values() if origin == 'train'])
  assert sorted(of_train) == list(range(60))
  assert words.count('of train') == origins[1:].count('train')
