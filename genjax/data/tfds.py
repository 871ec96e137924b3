"""Any TFDS image data set, prepared once into .npy files, without TensorFlow."""

import contextlib
import functools
import gzip
import io
import os
import pathlib
import shutil
import socket
import sys
import tarfile
import tempfile
import threading
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums, download_manager, downloader, extractor

from genjax.data import dataset, store
from genjax.data.without_tensorflow import TENSORFLOW, replaced, without_tensorflow
from genjax.types import BadInput, DataSpec
from genjax.words import did_you_mean

CHUNK = 1000  # records read at a time: three times as fast as one by one
CONNECT_WITHIN = 4.0  # seconds until a host counts as unreachable
FAILURES = (ImportError, OSError, ValueError, KeyError, IndexError, EOFError, RuntimeError,
            AssertionError, zlib.error, tarfile.TarError, zipfile.BadZipFile,
            extractor.ExtractError, download_manager.NonMatchingChecksumError,
            tfds.download.DownloadError)


@functools.cache
def names() -> tuple[str, ...]:
  """All TFDS builders that are installed with the package."""
  return tuple(tfds.list_builders(with_community_datasets=False))


def prepare(name: str, from_dir: str | None = None, data_dir=None,
            progress: Callable = iter) -> dataset.Dataset:
  """The TFDS set `name`, loaded after each split was written as uint8 .npy files to the cache.

  Missing splits come from `dataset.assign`. Images of 0 and 1 alone have 2 levels, all others 256.
  from_dir: a folder with the files that TFDS would download; default: they are downloaded. A file
    NAME.gz may be there as NAME, unpacked. Their checksums are not compared: the identity of the
    data is the hash of its content.
  data_dir: as for `store.cache_dir`.
  progress: wraps the list of chunks of records that are read.
  Raises BadInput, leaving nothing behind.
  """
  with store.workplace(data_dir) as work, without_tensorflow():
    try:
      builder = _builder(name, work)
      keys = _keys(name, builder)
      _download(name, builder, from_dir, work, data_dir)
      splits, shape, recipe = _materialise(builder, keys, work, progress)
    except BadInput:
      raise
    except FAILURES as error:
      reason = ' '.join(str(error).split())[-500:] or type(error).__name__
      if "'tensorflow'" in reason:
        reason = 'its TFDS builder needs TensorFlow; export it as npz or as a folder of images'
      raise BadInput(f'data set {name!r} could not be prepared: {reason}') from error
    label = builder.info.features[keys[1]] if keys[1] else None
    binary = max(int(split['x'].max()) for split in splits.values()) == 1
    spec = DataSpec(shape, 2 if binary else 256, label and label.num_classes)
    return store.publish(work, name, spec, splits, recipe, data_dir, label and _names(label))


def _names(label) -> tuple[str, ...] | None:
  """The names of the classes; None if all are numbers."""
  names = tuple(label.names)
  return None if all(name.isdigit() for name in names) else names


def features(name: str) -> tuple[tuple[int, ...], int | None, str]:
  """Shape of an image, number of classes and full name of a set that was not prepared."""
  with tempfile.TemporaryDirectory() as work, without_tensorflow():
    builder = _builder(name, pathlib.Path(work))
    image, label = _keys(name, builder)
    declared = builder.info.features
    return (declared[image].shape, declared[label].num_classes if label else None,
            builder.info.full_name)


def _builder(name: str, work: pathlib.Path):
  if store.stem(name) not in names():
    raise BadInput(f'TFDS has no data set {name!r}{did_you_mean(name, names(), 3)}')
  builder = tfds.builder(name, data_dir=work / 'tfds', file_format='array_record')
  # the builder's own module opens files with TensorFlow too
  module = sys.modules[type(builder).__module__]
  if 'tf' in vars(module):
    module.tf = TENSORFLOW
  return builder


def _keys(name: str, builder) -> tuple[str, str | None]:
  """The names of the image feature and of the label, if there is one."""
  features = builder.info.features
  images = [key for key, feature in features.items() if type(feature) is tfds.features.Image]
  if not images:
    raise BadInput(f'data set {name!r} has no image feature; it has: {", ".join(features)}')
  labels = [key for key, f in features.items() if type(f) is tfds.features.ClassLabel]
  return images[0], 'label' if 'label' in labels else None


