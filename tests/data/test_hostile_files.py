"""Files that are damaged, foreign or made to hurt: one line each, before memory is taken."""

import gzip
import io
import os
import pathlib
import resource
import socket
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data import files, intake
from genjax.runs import edit_task
from genjax.types import BadInput, DataSpec

X = np.arange(60, dtype=np.float32).reshape(20, 3)


def npy(array):
  content = io.BytesIO()
  np.save(content, array)
  return content.getvalue()


def archive(path, members, method=zipfile.ZIP_STORED):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of two members of one name
    with zipfile.ZipFile(path, 'w', method) as file:
      for name, content in members:
        file.writestr(name, content)


def head(shape, descr='<f4'):
  """The head of an npy file that declares a shape, and nothing behind it."""
  text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
  text += ' ' * (118 - len(text)) + '\n'
  return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text.encode()


def patched(path, signature, offset, value):
  """Puts a 16-bit value into each zip header of this signature."""
  content = bytearray(path.read_bytes())
  at = content.find(signature)
  while at >= 0:
    struct.pack_into('<H', content, at + offset, value)
    at = content.find(signature, at + 4)
  path.write_bytes(content)


def flagged(path, offset_local, offset_central, value):
  archive(path, [('x.npy', npy(X))])
  patched(path, b'PK\x03\x04', offset_local, value)
  patched(path, b'PK\x01\x02', offset_central, value)


def bomb(path):
  """134 MB of zeros, declared and there, in 130 kB."""
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file, file.open('x.npy', 'w') as member:
    member.write(head((1 << 25,)))
    for _ in range(8):
      member.write(bytes(1 << 24))


NPZ = {
    'encrypted': (lambda p: flagged(p, 6, 8, 1), 'encrypted'),
    'an unknown method': (lambda p: flagged(p, 8, 10, 97), 'compression'),
    'damaged lzma': (lambda p: flagged(p, 8, 10, zipfile.ZIP_LZMA), 'member x.npy'),
    'damaged bzip2': (lambda p: flagged(p, 8, 10, zipfile.ZIP_BZIP2), 'member x.npy'),
    'an npy by another name': (lambda p: p.write_bytes(npy(X)), 'holds one array'),
    'a member that is no npy': (lambda p: archive(p, [('x', b'text')]), 'it is no array'),
    'a text in an npy': (lambda p: archive(p, [('x.npy', b'text' * 99)]), 'no npy file'),
    'two members of one name': (lambda p: archive(p, [('x.npy', npy(X))] * 2), 'two members'),
    'a name with and without npy': (lambda p: archive(p, [('x.npy', npy(X)), ('x', b'')]),
                                    'two members'),
    'more declared than there is': (lambda p: archive(p, [('x.npy', head((10**12,)))]),
                                    'declares float32 (1000000000000,), 4 TB'),
    'a product beyond 64 bits': (lambda p: archive(p, [('x.npy', head((2**40, 2**40)))]),
                                 'declares'),
    'negative sizes': (lambda p: archive(p, [('x.npy', head((-1, 3)))]), 'no npy file'),
    'less declared than there is': (lambda p: archive(p, [('x.npy', head((1,)) + bytes(8))]),
                                    'declares'),
    'pickled objects': (lambda p: archive(p, [('x.npy', npy(np.array([{}])))]), 'object'),
    'a record': (lambda p: archive(p, [('x.npy', npy(np.zeros(3, 'i4,f4')))]), 'numbers or text'),
    'a nest of brackets': (lambda p: archive(p, [('x.npy', b'\x93NUMPY\x01\x00' + struct.pack(
        '<H', 9000) + b'(' * 9000)]), 'no npy file'),
    'a bomb': (bomb, 'would unpack to 134 MB'),
    'no example': (lambda p: archive(p, [('x.npy', npy(X[:0]))]), 'at least one example'),
    'a number': (lambda p: archive(p, [('x.npy', npy(np.float32(3)))]), 'allowed: uint8'),
    'text of no letters': (lambda p: archive(p, [('x.npy', npy(np.zeros(3, 'U')))]), 'a.npz'),
    'nothing': (lambda p: p.write_bytes(b''), 'as npz'),
    'a FIFO': (lambda p: os.mkfifo(p), 'a FIFO; allowed: a regular file'),
    'a folder': (lambda p: p.mkdir(), 'a folder; allowed: a regular file'),
    'a device': (lambda p: p.symlink_to('/dev/zero'), 'a device; allowed: a regular file'),
}


