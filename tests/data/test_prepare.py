"""Preparing real TFDS builders and own files offline, and reading what was prepared."""

import gzip
import importlib.util
import io
import os
import pathlib
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data import files, shapes, store, tfds
from genjax.types import BadInput

ROOT = pathlib.Path(__file__).parents[2]
NUM = {'train': 60, 't10k': 20}


def write_idx(root, size=28):
  root.mkdir()
  random = np.random.RandomState(0)
  for prefix, n in NUM.items():
    images = random.randint(256, size=(n, size, size)).astype(np.uint8)
    labels = (np.arange(n) % 10).astype(np.uint8)
    for stem, array in ((f'{prefix}-images-idx3-ubyte', images),
                        (f'{prefix}-labels-idx1-ubyte', labels)):
      header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>i4').tobytes()
      (root / f'{stem}.gz').write_bytes(gzip.compress(header + array.tobytes()))
  return root


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
  """The real builder, told that the set is small; a tensorflow that must not be imported."""
  from tensorflow_datasets.image_classification import mnist
  monkeypatch.setattr(mnist, '_TRAIN_EXAMPLES', NUM['train'])
  monkeypatch.setattr(mnist, '_TEST_EXAMPLES', NUM['t10k'])
  (tmp_path / 'fake' / 'tensorflow').mkdir(parents=True)
  (tmp_path / 'fake' / 'tensorflow' / '__init__.py').write_text('raise AssertionError("imported")')
  monkeypatch.syspath_prepend(str(tmp_path / 'fake'))
  monkeypatch.setenv('GENJAX_DATA', str(tmp_path / 'cache'))
  return write_idx(tmp_path / 'idx')


def pairs(*parts):
  """Image and label of every example, as a sorted list of bytes."""
  return sorted(x.tobytes() + bytes([c]) for p in parts
                for x, c in zip(p['x'], p['cond'], strict=True))


def test_tfds_builder_prepares_idx_files(small_mnist, tmp_path, capfd):
  made = tfds.prepare('mnist', str(small_mnist))
  assert 'tensorflow' not in sys.modules
  said = capfd.readouterr()
  assert said.out == '' and 'tensorflow' not in said.err.lower()
  assert os.listdir(tmp_path / 'cache') == ['mnist']
  assert made.spec[:3] == ((28, 28, 1), 256, 10)
  assert {split: len(a['x']) for split, a in made.splits.items()} == {
      'train': 54, 'validation': 6, 'test': 20}
  raw = files.idx(str(small_mnist))
  train = [made.splits['train'], made.splits['validation']]
  assert pairs(*train) == pairs(raw.splits['train'], raw.splits['validation'])
  assert pairs(made.splits['test']) == pairs(raw.splits['test'])
  check_declared('mnist', made)
  again = data.load('mnist')
  assert again.identity == made.identity and 'mnist/3' in again.identity['recipe']
  assert data.batches(again.splits['train'], 8).is_mapped


def check_declared(name, made):
  """What is declared of a set that is not here is what preparing it gives; TF stays out."""
  sizes = {'mnist': {'train': NUM['train'], 'test': NUM['t10k']},
           'cifar10': {'train': 30, 'test': 4},
           'imagenet_resized': {'train': 30, 'validation': 10}}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shapes, 'SIZES', sizes)
    declared = data.declared(name, data_dir='/nowhere')
  assert declared.spec == made.spec and 'tensorflow' not in sys.modules
  assert data.properties(declared) == data.properties(made)
  assert {split: {key: (a.shape, a.dtype) for key, a in arrays.items()}
          for split, arrays in declared.splits.items()} == {
              split: {key: (a.shape, a.dtype) for key, a in arrays.items()}
              for split, arrays in made.splits.items()}
  words = declared.identity['recipe'].removeprefix('declared, not read: ').partition(';')
  assert made.identity['recipe'].endswith(words[2]) and words[0] in made.identity['recipe']


def test_an_installed_tensorflow_is_out_of_reach(small_mnist):
  assert importlib.util.find_spec('tensorflow')
  with tfds.without_tensorflow():
    assert importlib.util.find_spec('tensorflow') is None
    with pytest.raises(ModuleNotFoundError):
      importlib.import_module('tensorflow')
  assert importlib.util.find_spec('tensorflow')


def test_tfds_builder_prepares_an_archive(monkeypatch, tmp_path):
  random = np.random.RandomState(0)
  records = {f'data_batch_{i}.bin': random.randint(256, size=(6, 3073)) for i in range(1, 6)}
  records['test_batch.bin'] = random.randint(256, size=(4, 3073))
  with tarfile.open(tmp_path / 'cifar-10-binary.tar.gz', 'w:gz') as tar:
    def add(name, content):
      info = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))

    names = 'airplane automobile bird cat deer dog frog horse ship truck'
    add('batches.meta.txt', names.replace(' ', '\n').encode() + b'\n')
    for name, table in records.items():
      table[:, 0] %= 10
      add(name, table.astype(np.uint8).tobytes())
  made = tfds.prepare('cifar10', str(tmp_path), tmp_path / 'cache')
  assert made.spec[:3] == ((32, 32, 3), 256, 10)
  assert [len(a['x']) for a in made.splits.values()] == [27, 3, 4]
  table = records['test_batch.bin'].astype(np.uint8)
  images = table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  assert pairs(made.splits['test']) == pairs({'x': images, 'cond': table[:, 0]})
  check_declared('cifar10', made)


