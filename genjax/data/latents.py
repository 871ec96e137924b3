"""Codes of an autoencoder, in array_record files that are read by rows at random.

A record is the float16 mean and standard deviation of one example's code and its int32 label,
end to end, little-endian. latents.json next to the files describes them. The files are
written whole or not at all, and hashed when they are written.
"""

import contextlib
import hashlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from genjax.data import dataset, intake, records, store
from genjax.types import BadInput, DataSpec

INDEX = 'latents.json'
FORMAT = 'genjax latents 1'
# one record a chunk, so that a row costs one read; float16 noise compresses by 7 %, at half speed
WRITER = 'group_size:1,uncompressed'
COMMAND = 'python -m genjax prepare --data=latents --from=DIR'


def write(directory, splits: Mapping[str, Iterable], *, scale_factor: float, autoencoder: str,
          autoencoder_sha256: str, num_classes: int, records_per_file: int = 16384) -> None:
  """Writes the codes of an autoencoder.

  directory: must not exist yet.
  splits: {name: iterable of (mean, std, label)} for train (required), validation and test; mean
    and std are arrays of one shape for all, before scaling.
  scale_factor: of mean and std when they are read.
  autoencoder, autoencoder_sha256: its name and the hash of its weights.
  num_classes: labels are 0..num_classes - 1.
  records_per_file: at most.
  Raises BadInput, leaving nothing behind, for values that are not finite in float16, negative std
  and labels out of range.
  """
  directory = pathlib.Path(directory).absolute()
  if directory.exists():
    raise BadInput(f'{directory} exists already; allowed: a new directory, such as another '
                   '--data_dir')
  if 'train' not in splits or set(splits) - set(dataset.SPLITS):
    raise BadInput(f'splits {", ".join(splits) or "none"}; allowed: '
                   f'{", ".join(dataset.SPLITS)}, with train')
  if not (math.isfinite(scale_factor) and scale_factor > 0):
    raise BadInput(f'scale_factor={scale_factor}; allowed: a number > 0')
  for name, value in {'num_classes': num_classes, 'records_per_file': records_per_file}.items():
    if value < 1:
      raise BadInput(f'{name}={value}; allowed: integers from 1')
  with store.workplace(directory.parent) as work:
    whole, shape, index = work / 'whole', [], {}
    for split, examples in splits.items():
      packed = _packed(split, examples, num_classes, shape)
      index[split] = _write_split(whole, split, packed, records_per_file)
    (whole / INDEX).write_text(json.dumps(store.seal({
        'format': FORMAT, 'shape': shape[0], 'num_classes': num_classes,
        'scale_factor': float(scale_factor),
        'autoencoder': {'name': autoencoder, 'sha256': autoencoder_sha256},
        'splits': index}), indent=1))
    whole.rename(directory)


def _packed(split: str, examples: Iterable, num_classes: int, shape: list):
  """Yields the bytes of each record; `shape` gets that of the first example of all splits."""
  for i, (mean, std, label) in enumerate(examples):
    def refuse(words, i=i):
      raise BadInput(f'latents: {split} example {i} {words}')

    mean, std = np.asarray(mean), np.asarray(std)
    if not shape:
      shape.append(mean.shape)
    if mean.shape != shape[0] or std.shape != shape[0]:
      refuse(f'has mean {mean.shape} and std {std.shape}; allowed: {shape[0]} as the first')
    record = np.zeros((), records.dtype(shape[0]))
    with np.errstate(over='ignore'):
      record['mean'], record['std'] = mean, std
    if not np.isfinite(record['mean']).all() or not np.isfinite(record['std']).all():
      refuse('has values that are not finite in float16')
    if (record['std'] < 0).any():
      refuse('has a negative std; allowed: standard deviations, not log variances')
    if int(label) != label or not 0 <= label < num_classes:
      refuse(f'has label {label}; allowed: 0..{num_classes - 1}')
    record['label'] = label
    yield record.tobytes()


def _write_split(whole: pathlib.Path, split: str, packed: Iterable[bytes], per_file: int) -> dict:
  """{'num_examples', 'sha256' of the records in order, 'files': {name: [bytes, records]}}."""
  from array_record.python import array_record_module
  sha, count, files, writer = hashlib.sha256(), 0, {}, None
  with contextlib.ExitStack() as stack:
    for record in packed:
      if count % per_file == 0:
        stack.close()  # the file before
        path = whole / f'{split}-{count // per_file:05d}.array_record'
        writer = array_record_module.ArrayRecordWriter(str(path), WRITER)
        stack.callback(writer.close)
        files[path.name] = [0, 0]
      writer.write(record)
      sha.update(record)
      files[path.name][1] += 1
      count += 1
  if not count:
    raise BadInput(f'latents: the {split} split is empty')
  for name, entry in files.items():
    entry[0] = (whole / name).stat().st_size
  return {'num_examples': count, 'sha256': sha.hexdigest(), 'files': files}