def _download(name, builder, from_dir, work, data_dir):
  """Runs the builder on the user's files, or on the network."""
  urls = builder.url_infos or {}
  if from_dir:
    if not pathlib.Path(from_dir).is_dir():
      raise BadInput(f'--from={from_dir}: no such folder')
    given = from_dir
    from_dir = _packed(pathlib.Path(given), [info.filename for info in urls.values()], work)
    for url, info in urls.items():  # memoised by TFDS: changed in place
      if info.filename and (path := pathlib.Path(from_dir, info.filename)).is_file():
        urls[url] = checksums.compute_url_info(path)
    downloads, reach = work / 'downloads', _refuse_download(name, given)
  else:
    _check_reachable(name, list(urls))
    downloads, reach = store.cache_dir(data_dir) / '.downloads', contextlib.nullcontext()
  config = tfds.download.DownloadConfig(
      manual_dir=from_dir, extract_dir=work / 'extracted', try_download_gcs=False)
  # TFDS prints estimates of sizes; the program itself reports the result
  with reach, contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_dir=downloads, download_config=config)


def _packed(given: pathlib.Path, filenames: list, work: pathlib.Path) -> pathlib.Path:
  """The folder `given`, or one of links to its files where those without their .gz are packed."""
  unpacked = [name for name in filenames if name and name.endswith('.gz')
              and not (given / name).exists() and (given / name.removesuffix('.gz')).is_file()]
  if not unpacked:
    return given
  packed = work / 'packed'
  packed.mkdir()
  for path in given.iterdir():
    (packed / path.name).symlink_to(path.resolve())
  for name in unpacked:
    with open(given / name.removesuffix('.gz'), 'rb') as source, \
         gzip.open(packed / name, 'wb', compresslevel=1) as target:
      shutil.copyfileobj(source, target)
  return packed


@contextlib.contextmanager
def _refuse_download(name: str, from_dir: str):
  """Within the block a file that `from_dir` lacks is an error, never a download."""
  def refuse(self, url, *unused_args, **unused_kw):
    file = os.path.basename(urllib.parse.urlparse(url).path)
    raise BadInput(f'data set {name!r}: {from_dir} lacks {file}; get it from {url}')

  with replaced([(downloader._Downloader, 'download', refuse)]):
    yield


def _check_reachable(name: str, urls: list[str]):
  """Raises BadInput if the first host (or the proxy) accepts no connection in CONNECT_WITHIN s."""
  first = urls[0] if urls else 'https://storage.googleapis.com'
  host = urllib.parse.urlparse(first)
  proxy = urllib.request.getproxies().get(host.scheme)
  host = urllib.parse.urlparse(proxy) if proxy else host
  reached = threading.Event()

  def connect():
    with contextlib.suppress(OSError):
      port = host.port or (443 if host.scheme == 'https' else 80)
      socket.create_connection((host.hostname, port), CONNECT_WITHIN).close()
      reached.set()

  # in a thread of its own: looking up a name has no time limit
  thread = threading.Thread(target=connect, daemon=True)
  thread.start()
  thread.join(CONNECT_WITHIN)
  if not reached.is_set():
    files = ', '.join(sorted({os.path.basename(urllib.parse.urlparse(u).path) for u in urls})[:8])
    raise BadInput(f'data set {name!r}: no connection to {host.hostname}. Get its files '
                   f'({files or "see the TFDS catalogue"}) elsewhere, and run '
                   f'{store.command(name, "DIR")}')


def _materialise(builder, keys, work, progress):
  """({split: arrays}, shape of an image, recipe); reads every record once."""
  sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
  if 'train' not in sizes:
    raise BadInput(f'TFDS set {builder.info.full_name} has no split train; it has: '
                   f'{", ".join(sizes)}')
  first = builder.as_data_source('train')[0][keys[0]]
  recipe = f'TFDS {builder.info.full_name}, feature {keys[0]}, decoded by Pillow'
  assigned, words = dataset.assign(sizes)
  splits = {split: store.create(work, split, len(rows), first.shape, first.dtype,
                                labelled=keys[1] is not None)
            for split, (_, rows) in assigned.items()}
  for origin in dict.fromkeys(origin for origin, _ in assigned.values()):
    rows_of = {split: rows for split, (source, rows) in assigned.items() if source == origin}
    _read(builder.as_data_source(origin), keys, rows_of, splits, progress)
  return splits, first.shape, recipe + words


def _read(records, keys, rows_of: dict, splits: dict, progress: Callable):
  """Fills splits[split] with the records rows_of[split] (sorted), in one pass over all."""
  done = dict.fromkeys(rows_of, 0)
  for low in progress(range(0, len(records), CHUNK)):
    chunk = records.__getitems__(range(low, min(low + CHUNK, len(records))))
    for split, rows in rows_of.items():
      first, last = np.searchsorted(rows, (low, low + CHUNK))
      for row in rows[first:last]:
        example, at = chunk[row - low], done[split]
        if example[keys[0]].shape != splits[split]['x'].shape[1:]:
          raise BadInput(f'images of different sizes: {splits[split]["x"].shape[1:]} and '
                         f'{example[keys[0]].shape}; choose a set of one size')
        splits[split]['x'][at] = example[keys[0]]
        if keys[1]:
          splits[split]['cond'][at] = example[keys[1]]
        done[split] += 1
