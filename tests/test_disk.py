"""Whole files, and what is kept between processes."""

import json
import math

import numpy as np
import pytest

from genjax import disk
from genjax.types import BadInput


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  return tmp_path


def test_json_is_whole_or_as_before(tmp_path):
  path = tmp_path / 'new' / 'eval.json'
  disk.write_json(path, {'a': np.float32(0.5), 'b': np.arange(2), 'c': math.nan})
  read = json.loads(path.read_text())
  assert read['a'] == 0.5 and read['b'] == [0, 1] and math.isnan(read['c'])
  before = path.read_bytes()
  with pytest.raises(TypeError):
    disk.write_json(path, {'a': {1: 2}, (1, 2): 3})
  assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ['eval.json']


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'a'
  disk.write_bytes(path, b'old')

  def full(_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(disk.os, 'fsync', full)
  with pytest.raises(OSError, match='cannot write .No space left on device') as caught:
    disk.write_bytes(path, b'new')
  assert caught.value.errno == 28 and caught.value.filename == str(path)
  assert path.read_bytes() == b'old' and [p.name for p in tmp_path.iterdir()] == ['a']


def test_what_was_made_is_kept_by_its_key(cache):
  calls = []

  def make(value):
    calls.append(value)
    return np.full((3, 2), value, np.float32)

  for key in (1, 2, 1, 2):
    found = disk.kept_array('features', {'card': {'b': key, 'a': 0}}, lambda key=key: make(key))
    assert found.dtype == np.float32 and (found == key).all()
  assert calls == [1, 2]
  values = [disk.kept_json('figures', {'k': 1}, lambda v=v: {'x': np.float64(v), 'y': None})
            for v in (0.1 + 0.2, 7.0)]
  assert values[0] == values[1] == {'x': 0.1 + 0.2, 'y': None}


def test_a_torn_file_is_made_again(cache):
  def kept():
    return disk.kept_array('features', {}, lambda: np.arange(100.0))

  kept()
  [path] = (cache / 'features').iterdir()
  path.write_bytes(path.read_bytes()[:-9])
  assert (kept() == np.arange(100.0)).all() and len(path.read_bytes()) > 800


def test_every_flipped_bit_of_a_kept_file_is_seen(cache):
  made = []
  kept = {'features': lambda: disk.kept_array('features', {}, lambda: made.append(0) or np.ones(3)),
          'figures': lambda: disk.kept_json('figures', {}, lambda: made.append(0) or {'fd': 6.215})}
  for folder, read in kept.items():
    value = read()
    [path] = (cache / folder).iterdir()
    whole = path.read_bytes()
    made.clear()
    assert np.array_equal(read(), value) and not made
    for bit in range(8 * len(whole)):
      damaged = bytearray(whole)
      damaged[bit // 8] ^= 1 << bit % 8
      path.write_bytes(damaged)
      assert np.array_equal(read(), value)
    for length in range(len(whole)):
      path.write_bytes(whole[:length])
      assert np.array_equal(read(), value)
    assert len(made) == 9 * len(whole) and path.read_bytes() == whole


def test_a_record_is_plain_json_and_no_damage_passes(tmp_path):
  path, content = tmp_path / 'eval.json', {'metrics': {'fd': {'value': 6.215, 'low': None}}}
  assert disk.read_record(path) is None
  disk.write_record(path, content)
  assert json.loads(path.read_text())['metrics'] == content['metrics']
  assert disk.read_record(path) == content
  whole = path.read_bytes()
  silent = 0
  for bit in range(8 * len(whole)):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
      found = disk.read_record(path)
    except BadInput as error:
      assert str(path) in str(error) and '\n' not in str(error)
      continue
    silent += 1  # in the space between, or in the name of the digest: what is read is what was
    assert found.get('metrics') == content['metrics']
  assert silent < len(whole)
  path.write_text(json.dumps(content))  # from before there was a digest
  assert disk.read_record(path) == content
  path.write_text('[]')
  with pytest.raises(BadInput, match='holds no object'):
    disk.read_record(path)


def test_the_longest_unread_is_forgotten_first(cache, monkeypatch):
  monkeypatch.setattr(disk, 'LIMIT', 2500)
  for key in range(3):
    disk.kept_array('features', {'key': key}, lambda: np.zeros(125))
    for age, path in enumerate(sorted((cache / 'features').iterdir(), key=disk.os.path.getmtime)):
      disk.os.utime(path, (1000 + age, 1000 + age))
  made = []
  for key in (2, 1, 0):
    disk.kept_array('features', {'key': key}, lambda key=key: made.append(key) or np.zeros(125))
  assert made == [0]


def test_where_nothing_can_be_written_it_is_computed(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path / 'file'))
  assert disk.kept_json('figures', {}, lambda: [1]) == [1]
