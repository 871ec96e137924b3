import numpy as np
import pytest
from PIL import Image

from genjax import data, disk
from genjax.types import BadInput, DataSpec


def save_images(root, num=20, size=(5, 4), mode='L', classes=()):
  random = np.random.RandomState(0)
  for i in range(num):
    shape = (size[1], size[0]) + ((3,) if mode == 'RGB' else ())
    where = root / classes[i % len(classes)] if classes else root
    where.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.randint(256, size=shape).astype(np.uint8)).save(where / f'{i:03}.png')
  return root


@pytest.mark.parametrize(('mode', 'channels'), [('L', 1), ('RGB', 3)])
def test_folder_of_images(tmp_path, mode, channels):
  sets = data.load('folder', path=str(save_images(tmp_path / 'a', mode=mode)), seed=1)
  assert sets.spec == DataSpec((4, 5, channels), 256, None)
  assert [len(a['x']) for a in sets.splits.values()] == [16, 2, 2]
  every = np.concatenate([a['x'] for a in sets.splits.values()])
  on_disk = [np.asarray(Image.open(p)).reshape(4, 5, channels) for p in tmp_path.rglob('*.png')]
  assert {x.tobytes() for x in every} == {x.tobytes() for x in on_disk}
  # the identity is the content: the place does not matter, a pixel does
  (tmp_path / 'a').rename(tmp_path / 'b')
  moved = data.load('folder', path=str(tmp_path / 'b'), seed=1)
  assert moved.identity == sets.identity
  Image.fromarray(np.zeros(on_disk[0].shape, np.uint8).squeeze()).save(tmp_path / 'b' / '000.png')
  assert data.load('folder', path=str(tmp_path / 'b'), seed=1).identity != sets.identity


def test_subfolders_are_classes(tmp_path):
  save_images(tmp_path, classes=('cat', 'ant', 'bee'))
  sets = data.load('folder', path=str(tmp_path))
  assert sets.spec.num_classes == 3 and data.properties(sets) == {
      'discrete', 'image', 'labels', 'training_set'}
  ant = np.asarray(Image.open(tmp_path / 'ant' / '001.png'))
  for arrays in sets.splits.values():
    for x, cond in zip(arrays['x'], arrays['cond'], strict=True):
      assert cond == 0 or not np.array_equal(x[..., 0], ant)


def test_folder_mistakes(tmp_path):
  def refused(words):
    with pytest.raises(BadInput, match=words):
      data.load('folder', path=str(tmp_path))

  refused('no images')
  save_images(tmp_path)
  Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / 'wide.png')
  refused('5x4 with 1 channel.*wide.png is 6x4')
  Image.fromarray(np.zeros((4, 5, 4), np.uint8)).save(tmp_path / 'wide.png')
  refused('wide.png has 20 pixels that are not opaque; allowed: none')
  (tmp_path / 'wide.png').write_bytes((tmp_path / '000.png').read_bytes()[:40])
  refused('cannot read the image .*wide.png')
  (tmp_path / 'wide.png').write_bytes(b'no image')
  refused('cannot read the image .*wide.png')


def test_missing_paths(tmp_path):
  with pytest.raises(BadInput, match="needs path"):
    data.load('folder')
  for name in ('folder', 'npz'):
    with pytest.raises(BadInput, match="gone' does not exist"):
      data.load(name, path=str(tmp_path / 'gone'))


def test_npz_of_images_with_few_levels(tmp_path):
  k = np.random.RandomState(0).randint(5, size=(30, 3, 3, 1))
  np.savez(tmp_path / 'a.npz', x=disk.to_bytes(k, 5), cond=np.arange(30) % 4)
  sets = data.load('npz', path=str(tmp_path / 'a.npz'), levels=5, validation=0.2)
  assert sets.spec == DataSpec((3, 3, 1), 5, 4)
  assert [len(a['x']) for a in sets.splits.values()] == [21, 6, 3]
  every = np.concatenate([a['x'] for a in sets.splits.values()])
  assert sorted(x.tobytes() for x in every) == sorted(x.tobytes() for x in k.astype(np.uint8))


def test_npz_of_vectors(tmp_path):
  np.savez(tmp_path / 'a.npz', x=np.random.RandomState(0).normal(size=(20, 3)))
  sets = data.load('npz', path=str(tmp_path / 'a.npz'))
  assert sets.spec == DataSpec((3,), None, None) and sets.splits['train']['x'].dtype == np.float32


@pytest.mark.parametrize(('arrays', 'words'), [
    ({'y': np.zeros(3)}, 'no key x, .*; it has: y; allowed: .*data.x_key=KEY'),
    ({'x': np.zeros((20, 4, 4), np.uint8)}, r'uint8 \(20, 4, 4\); allowed'),
    ({'x': np.full((20, 2), np.nan)}, '40 values of x are not finite'),
    ({'x': np.zeros((20, 2)), 'cond': np.zeros(19, int)}, '20 integers'),
    ({'x': np.eye(2)}, '2 training examples leave none'),
    ({'x': np.array([{}] * 20)}, 'cannot read')])
def test_npz_mistakes(tmp_path, arrays, words):
  np.savez(tmp_path / 'a.npz', **arrays)
  with pytest.raises(BadInput, match=words):
    data.load('npz', path=str(tmp_path / 'a.npz'))


def test_damaged_npz(tmp_path):
  np.savez(tmp_path / 'a.npz', x=np.zeros((20, 2)))
  whole = (tmp_path / 'a.npz').read_bytes()
  flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
  for content in (whole[:-100], b'no zip', b'', flipped):
    (tmp_path / 'a.npz').write_bytes(content)
    with pytest.raises(BadInput, match='cannot read .*a.npz'):
      data.load('npz', path=str(tmp_path / 'a.npz'))


@pytest.mark.parametrize(('kw', 'words'), [
    ({'levels': 1}, 'levels=1'), ({'validation': 0}, 'validation=0'), ({'seed': -1}, 'seed=-1'),
    ({'test': 0.95}, 'leave none'), ({'image_size': 8}, 'takes no argument')])
def test_bad_arguments(tmp_path, kw, words):
  save_images(tmp_path)
  with pytest.raises(BadInput, match=words):
    data.load('folder', path=str(tmp_path), **kw)
