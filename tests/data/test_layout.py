"""What the folders around images mean: splits, classes, links, strays; what an image file says."""

import pathlib
import warnings

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data import files
from genjax.types import BadInput

TREES = {  # folders, each with images -> sizes of the splits, classes
    'classes': (('cat', 'dog'), (16, 2, 2), ('cat', 'dog')),
    'train and test': (('train', 'test'), (9, 1, 10), None),
    'splits with classes': (('train/cat', 'train/dog', 'test/cat', 'test/dog'), (18, 2, 20),
                            ('cat', 'dog')),
    'three splits': (('Training/a', 'Training/b', 'val/a', 'val/b', 'Testing/a', 'Testing/b'),
                     (20, 20, 20), ('a', 'b')),
    'validation serves as test': (('train/a', 'train/b', 'valid/a', 'valid/b'), (18, 2, 20),
                                  ('a', 'b')),
    'a test split that lacks a class': (('train/a', 'train/b', 'test/b'), (18, 2, 10), ('a', 'b')),
    'a folder around all': (('photos/train/a', 'photos/train/b', 'photos/test/a'), (18, 2, 10),
                            ('a', 'b')),
    'only train': (('train/a', 'train/b'), (16, 2, 2), ('a', 'b')),
    'a class of the name train': (('train', 'bus', 'car'), (24, 3, 3), ('bus', 'car', 'train')),
    'folders in a class': (('cat/1', 'cat/2', 'dog'), (24, 3, 3), ('cat', 'dog')),
    'one folder': (('only',), (8, 1, 1), None),
    'hidden folders': (('a', 'b', '.thumbnails'), (16, 2, 2), ('a', 'b')),
}


def save(root, folders, num=10, size=(6, 5)):
  """num grey images in each folder; no two are alike."""
  value = 0
  for folder in folders:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(num):
      value += 1
      Image.fromarray(np.full(size, value, np.uint8)).save(root / folder / f'{i}.png')
  return str(root)


def read(root, **kw):
  return data.load('folder', path=str(root), **kw)


@pytest.mark.parametrize('name', TREES)
def test_splits_and_classes_are_those_of_the_folders(name, tmp_path):
  folders, sizes, classes = TREES[name]
  sets = read(save(tmp_path, folders))
  assert tuple(len(sets.splits[s]['x']) for s in ('train', 'validation', 'test')) == sizes
  assert sets.classes == classes and sets.spec.num_classes == (classes and len(classes))
  seen = {}
  for split, arrays in sets.splits.items():
    for i, x in enumerate(arrays['x']):
      folder = folders[(int(x[0, 0, 0]) - 1) // 10]
      parts = folder.lower().replace('photos/', '').split('/')
      if parts[0].startswith('test'):
        assert split == 'test'  # nothing of it is trained on
      if classes:
        assert classes[arrays['cond'][i]] in parts
      seen[int(x[0, 0, 0])] = split
  assert len(seen) == sum(sizes)  # each image once
  if classes:
    assert sets.label_counts == tuple(np.bincount(sets.splits['train']['cond']))


REFUSED = {  # folders, files beside them -> words
    'a stray image': (('cat', 'dog'), ('cover.png',), ('1 of 21 images', 'cover.png',
                                                       'data.folders=none')),
    'a stray image in a split': (('train/a', 'train/b', 'test/a'), ('train/x.png',),
                                 ('1 of 31', 'x.png', 'next to the class folders')),
    'an image beside splits': (('train', 'test'), ('x.png',), ('train, test', 'x.png')),
    'a folder beside splits': (('train', 'test', 'extra'), (), ('test, train', 'extra',
                                                                'data.folders=classes')),
    'no train': (('test', 'val'), (), ('test, val', 'no folder train')),
    'two names of a split': (('train', 'val', 'valid'), (), ('val and valid', 'validation')),
    'splits inside classes': (('a/train', 'a/test', 'b/train', 'b/test'), (),
                              ('test, train inside the classes a, b', 'train/a')),
    'a class that train lacks': (('train/a', 'train/b', 'test/c'), (), ('lacks: c', 'a, b')),
    'labels in train alone': (('train/a', 'train/b', 'test'), (), ('10 of 30 images lie next to',)),
}


@pytest.mark.parametrize('name', REFUSED)
def test_folders_that_contradict_each_other_are_refused_with_the_remedy(name, tmp_path):
  folders, files, words = REFUSED[name]
  save(tmp_path, folders)
  for file in files:
    Image.new('L', (5, 6)).save(tmp_path / file)
  with pytest.raises(BadInput) as refusal:
    read(tmp_path)
  for word in words:
    assert word in str(refusal.value)
  everything = read(tmp_path, folders='none')  # a remedy that holds for each
  assert everything.classes is None
  assert sum(len(a['x']) for a in everything.splits.values()) == 10 * len(folders) + len(files)


def test_what_folders_mean_may_be_said(tmp_path):
  save(tmp_path, ('train', 'test'))
  assert read(tmp_path, folders='classes').classes == ('test', 'train')
  assert read(tmp_path, folders='splits').identity == read(
      tmp_path, folders='splits').identity != read(tmp_path, folders='none').identity
  with pytest.raises(BadInput, match='folders=.class.; allowed: auto, classes, splits, none'):
    read(tmp_path, folders='class')


@pytest.mark.parametrize('link', ['class', 'split', 'inner', 'image', 'root'])
def test_links_are_followed(link, tmp_path):
  far, here = tmp_path / 'far', tmp_path / 'here'
  save(far, ('owl', 'train/cat', 'train/dog', 'test/cat'))
  expected = ('cat', 'dog')
  if link == 'class':
    save(here, expected)
    (here / 'owl').symlink_to(far / 'owl')
    expected = ('cat', 'dog', 'owl')
  elif link == 'split':
    here.mkdir()
    for split in ('train', 'test'):
      (here / split).symlink_to(far / split)
  elif link == 'inner':
    save(here, expected)
    (here / 'cat' / 'more').symlink_to(far / 'owl')
  elif link == 'image':
    save(here, expected)
    (here / 'cat' / 'extra.png').symlink_to(far / 'owl' / '0.png')
  else:
    save(tmp_path / 'real', expected)
    here.symlink_to(tmp_path / 'real')
  sets = read(here)
  total = {'class': 30, 'split': 30, 'inner': 30, 'image': 21, 'root': 20}[link]
  assert sets.classes == expected
  assert sum(len(arrays['x']) for arrays in sets.splits.values()) == total


@pytest.mark.parametrize('target', ['.', 'cat'])
def test_a_folder_that_a_link_reaches_twice_is_refused(target, tmp_path):
  save(tmp_path, ('cat', 'dog'))
  (tmp_path / 'again').symlink_to(tmp_path / target)
  with pytest.raises(BadInput, match='are one folder by a link'):
    read(tmp_path)


def test_what_was_read_and_passed_over_is_one_line(tmp_path):
  save(tmp_path, ('cat', 'dog'))
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'cat' / 'notes.txt').write_text('mine')
  (tmp_path / 'cat' / '.hidden.png').write_text('no image')
  sets = read(tmp_path)
  assert data.summary(sets) == (
      'folder: 20 images 5x6 grey, 256 levels (1 to 18 occur), 2 classes (cat '
      f'{sets.label_counts[0]}, dog {sets.label_counts[1]}); train 16, validation 2, test 2; '
      f'from {tmp_path}; skipped 1 files that are no images (.txt); skipped folders without '
      'images: empty')