def test_tfds_builder_prepares_zips_without_a_test_split(tmp_path):
  random = np.random.RandomState(0)
  for name, n in (('train', 30), ('val', 10)):
    content = io.BytesIO()
    np.savez(content, data=random.randint(256, size=(n, 3 * 64)).astype(np.uint8),
             labels=1 + np.arange(n))
    with zipfile.ZipFile(tmp_path / f'Imagenet8_{name}_npz.zip', 'w') as archive:
      archive.writestr(f'{name}.npz', content.getvalue())
  made = tfds.prepare('imagenet_resized/8x8', str(tmp_path), tmp_path / 'cache')
  assert made.spec[:3] == ((8, 8, 3), 256, 1000)
  assert {split: len(a['x']) for split, a in made.splits.items()} == {
      'train': 27, 'validation': 3, 'test': 10}
  assert sorted(made.splits['test']['cond']) == list(range(10))
  check_declared('imagenet_resized/8x8', made)


def test_files_may_be_unpacked(small_mnist, tmp_path):
  packed = tfds.prepare('mnist', str(small_mnist), tmp_path / 'packed')
  for path in list(small_mnist.glob('train-*.gz')):
    path.with_suffix('').write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
  unpacked = tfds.prepare('mnist', str(small_mnist), tmp_path / 'unpacked')
  assert unpacked.identity == packed.identity
  assert sorted(path.suffix for path in small_mnist.iterdir()) == ['', '', '.gz', '.gz']


def test_failures_leave_nothing_behind(small_mnist, tmp_path):
  labels = small_mnist / 't10k-labels-idx1-ubyte.gz'
  whole = labels.read_bytes()
  labels.write_bytes(whole[:-12])
  with pytest.raises(BadInput, match="'mnist' could not be prepared"):
    tfds.prepare('mnist', str(small_mnist))
  labels.unlink()
  with pytest.raises(BadInput, match='lacks t10k-labels-idx1-ubyte.gz'):
    tfds.prepare('mnist', str(small_mnist))
  with pytest.raises(BadInput, match='no such folder'):
    tfds.prepare('mnist', str(tmp_path / 'gone'))
  with pytest.raises(BadInput, match="did you mean 'mnist'"):
    tfds.prepare('mnits')
  with pytest.raises(BadInput, match='no image feature; it has: label, title'):
    tfds.prepare('ag_news_subset')
  assert os.listdir(tmp_path / 'cache') == []


def test_a_builder_that_needs_tensorflow_says_so(tmp_path):
  with pytest.raises(BadInput, match="'titanic' could not be prepared.*builder needs TensorFlow"):
    tfds.prepare('titanic', None, tmp_path)


def test_not_prepared_is_said_without_a_network(monkeypatch, tmp_path):
  monkeypatch.setenv('GENJAX_DATA', str(tmp_path))
  monkeypatch.setattr(socket, 'create_connection', lambda *unused: pytest.fail('connected'))
  command = 'python -m genjax prepare --data=fashion_mnist'
  with pytest.raises(BadInput, match=f"'fashion_mnist' is not prepared.*{command}"):
    data.load('fashion_mnist')


def test_no_network_is_said_within_five_seconds(monkeypatch, tmp_path):
  over = threading.Event()

  def silent(*unused):  # as a name server that does not answer
    over.wait()
    raise OSError

  monkeypatch.setattr(socket, 'create_connection', silent)
  start = time.monotonic()
  with pytest.raises(BadInput, match="'mnist': no connection to .*train-images.*--from=DIR"):
    tfds.prepare('mnist', None, tmp_path)
  assert time.monotonic() - start < 5
  over.set()
  assert os.listdir(tmp_path) == []


@pytest.fixture
def own(tmp_path):
  store.publish_arrays('own', files.idx(str(write_idx(tmp_path / 'idx', size=4))), tmp_path / 'c')
  return tmp_path / 'c'


def test_own_set_of_idx_files(own, tmp_path):
  sets = data.load('own', data_dir=own)
  raw = files.idx(str(tmp_path / 'idx'))
  assert sets.identity['sha256'] == raw.identity['sha256'] and sets.spec == raw.spec
  assert data.names(own)[-1] == 'own'


