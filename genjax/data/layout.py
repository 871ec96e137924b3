"""What the folders around images mean: splits, classes, or nothing; and what was skipped.

  DIR/*.png                          no labels
  DIR/CLASS/*.png                    labels, in the order of the sorted names
  DIR/{train,test,...}/*.png         splits, without labels
  DIR/{train,test,...}/CLASS/*.png   splits, with labels
"""

import collections
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from genjax.data.intake.images import SUFFIXES
from genjax.types import BadInput

SPLIT_NAMES = {'train': 'train', 'training': 'train', 'test': 'test', 'testing': 'test',
               'validation': 'validation', 'val': 'validation', 'valid': 'validation'}
FOLDERS = ('auto', 'classes', 'splits', 'none')
AS_CLASSES = 'or data.folders=classes where these are classes'
AS_NOTHING = 'or data.folders=none where folders mean nothing'


class Layout(NamedTuple):
  """The image files of a folder by split; without split folders all are 'train'."""

  files: dict[str, list[pathlib.Path]]
  labels: dict[str, np.ndarray] | None  # {split: int32 [N]}
  classes: tuple[str, ...] | None
  is_split: bool  # by the folders
  notes: tuple[str, ...]  # what was skipped, and how folders were interpreted


def of_folder(root: pathlib.Path, folders: str = 'auto') -> Layout:
  """The layout of all images below `root`, in the order of their relative paths.

  folders: one of FOLDERS. Links to folders are followed, hidden files skipped. A folder that holds
  everything else is ignored. Raises BadInput for a folder without images, and where names and
  places of images contradict each other.
  """
  if folders not in FOLDERS:
    raise BadInput(f"data set 'folder': folders={folders!r}; allowed: {', '.join(FOLDERS)}")
  paths, notes = _images(root)
  parts_of = {path: path.relative_to(root).parts for path in paths}
  if folders == 'none':
    return Layout({'train': paths}, None, None, False, notes)
  wrapped = _wrapper(list(parts_of.values()))
  parts_of = {path: parts[len(wrapped):] for path, parts in parts_of.items()}
  if wrapped:
    notes = (*notes, f'all images lie in {"/".join(wrapped)}')
  pools = None if folders == 'classes' else _splits(root, parts_of, folders)
  is_split = pools is not None
  pools = pools or {'train': parts_of}
  files = {split: list(pool) for split, pool in pools.items()}
  if folders == 'splits':
    return Layout(files, None, None, is_split, notes)
  classes = _classes(root, pools)
  if classes is None or len(classes) == 1:
    alone = (f'one class folder, {classes[0]}: no labels',) if classes else ()
    return Layout(files, None, None, is_split, (*notes, *alone))
  labels = {split: np.array([classes.index(parts[0]) for parts in pool.values()], np.int32)
            for split, pool in pools.items()}
  if any(len(parts) > 2 for pool in pools.values() for parts in pool.values()):
    notes = (*notes, 'folders inside a class are part of it')
  return Layout(files, labels, classes, is_split, notes)


def pooled(root: pathlib.Path) -> tuple[list[pathlib.Path], tuple[str, ...]]:
  """All images below `root`, whatever their folders, and notes; BadInput for several splits."""
  paths, notes = _images(root)
  places = [path.relative_to(root).parts for path in paths]
  depth = len(_wrapper(places))
  heads = {parts[depth] for parts in places if len(parts) > depth + 1}
  splits = sorted(head for head in heads if head.casefold() in SPLIT_NAMES)
  if len(splits) > 1:
    inside = pathlib.Path(root, *places[0][:depth])
    raise BadInput(f'{root} has the splits {", ".join(splits)}; allowed: one of them, '
                   + ' or '.join(str(inside / split) for split in splits))
  return paths, notes


def _images(root: pathlib.Path) -> tuple[list[pathlib.Path], tuple[str, ...]]:
  """The image files below root, and notes of what was skipped."""
  def unreadable(error):
    raise BadInput(f"data set 'folder': cannot read {error.filename}: {error.strerror}")

  paths, others, seen, empty = [], collections.Counter(), {}, []
  for folder, inner, names in os.walk(root, followlinks=True, onerror=unreadable):
    inner[:] = sorted(name for name in inner if not name.startswith('.'))
    status = os.stat(folder)
    earlier = seen.setdefault((status.st_dev, status.st_ino), folder)
    if earlier != folder:
      raise BadInput(f"data set 'folder': {folder} and {earlier} are one folder by a link, whose "
                     'images would be read twice; allowed: each folder once')
    visible = [name for name in names if not name.startswith('.')]
    images = [name for name in visible if pathlib.PurePath(name).suffix.lower() in SUFFIXES]
    others.update(pathlib.PurePath(name).suffix or name for name in set(visible) - set(images))
    paths += [pathlib.Path(folder, name) for name in images]
    if not images and not inner:
      empty.append(os.path.relpath(folder, root))
  if not paths:
    raise BadInput(f"data set 'folder': no images in {str(root)!r}; looked for "
                   f'{" ".join(SUFFIXES)}')
  notes = []
  if others:
    notes.append(f'skipped {sum(others.values())} files that are no images '
                 f'({_some(others)})')
  if empty:
    notes.append(f'skipped folders without images: {_some(sorted(empty))}')
  return sorted(paths, key=lambda path: path.relative_to(root).parts), tuple(notes)