def test_a_class_that_is_alone_is_no_label_and_said(tmp_path):
  sets = read(save(tmp_path, ('train/a', 'test/a')))
  assert sets.spec.num_classes is None and 'one class folder, a: no labels' in sets.notes


def test_many_classes_are_named_in_order_and_the_rest_is_counted(tmp_path):
  save(tmp_path, [f'kind{i}' for i in range(22)], num=1)
  line = data.summary(read(tmp_path))
  assert '22 classes (kind0 ' in line and 'kind10 ' in line and '2 more)' in line


def picture(how, path):
  """An image file of 4x3 that says more of itself than its pixels."""
  rgb = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
  if how == 'turned':
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(path, exif=exif)
  elif how == 'opaque':
    rgb.convert('RGBA').save(path)
  elif how == 'opaque grey':
    rgb.convert('LA').save(path)
  elif how == 'profile':
    from PIL import ImageCms
    rgb.save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
  elif how == 'alpha':
    rgb.putalpha(Image.fromarray(np.full((3, 4), 200, np.uint8)))
    rgb.save(path)
  elif how == 'palette':
    rgb.quantize(8).save(path, transparency=0)
  elif how == 'colour key':
    rgb.save(path, transparency=(0, 1, 2))
  elif how == 'frames':
    rgb.save(path, format='GIF', save_all=True, append_images=[rgb.rotate(180)])
  elif how == 'pages':
    rgb.save(path, format='TIFF', save_all=True, append_images=[rgb.rotate(180)])
  elif how == '16 bits':
    Image.fromarray(np.full((3, 4), 40000, np.uint16)).save(path)
  elif how == 'print':
    rgb.convert('CMYK').save(path, format='TIFF')
  return np.asarray(rgb.convert('RGB'))


@pytest.mark.parametrize(('how', 'words'), [
    ('turned', 'turned as their EXIF'), ('opaque', 'alpha channel that is opaque'),
    ('opaque grey', 'alpha channel that is opaque'), ('profile', 'colour profile'),
    ('alpha', '12 pixels that are not opaque'), ('palette', 'that are not opaque'),
    ('colour key', '1 pixels that are not opaque'), ('frames', '2 frames'), ('pages', '2 frames'),
    ('16 bits', 'mode I;16'), ('print', 'mode CMYK')])
def test_what_an_image_says_of_itself_is_applied_said_or_refused(how, words, tmp_path):
  """Orientation, transparency, profiles, frames, depth."""
  pixels = picture(how, tmp_path / '0.png')
  if how not in ('turned', 'opaque', 'opaque grey', 'profile'):
    with pytest.raises(BadInput, match=f'0.png .*{words}.*allowed'):
      read(tmp_path)
    return
  for i in range(1, 9):
    picture(how, tmp_path / f'{i}.png')
  sets = read(tmp_path)
  assert any(note.startswith('9 ') and words in note for note in sets.notes)
  if how == 'opaque grey':
    pixels = np.asarray(Image.fromarray(pixels).convert('L'))[..., None]
  # 6: the first column of the picture is the bottom row of the file
  expected = np.rot90(pixels, -1) if how == 'turned' else pixels
  np.testing.assert_array_equal(sets.splits['train']['x'][0], expected)


def test_the_same_folder_twice_has_one_identity_whatever_the_path(tmp_path, monkeypatch):
  save(tmp_path / 'a', ('cat', 'dog'))
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    relative, home = read(pathlib.Path('a')), read('~/a')
  assert relative.identity == home.identity == read(tmp_path / 'a').identity
  assert relative.path == home.path == str(tmp_path / 'a')


def test_reading_shows_its_progress(tmp_path):
  counts = []

  def progress(paths):
    counts.append(len(paths))
    return iter(paths)

  files.images_of_folder(save(tmp_path, ('cat', 'dog')), progress=progress)
  assert counts == [20]
