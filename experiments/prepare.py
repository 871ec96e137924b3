"""Prepares a data set once, so that training reads it offline: downloads, or reads --from=DIR."""

import pathlib

from absl import flags

import experiments
from genjax import data
from genjax.data import files, store
from genjax.types import BadInput

DATA = flags.DEFINE_string('data', None, 'Name: any TFDS image data set, or your own with --from.')
FROM = flags.DEFINE_string('from', None, 'Folder with the original files (nothing is downloaded), '
                           'for a name of your own: idx files, images, or an npz.')
DATA_DIR = flags.DEFINE_string('data_dir', None, 'Cache; default $GENJAX_DATA or '
                               '~/.cache/genjax/data.')


def main(argv):
  """Prints what lies where; BadInput for a wrong name or damaged files."""
  if len(argv) > 1 or not DATA.value:
    raise BadInput(f'usage: {store.command("NAME", "DIR")} [--data_dir=DIR]')
  name = DATA.value
  if name in data.BUNDLED:
    print(f'{name}: comes with the package or from your own path; nothing to prepare')
    return
  dataset = _there(name) or _make(name)
  sizes = ', '.join(f'{split} {len(arrays["x"])}' for split, arrays in dataset.splits.items())
  classes = f', {dataset.spec.num_classes} classes' if dataset.spec.num_classes else ''
  print(f'{name}: {sizes}; shape {dataset.spec.shape}{classes}; '
        f'{store.directory(name, DATA_DIR.value)}')


def _there(name):
  """The set if it is prepared and whole, else None."""
  if not store.exists(name, DATA_DIR.value):
    return None
  try:
    return store.load(name, DATA_DIR.value)
  except BadInput as error:
    print(f'preparing again: {error}')
    return None


def _make(name):
  from genjax.data import tfds  # takes a second
  source = FROM.value
  if store.stem(name) in tfds.names() or not source:
    return tfds.prepare(name, source, DATA_DIR.value)
  if pathlib.Path(source).is_file():
    made = data.load('npz', path=source)
  elif files.has_idx(source):
    made = files.idx(source)
  else:
    made = data.load('folder', path=source)
  return store.publish_arrays(name, made, DATA_DIR.value)


if __name__ == '__main__':
  experiments.run(main)