@pytest.mark.parametrize(('name', 'damage', 'words'), [
    ('train-x.npy', lambda b: b[:-1], 'has 991 bytes, not 992'),
    ('test-cond.npy', lambda b: b[:-1] + bytes([b[-1] ^ 1]), 'the test split is not what'),
    ('train-x.npy', lambda b: b'x' + b[1:], 'damaged'),
    ('identity.json', lambda b: b[:50], 'damaged'),
    ('identity.json', lambda b: b'[]', 'damaged')])
def test_damaged_files(own, name, damage, words):
  path = own / 'own' / name
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(BadInput, match=words):
    data.load('own', data_dir=own)


def swapped(b):
  """The head of an array of images with two sizes in the place of each other."""
  return b.replace(b'(54, 4, 4, 1)', b'(54, 2, 8, 1)')


@pytest.mark.parametrize(('name', 'damage', 'words'), [
    ('train-x.npy', lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:], 'train split is not what'),
    ('train-cond.npy', lambda b: b[:-4] + b'\1\0\0\0', 'train split is not what'),
    ('train-x.npy', swapped, r'train-x.npy holds uint8 \(54, 2, 8, 1\), not .*54, 4, 4, 1'),
    ('train-x.npy', lambda b: b.replace(b"'|u1'", b"'|i1'"), 'holds int8'),
    ('train-x.npy', lambda b: b.replace(b'False', b'True '), 'train-x.npy holds'),
    ('identity.json', lambda b: b.replace(b'"levels": 256', b'"levels": 128'), 'not match its'),
    ('identity.json', lambda b: b.replace(b'"num_classes": 10', b'"num_classes": 11'), 'digest'),
    ('identity.json', lambda b: b.replace(b'"recipe": "idx', b'"recipe": "iDx'), 'digest'),
    ('identity.json', lambda b: b.replace(b'"sha256": "', b'"sha265": "'), 'digest')])
def test_damage_is_found_where_size_and_time_were_kept(own, name, damage, words):
  path = own / 'own' / name
  times, content = path.stat(), path.read_bytes()
  path.write_bytes(damage(content))
  os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
  assert path.stat().st_size == len(content) and damage(content) != content
  with pytest.raises(BadInput, match=words):
    data.load('own', data_dir=own)


def test_names_of_classes_are_prepared_too(tmp_path):
  for name in ('cat', 'dog'):
    (tmp_path / 'images' / name).mkdir(parents=True)
    for i in range(10):
      Image.new('L', (4, 4), i).save(tmp_path / 'images' / name / f'{i}.png')
  made = data.load('folder', path=str(tmp_path / 'images'))
  kept = store.publish_arrays('pets', made, tmp_path / 'c')
  assert kept.classes == ('cat', 'dog') and data.counted(kept).label_counts == made.label_counts
  assert kept.identity['sha256'] == made.identity['sha256']


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path):
  """Not SIGBUS, which a write to a hole of a mapped file would be; on a disk of 100 kB."""
  root = tmp_path / 'disk'
  root.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=100k', 'tmpfs', str(root)]
  if subprocess.run(mount, capture_output=True).returncode:
    pytest.skip('mounting needs root')
  try:
    no_space = pytest.raises(OSError, match='cannot write .No space left on device.')
    with no_space as error, store.workplace(root) as work:
      store.create(work, 'train', 1000, (16, 16, 1), np.uint8, labelled=False)
    assert error.value.filename.endswith('train-x.npy') and os.listdir(root) == []
  finally:
    subprocess.run(['umount', str(root)], check=True)


def test_lost_file(own):
  (own / 'own' / 'test-x.npy').unlink()
  with pytest.raises(BadInput, match=r"'own'.*damaged.*test-x.npy.*Prepare it again"):
    data.load('own', data_dir=own)


def test_a_copy_is_as_good(own):
  for path in (own / 'own').iterdir():  # other times, same content
    os.utime(path, (1, 1))
  assert len(data.load('own', data_dir=own).splits['test']['x']) == 20


def run(*argv):
  return subprocess.run([sys.executable, '-m', 'experiments.prepare', *argv], cwd=ROOT,
                        capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_program(tmp_path):
  write_idx(tmp_path / 'idx', size=4)
  (tmp_path / 'c' / 'mine').mkdir(parents=True)
  (tmp_path / 'c' / 'mine' / store.INDEX).write_text('{')
  argv = ('--data=mine', f'--data_dir={tmp_path / "c"}', f'--from={tmp_path / "idx"}')
  done = run(*argv)
  assert done.returncode == 0 and 'preparing again' in done.stdout, done.stderr
  assert ('mine: 80 images 4x4 grey, 256 levels, 10 classes; train 54, validation 6, test 20; '
          f'from {tmp_path}/idx; in {tmp_path}/c/mine') in done.stdout
  done = run('--data=other', f'--data_dir={tmp_path / "c"}', f'--from={tmp_path / "gone"}')
  assert done.returncode == 1 and 'gone' in done.stderr and 'Traceback' not in done.stderr
  assert os.listdir(tmp_path / 'c') == ['mine']