def _wrapper(places: list[tuple[str, ...]]) -> tuple[str, ...]:
  """The chain of folders around everything, as archives have them; it ends at a split folder."""
  wrapped = ()
  while True:
    depth = len(wrapped)
    heads = {parts[depth] for parts in places if len(parts) > depth + 1}
    if len(heads) != 1 or any(len(parts) == depth + 1 for parts in places):
      return wrapped
    [head] = heads
    if head.casefold() in SPLIT_NAMES:
      return wrapped
    wrapped = (*wrapped, head)


def _splits(root, parts_of: dict, folders: str) -> dict | None:
  """{split: {path: its parts below the folder}}, or None where the folders are no splits."""
  heads = sorted({parts[0] for parts in parts_of.values() if len(parts) > 1})
  named = {head: SPLIT_NAMES[head.casefold()] for head in heads if head.casefold() in SPLIT_NAMES}
  others = [head for head in heads if head not in named]
  direct = [path for path, parts in parts_of.items() if len(parts) == 1]
  if folders == 'auto' and (not named or (others and len(set(named.values())) < 2)):
    return None
  if others or direct or not named:
    rest = others or [path.name for path in direct] or ['nothing else']
    raise BadInput(f"data set 'folder': {root} has {_some(named) or 'no folders'} for splits, and "
                   f'{_some(rest)}; allowed: folders train, test, validation (or val, valid) '
                   f'alone, {AS_CLASSES}')
  for split in set(named.values()):
    same = [head for head, of in named.items() if of == split]
    if len(same) > 1:
      raise BadInput(f"data set 'folder': {root} has {' and '.join(same)}, which are both the "
                     f'{split} split; allowed: one of them')
  if 'train' not in named.values():
    raise BadInput(f"data set 'folder': {root} has {_some(named)}, but no folder train; allowed: "
                   f'train and others, {AS_CLASSES}')
  pools = {split: {} for split in sorted(named.values(), key=('train', 'validation',
                                                               'test').index)}
  for path, parts in parts_of.items():
    pools[named[parts[0]]][path] = parts[1:]
  return pools


def _classes(root, pools: dict) -> tuple[str, ...] | None:
  """Names of the class folders of all splits, if any; BadInput if images lie next to them."""
  inside = {split: sorted({parts[0] for parts in pool.values() if len(parts) > 1})
            for split, pool in pools.items()}
  names = sorted({name for folders in inside.values() for name in folders})
  if not names:
    return None
  direct = [path for pool in pools.values() for path, parts in pool.items() if len(parts) == 1]
  total = sum(map(len, pools.values()))
  if direct:
    raise BadInput(f"data set 'folder': {len(direct)} of {total} images lie next to the class "
                   f'folders {_some(names)}, such as {direct[0]}; allowed: every image in a class '
                   f'folder (move it there, or out of {root}), {AS_NOTHING}')
  below = {SPLIT_NAMES.get(parts[1].casefold()) for pool in pools.values()
           for parts in pool.values() if len(parts) > 2} - {None}
  if len(below) > 1:
    raise BadInput(f"data set 'folder': {root} has {_some(sorted(below))} inside the classes "
                   f'{_some(names)}; allowed: the splits outside, such as train/{names[0]}, '
                   f'{AS_NOTHING}')
  unknown = [name for name in names if name not in inside['train']]
  if unknown:
    raise BadInput(f"data set 'folder': {root} has classes that its training split lacks: "
                   f'{_some(unknown)}; allowed: those of train, {_some(inside["train"])}')
  return tuple(names)


def _some(names: Iterable[str], most: int = 5) -> str:
  """The first names, and how many more there are."""
  names = [str(name) for name in names]
  more = f', {len(names) - most} more' if len(names) > most else ''
  return ', '.join(names[:most]) + more