@pytest.mark.parametrize('name', NPZ)
def test_an_npz_ends_in_one_line_with_its_name(name, tmp_path):
  make, words = NPZ[name]
  path = tmp_path / 'a.npz'
  make(path)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with pytest.raises(BadInput) as refusal:
    data.load('npz', path=str(path))
  assert words in str(refusal.value) and 'a.npz' in str(refusal.value)
  assert '\n' not in str(refusal.value)
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kB


@pytest.mark.parametrize('method', [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize('order', 'CF')
def test_every_method_of_zip_is_read(method, order, tmp_path):
  array = np.asarray(np.random.RandomState(0).standard_normal((20, 3, 2)), order=order)
  archive(tmp_path / 'a.npz', [('x.npy', npy(array)), ('read.me', b'')], method)
  read = intake.read_npz(tmp_path / 'a.npz', ('x',))
  np.testing.assert_array_equal(read.arrays['x'], array)
  assert read.keys == ('x', 'read.me')


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path):
  archive(tmp_path / 'a.npz', [('x.npy', npy(X))])
  content = bytearray((tmp_path / 'a.npz').read_bytes())
  content[300] ^= 4
  (tmp_path / 'a.npz').write_bytes(content)
  with pytest.raises(BadInput, match='a.npz.*Bad CRC-32'):
    intake.read_npz(tmp_path / 'a.npz')


def test_what_memory_does_not_hold_is_refused_before_it_is_taken(tmp_path, monkeypatch):
  archive(tmp_path / 'a.npz', [('x.npy', npy(X))])
  monkeypatch.setattr(intake.limits, 'available_memory', lambda: 3 * X.nbytes - 1)
  with pytest.raises(BadInput, match='240 bytes, of which 3 copies are needed, and 719 bytes'):
    intake.read_npz(tmp_path / 'a.npz')
  monkeypatch.setattr(intake.limits, 'available_memory', lambda: 3 * X.nbytes)
  np.testing.assert_array_equal(intake.read_npz(tmp_path / 'a.npz').arrays['x'], X)


def test_memory_is_what_this_process_may_take():
  free = intake.available_memory()
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  assert 1 << 20 < free <= total


def idx_of(array, ndim=None):
  return bytes([0, 0, 8, ndim or array.ndim]) + np.array(array.shape, '>i4').tobytes() + bytes(
      array.tobytes())


IDX = {
    'sizes of 65536^4': (b'\0\0\x08\x04' + struct.pack('>4I', *[65536] * 4), 'complete idx'),
    'sizes beyond 2^31': (b'\0\0\x08\x01' + struct.pack('>I', 2**32 - 1), '4294967295'),
    'floats': (b'\0\0\x0d\x01' + struct.pack('>I', 1) + bytes(4), 'begins with'),
    'too many dimensions': (b'\0\0\x08\xff' + bytes(1020), 'begins with'),
    'a head cut short': (b'\0\0\x08\x03\0\0', 'ends in its head'),
    'one byte less': (idx_of(np.zeros((2, 3), np.uint8))[:-1], 'complete idx'),
    'one byte more': (idx_of(np.zeros((2, 3), np.uint8)) + b'0', 'complete idx'),
    'nothing': (b'', 'begins with'),
}


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('name', IDX)
def test_an_idx_file_ends_in_one_line_with_its_name(name, packed, tmp_path):
  content, words = IDX[name]
  path = tmp_path / ('t.gz' if packed else 't')
  path.write_bytes(gzip.compress(content) if packed else content)
  with pytest.raises(BadInput, match=words) as refusal:
    intake.read_idx(path)
  assert str(path) in str(refusal.value)


@pytest.mark.parametrize(('train', 'test', 'labels', 'words'), [
    ((12, 4, 4), (3, 4, 5), (12, 3), 'training images are 4x4.*testing 5x4'),
    ((12, 4, 4), (3, 4, 4), (12, 4), r'test images \(3, 4, 4\) and labels \(4,\)'),
    ((12, 16), (3, 16), (12, 3), 'do not belong together'),
    ((0, 4, 4), (3, 4, 4), (0, 3), r'train images are \(0, 4, 4\)'),
    ((12, 4, 4), (0, 4, 4), (12, 0), r'test images are \(0, 4, 4\)')])
def test_idx_files_that_do_not_belong_together(train, test, labels, words, tmp_path):
  for prefix, shape, count in (('train', train, labels[0]), ('t10k', test, labels[1])):
    (tmp_path / f'{prefix}-images-idx3-ubyte').write_bytes(idx_of(np.zeros(shape, np.uint8)))
    (tmp_path / f'{prefix}-labels-idx1-ubyte').write_bytes(idx_of(np.zeros(count, np.uint8)))
  with pytest.raises(BadInput, match=words):
    files.idx(str(tmp_path))


def png(width, height):
  def part(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack(
        '>I', zlib.crc32(kind + content))

  size = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  return (b'\x89PNG\r\n\x1a\n' + part(b'IHDR', size)
          + part(b'IDAT', zlib.compress(bytes(8))) + part(b'IEND', b''))


IMAGES = {
    'a bomb by its size': (png(60000, 60000), 'a.png'),
    'more pixels than allowed': (png(9000, 9000), 'at most 67108864 pixels'),
    'fewer bytes than declared': (png(300, 300), 'a.png'),
    'no columns': (png(0, 4), 'a.png'),
    'PostScript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n', 'a.png'),
    'text': (b'no image', 'cannot read the image'),
    'nothing': (b'', 'cannot read the image'),
}


@pytest.mark.parametrize('name', IMAGES)
def test_an_image_ends_in_one_line_with_its_name(name, tmp_path):
  content, words = IMAGES[name]
  (tmp_path / 'a.png').write_bytes(content)
  with pytest.raises(BadInput) as refusal:
    data.load('folder', path=str(tmp_path))
  assert words in str(refusal.value) and 'a.png' in str(refusal.value)


@pytest.mark.parametrize('kind', ['FIFO', 'socket', 'device', 'lost link'])
def test_what_only_looks_like_a_file_is_not_opened(kind, tmp_path):
  path = pathlib.Path(tmp_path, 'a.png')
  if kind == 'FIFO':
    os.mkfifo(path)
  elif kind == 'socket':
    socket.socket(socket.AF_UNIX).bind(str(path))
  else:
    path.symlink_to('/dev/zero' if kind == 'device' else 'gone')
  with pytest.raises(BadInput, match='cannot read .*a.png'):
    data.load('folder', path=str(tmp_path))


POINTS = DataSpec((2,), None, None)


def task(path, scale=None):
  return edit_task.task(str(path), POINTS, image=None, mask=None, factor=None, resize=False,
                        scale=scale)


@pytest.mark.parametrize(('a', 'y'), [
    ([[1e39, 0]], [0]), ([[1, 0]], [1e300]), ([[np.inf, 0]], [0]), ([[1, 0]], [np.nan]),
    ([[-1e39, 1]], [1])])
def test_an_edit_that_is_not_finite_in_float32_is_refused(a, y, tmp_path):
  np.savez(tmp_path / 'e.npz', A=np.array(a, np.float64), y=np.array(y, np.float64))
  with pytest.raises(BadInput, match='e.npz: [Ay] .*not finite in float32'):
    task(tmp_path / 'e.npz')


def test_an_edit_of_standardised_data_is_in_the_units_of_the_file(tmp_path):
  """A raw = y with raw = mean + std x is (A std) x = y - A mean."""
  a, y = np.array([[2.0, 1.0]]), np.array([7.0])
  np.savez(tmp_path / 'e.npz', A=a, y=y)
  mean, std = np.array([1.0, 2.0]), np.array([3.0, 0.5])
  found = task(tmp_path / 'e.npz', (mean, std))
  np.testing.assert_allclose(found.y, [3.0])
  x = np.array([[0.5, 0.0]], np.float32)  # raw (2.5, 2)
  from genjax.numerics import measurements
  np.testing.assert_allclose(measurements.observe(found.measurement, x)[0], [3.0], atol=1e-5)
  np.testing.assert_array_equal(found.record['y'], [7.0])


def test_images_are_bounded_by_their_number(tmp_path, monkeypatch):
  for i in range(30):
    Image.new('RGB', (8, 8)).save(tmp_path / f'{i}.png')
  monkeypatch.setattr(intake.limits, 'available_memory', lambda: 10_000)
  with pytest.raises(BadInput, match='30 images would take 5.76 kB'):
    data.load('folder', path=str(tmp_path))
