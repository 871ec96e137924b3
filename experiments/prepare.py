"""Prepares a data set once for offline training: downloads it, or reads --from=DIR.

python -m experiments.prepare --data=cifar10
python -m experiments.prepare --data=latents --from=DIR --scale_factor=0.18215 --num_classes=1000 \\
  --autoencoder=NAME --weights=FILE

The second command turns train*.npz (and validation*.npz or test*.npz), the output of an
autoencoder's encoder, into records for random access. The keys are mean and std
[n, height, width, channels] and label [n].
"""

import functools
import hashlib
import pathlib

from absl import flags

import experiments
from genjax import data
from genjax.data import files, latents, store
from genjax.types import BadInput

DATA = flags.DEFINE_string('data', None, 'Name: any TFDS image data set, or your own with --from.')
FROM = flags.DEFINE_string('from', None, 'Folder with the original files (nothing is downloaded), '
                           'for a name of your own: idx files, images, or an npz.')
DATA_DIR = flags.DEFINE_string('data_dir', None, 'Cache; default $GENJAX_DATA or '
                               '~/.cache/genjax/data.')
SCALE = flags.DEFINE_float('scale_factor', None, 'Latents: factor on all codes.')
CLASSES = flags.DEFINE_integer('num_classes', None, 'Latents: number of labels, 0..N-1.')
AUTOENCODER = flags.DEFINE_string('autoencoder', None, 'Latents: the name of the autoencoder.')
WEIGHTS = flags.DEFINE_string('weights', None, 'Latents: the file of its weights, for its hash.')
OF_LATENTS = (SCALE, CLASSES, AUTOENCODER, WEIGHTS)


def main(argv):
  """Prints what was prepared, and where. Raises BadInput for a wrong name or damaged files."""
  if len(argv) > 1 or not DATA.value:
    raise BadInput(f'usage: {store.command("NAME", "DIR")} [--data_dir=DIR]')
  name = DATA.value
  given = [f'--{flag.name}' for flag in OF_LATENTS if flag.value not in (None, '')]
  if name != 'latents' and given:
    raise BadInput(f'{", ".join(given)}: allowed with --data=latents, not {name}')
  if name != 'latents' and name in data.BUNDLED:
    print(f'{name}: comes with the package or from your own path; nothing to prepare')
    return
  dataset = _latents() if name == 'latents' else _there(name) or _make(name)
  summary = data.summary(data.counted(dataset._replace(name=name)))
  print(f'{summary}; in {store.directory(name, DATA_DIR.value)}')


def _there(name):
  """The data set if it is prepared and undamaged, else None."""
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
  progress = functools.partial(experiments.progress, desc=name)
  if store.stem(name) in tfds.names() or not source:
    return tfds.prepare(name, source, DATA_DIR.value, functools.partial(progress, unit='chunk'))
  if pathlib.Path(source).is_file():
    dataset = data.load('npz', path=source)
  elif files.has_idx(source):
    dataset = files.idx(source)
  else:
    dataset = files.images_of_folder(source, progress=functools.partial(progress, unit='image'))
  kept = store.publish_arrays(name, dataset, DATA_DIR.value)
  return kept._replace(path=dataset.path, notes=dataset.notes)


def _latents():
  missing = [f'--{flag.name}' for flag in (FROM, *OF_LATENTS) if flag.value in (None, '')]
  if missing:
    raise BadInput(f'--data=latents needs {", ".join(missing)}: codes mean nothing without')
  try:
    with open(WEIGHTS.value, 'rb') as file:
      sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise BadInput(f'--weights={WEIGHTS.value}: {error.strerror}') from None
  where = latents.place('', DATA_DIR.value)
  latents.write(where, latents.from_npz(FROM.value), scale_factor=SCALE.value,
                autoencoder=AUTOENCODER.value, autoencoder_sha256=sha256, num_classes=CLASSES.value)
  return data.load('latents', path=str(where))


if __name__ == '__main__':
  experiments.run(main)