def load(*, path: str = '', shape: tuple[int, ...] | None = None,
         num_classes: int | None = None, data_dir=None) -> dataset.Dataset:
  """The codes in a directory: {'x', 'std', 'cond'}, read by rows.

  x is the scaled mean and std the scaled deviation, float32; `data.prepare` draws from them.
  path, data_dir: as for `place`.
  shape, num_classes: what the metadata must say, if given.
  Sizes of files are checked here, and contents as they are read. The identity takes the hashes of
  the metadata without computing them again. Raises BadInput naming the file that is missing,
  damaged or foreign.
  """
  where = place(path, data_dir)
  if not (where / INDEX).is_file():
    raise BadInput(f"data set 'latents': no {INDEX} in {str(where)!r}; write it with {COMMAND}, "
                   'or give data.kw.path=DIR')
  try:
    index = json.loads((where / INDEX).read_text())
    if index['format'] != FORMAT:
      raise ValueError(f'its format is {index["format"]!r}, not {FORMAT!r}')
    index = store.unsealed(index)
    spec = DataSpec(tuple(index['shape']), None, index['num_classes'])
    stored = {split: records.Records(where, entry['files'], spec.shape)
              for split, entry in index['splits'].items()}
    scale, maker = float(index['scale_factor']), index['autoencoder']
    hashes = {split: entry['sha256'] for split, entry in index['splits'].items()}
    assigned, words = dataset.assign({split: len(rows) for split, rows in stored.items()})
    recipe = (f'float16 moments of the codes of {maker["name"]} (sha256 {maker["sha256"]}), '
              f'times {scale}{words}')
  except BadInput as error:
    raise BadInput(f'{error}; write it again with {COMMAND}') from None
  except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    raise BadInput(f"data set 'latents': {where / INDEX} is damaged or was not written by "
                   f'genjax: {error!r}') from error
  _check_declared(where, spec, shape, num_classes)
  splits = {split: records.columns(stored[origin], rows, scale)
            for split, (origin, rows) in assigned.items()}
  return dataset.Dataset('latents', spec, splits, {
      'name': 'latents', 'kw': {}, 'recipe': recipe, 'sha256': hashes})


def place(path: str = '', data_dir=None) -> pathlib.Path:
  """The directory of the files: `path`, or the folder 'latents' of the cache in data_dir."""
  if not isinstance(path, str):
    raise BadInput(f"data set 'latents': path={path!r}; allowed: a directory")
  return pathlib.Path(path).expanduser() if path else store.directory('latents', data_dir)


def _check_declared(where, spec: DataSpec, shape, num_classes) -> None:
  """Raises BadInput where the metadata contradict the config."""
  shape = None if shape is None else tuple(np.ravel(shape).tolist())
  for name, declared, stored in (('shape', shape, spec.shape),
                                 ('num_classes', num_classes, spec.num_classes)):
    if declared is not None and declared != stored:
      raise BadInput(f"data set 'latents': data.kw.{name}={declared}, but {where / INDEX} says "
                     f'{stored}; allowed: {stored}')


def from_npz(directory) -> dict:
  """{split: iterator over (mean, std, label)} of the files SPLIT*.npz of a folder, in name order.

  Keys of each: mean and std [n, ...], label [n]. Raises BadInput naming the file, at once or from
  the iterator.
  """
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    raise BadInput(f'{directory}: no such folder')
  files = {split: sorted(directory.glob(f'{split}*.npz')) for split in dataset.SPLITS}
  if not files['train']:
    raise BadInput(f'{directory} has no train*.npz; allowed: train*.npz, and validation*.npz or '
                   'test*.npz, each with the keys mean, std, label')
  return {split: _examples(paths) for split, paths in files.items() if paths}


def _examples(paths: list[pathlib.Path]):
  for path in paths:
    arrays, keys = intake.read_npz(path, ('mean', 'std', 'label'))
    if len(arrays) < 3:
      raise BadInput(f'cannot read mean, std and label of {path}: it has {", ".join(keys)}')
    mean, std, label = arrays['mean'], arrays['std'], arrays['label']
    if label.ndim != 1 or mean.shape[:1] != label.shape or std.shape != mean.shape:
      raise BadInput(f'{path}: mean {mean.shape}, std {std.shape} and label {label.shape} do not '
                     'belong together')
    for name, array in arrays.items():
      if array.dtype.kind not in ('iu' if name == 'label' else 'fiu'):
        raise BadInput(f'{path}: {name} is {array.dtype}; allowed: '
                       f'{"integers" if name == "label" else "numbers"}')
    yield from zip(mean, std, label, strict=True)
