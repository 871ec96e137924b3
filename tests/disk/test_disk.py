"""Whole files, and what is kept between processes."""

import json
import math
import os
import pathlib
import subprocess
import time

import numpy as np
import pytest

from genjax import disk
from genjax.disk import atomic, processes
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


def test_files_are_written_together_or_not_at_all(tmp_path, monkeypatch):
  table, record = tmp_path / 'a.md', tmp_path / 'a.json'
  disk.write_together({record: b'1', table: b'2'})
  assert (record.read_bytes(), table.read_bytes()) == (b'1', b'2')
  synced = []

  def full_at_the_second(descriptor):
    synced.append(descriptor)
    if len(synced) == 2:
      raise OSError(28, 'No space left on device')

  monkeypatch.setattr(disk.os, 'fsync', full_at_the_second)
  with pytest.raises(OSError, match='cannot write') as caught:
    disk.write_together({record: b'3', table: b'4'})
  assert caught.value.filename == str(table)
  assert (record.read_bytes(), table.read_bytes()) == (b'1', b'2')
  assert sorted(p.name for p in tmp_path.iterdir()) == ['a.json', 'a.md']


def ended_process():
  """The number of a process that has ended."""
  process = subprocess.Popen(['true'])
  process.wait()
  return process.pid


def test_what_ended_writers_left_is_removed_and_nothing_else(tmp_path):
  dead, ours = ended_process(), processes.table()
  removed = (f'.a.json.{dead}', f'.a.json.{dead}-{ours}-0')
  kept = (f'.a.json.{os.getpid()}-{ours}-99',  # lives
          f'.a.json.{dead}-0123456789ab-0',  # of a machine that cannot be seen from here
          f'.b.json.{dead}', f'.a.json.{dead}.bak')  # not of this file
  for name in (*removed, *kept):
    (tmp_path / name).write_text('torn')
  disk.write_bytes(tmp_path / 'a.json', b'1')
  assert {p.name for p in tmp_path.iterdir()} == {'a.json', *kept}


def test_a_link_in_the_place_of_the_hidden_file_is_not_followed(tmp_path, monkeypatch):
  victim, monkey = tmp_path / 'victim', tmp_path / '.a.hidden'
  victim.write_text('mine')
  monkey.symlink_to(victim)
  monkeypatch.setattr(atomic, '_hidden', lambda path: monkey)
  with pytest.raises(OSError, match='cannot write'):
    disk.write_bytes(tmp_path / 'a', b'theirs')
  assert victim.read_text() == 'mine' and not (tmp_path / 'a').exists()


def test_what_cannot_be_written_is_found_before_the_work(tmp_path):
  disk.check_writable(tmp_path / 'new' / 'a.json')
  (tmp_path / 'file').write_text('')
  disk.check_writable(tmp_path / 'file')
  for path in (tmp_path / 'file' / 'a.json', tmp_path, '/proc/a.json'):
    with pytest.raises(OSError, match='cannot write') as caught:
      disk.check_writable(path)
    assert caught.value.filename == str(path)
  assert [p.name for p in tmp_path.iterdir()] == ['file']


def test_a_process_is_known_to_have_ended_by_number_and_start():
  me = processes.this()
  assert not processes.has_ended(me)
  assert processes.has_ended(me._replace(started=me.started - 1))  # its number is used again
  assert processes.has_ended(me._replace(pid=ended_process()))
  assert not processes.has_ended(me._replace(pid=ended_process(), table='of another machine'))
  zombie = subprocess.Popen(['true'])
  while b') Z ' not in pathlib.Path(f'/proc/{zombie.pid}/stat').read_bytes():
    time.sleep(0.01)
  assert processes.has_ended(me._replace(pid=zombie.pid, started=None))
  zombie.wait()


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


@pytest.mark.slow
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
    silent += 1  # in the space between: what is read is what was
    assert found == content
  assert silent < len(whole)
  path.write_text(json.dumps(content))  # without a digest nothing is known of it
  with pytest.raises(BadInput, match='its sha256 is not the recorded one'):
    disk.read_record(path)
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


def test_the_cache_is_made_for_this_user_alone(tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path / 'of' / 'mine'))
  before = os.umask(0)
  try:
    assert disk.cache('figures') == tmp_path / 'of' / 'mine' / 'figures'
  finally:
    os.umask(before)
  assert (tmp_path / 'of' / 'mine').stat().st_mode & 0o777 == 0o700
  assert not disk.others_write(tmp_path / 'of' / 'mine')


@pytest.mark.parametrize('mode', [0o722, 0o720, 0o702, 0o777, 0o775])
def test_who_else_may_write(tmp_path, mode):
  tmp_path.chmod(mode)
  assert disk.others_write(tmp_path)
  tmp_path.chmod(mode & 0o755)
  assert not disk.others_write(tmp_path)
