"""What a run leaves: whole files, no line twice, pictures one can look at."""

import json
import time

import numpy as np
import pytest
from PIL import Image

from genjax import disk
from genjax.runs import writer
from genjax.types import BadInput, DataSpec

DIGITS = DataSpec((8, 8, 1), 17, 10)
POINTS = DataSpec((2,), None, None)


def test_resume_drops_the_lines_that_come_again(tmp_path):
  write = writer.open_log(tmp_path)
  for step in (10, 20, 30):
    write(step, {'loss': np.float32(step)})
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 35, "lo')  # torn by a kill
  assert [row['step'] for row in writer.read_metrics(tmp_path)] == [10, 20, 30]
  write = writer.open_log(tmp_path, start=20)
  write(30, {'loss': -1})
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert [(row['step'], row['loss']) for row in map(json.loads, lines)] == [
      (10, 10), (20, 20), (30, -1)]
  writer.open_log(tmp_path)  # killed before the first checkpoint: all is written again
  assert writer.read_metrics(tmp_path) == []


def test_no_damage_of_the_log_is_read_as_a_figure(tmp_path):
  write, path = writer.open_log(tmp_path), tmp_path / 'metrics.jsonl'
  for step in (10, 20):
    write(step, {'steps_per_second': step / 8})
  whole, rows = path.read_bytes(), writer.read_metrics(tmp_path)
  assert [sorted(row) for row in rows] == [['step', 'steps_per_second', 'time']] * 2
  first = whole.index(b'\n') + 1
  refused = 0
  for bit in range(8 * len(whole)):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
      found = writer.read_metrics(tmp_path)
    except BadInput as error:
      assert f'{path} is damaged in line' in str(error)
      refused += 1
      continue
    # unseen only in the digest itself, whose row is as it was
    assert [{k: row[k] for k in rows[0]} for row in found] == rows
  assert refused > 0.8 * 8 * len(whole)
  for length in range(first, len(whole)):  # torn by a kill
    path.write_bytes(whole[:length])
    assert writer.read_metrics(tmp_path) == rows[:1 + (length == len(whole) - 1)]


def test_events_can_be_read(tmp_path, monkeypatch):
  monkeypatch.setattr(writer, '_FLUSH_SECONDS', 0.05)
  write = writer.open_log(tmp_path)
  write(3, {'kl/loss': 1.5})
  write(4, {'kl/loss': 2.5})
  end = time.time() + 20
  while time.time() < end and (files := list(tmp_path.glob('events.*'))):
    if files[0].read_bytes().count(b'kl/loss') == 2:
      break
    time.sleep(0.05)
  assert len(files) == 1 and files[0].read_bytes().count(b'kl/loss') == 2


def test_stretch_is_what_can_be_mapped_back():
  assert disk.to_bytes(np.array([0, 1, 8, 16]), 17).tolist() == [0, 16, 128, 255]
  k = np.arange(17)
  assert (np.rint(disk.to_bytes(k, 17) * (16 / 255)) == k).all()
  assert (disk.to_bytes(np.arange(256), 256) == np.arange(256)).all()
  with pytest.raises(BadInput, match=r'0\.\.17; allowed: integers 0\.\.16'):
    disk.to_bytes(np.array([0, 17]), 17)
  with pytest.raises(BadInput, match='float32'):
    disk.to_bytes(np.ones(2, np.float32), 17)


@pytest.mark.parametrize('channels', [1, 3])
def test_grid_shows_each_image_enlarged(tmp_path, channels):
  x = np.zeros((5, 8, 8, channels), np.int32)
  x[3, 0, 0] = 16
  writer.image_grid(x, 17, tmp_path / 'grid.png')
  image = np.asarray(Image.open(tmp_path / 'grid.png').convert('L'))
  assert image.shape == (2 * 50 + 2, 3 * 50 + 2)
  rows, columns = np.nonzero(image == 255)
  assert (rows.min(), rows.max(), columns.min(), columns.max()) == (52, 57, 2, 7)
  assert (image == 0).sum() == 5 * 48 * 48 - 36


def test_samples_of_images(tmp_path):
  x = np.random.default_rng(0).integers(0, 17, (10, 8, 8, 1))
  writer.write_samples(tmp_path / 'samples' / 'final', x, DIGITS, 4)
  stored = np.load(tmp_path / 'samples' / 'final.npz')['x']
  assert stored.dtype == np.uint8 and stored.max() == 255 and stored.shape == (10, 8, 8, 1)
  assert Image.open(tmp_path / 'samples' / 'final.png').size == (102, 102)


def test_samples_of_points(tmp_path):
  x = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
  x[0, 0] = np.nan
  writer.write_samples(tmp_path / 'points', x, POINTS)
  assert np.array_equal(np.load(tmp_path / 'points.npz')['x'], x, equal_nan=True)
  assert np.asarray(Image.open(tmp_path / 'points.png').convert('L')).min() < 200


def test_what_is_no_picture(tmp_path):
  with pytest.raises(BadInput, match=r'out.gif: allowed: FILE.png or FILE.npz'):
    writer.write_sample_file(tmp_path / 'out.gif', np.zeros((1, 2)), POINTS)
  with pytest.raises(BadInput, match=r'shape \(5,\) are no picture; allowed: FILE.npz'):
    writer.write_sample_file(tmp_path / 'a.png', np.zeros((1, 5)), DataSpec((5,), None, None))
  writer.write_samples(tmp_path / 'a', np.zeros((1, 5)), DataSpec((5,), None, None))
  assert [p.name for p in tmp_path.iterdir()] == ['a.npz']


def test_pictures_stand_next_to_the_samples_and_in_the_png(tmp_path):
  x, means = np.zeros((5, 8, 8, 1), np.int32), np.full((4, 8, 8, 1), 16)
  writer.write_samples(tmp_path / 'final', x, DIGITS, 4, pictures=means)
  with np.load(tmp_path / 'final.npz') as file:
    assert file['x'].max() == 0 and file['pictures'].shape == means.shape
    assert file['pictures'].min() == 255
  assert np.asarray(Image.open(tmp_path / 'final.png')).max() == 255
