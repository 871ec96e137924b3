"""Published weights of feature networks: located, checked by their sha256, kept as an npz.

The npz lies in `weights` of the cache (see genjax.disk) and names the hash of the published file.
PyTorch is not needed, and nothing in a file is executed (see torch_file).
"""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from genjax import disk
from genjax.encoders import torch_file
from genjax.encoders.classifier import UNREADABLE
from genjax.types import BadInput

ENVIRONMENT = 'GENJAX_WEIGHTS'  # a folder with published files, or one of them
PIECE = 1 << 20  # bytes of a download at a time
TIMEOUT = 30  # seconds without a byte


class Source(NamedTuple):
  """A published file."""

  url: str
  files: tuple[str, ...]  # its names, the first that of the url
  bytes: int
  sha256: str
  origin: str  # who made it


WEIGHTS = {
    'inception': Source(
        'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
        'pt_inception-2015-12-05-6726825d.pth',
        ('pt_inception-2015-12-05-6726825d.pth', 'weights-inception-2015-12-05-6726825d.pth'),
        95_628_359, '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
        'Inception-2015-12-05 of TensorFlow, as pytorch-fid converted it'),
    'dinov2_l': Source(
        'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth',
        ('dinov2_vitl14_pretrain.pth',), 1_217_586_395,
        'd5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428',
        'DINOv2 ViT-L/14, arXiv 2304.07193'),
    'dinov2_b': Source(
        'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth',
        ('dinov2_vitb14_pretrain.pth',), 346_378_731,
        '0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73',
        'DINOv2 ViT-B/14, arXiv 2304.07193'),
}


def load(name: str, path=None, download: bool = True,
         progress: Callable[[int, int], None] = lambda done, total: None) -> tuple[dict, dict]:
  """({name: array} of the state dict, card) of the weights `name`, one of WEIGHTS.

  path: the published file; default: the cache, else $GENJAX_WEIGHTS, else a download.
  download: False forbids to use the network.
  progress: progress(bytes read, bytes in all) is called during a download.
  Raises BadInput for an unknown name, for a file with another sha256, and if there is no file: it
  names the file, its hash, and where it was looked for.
  """
  source = _source(name)
  given = None if path is None else _checked(name, pathlib.Path(path))
  arrays = _kept(name)
  if arrays is None:
    file = given or _given(name)
    arrays = torch_file.load(file) if file else _download(name, download, progress)
    with contextlib.suppress(OSError):  # a full disk costs time, no more
      _keep(name, arrays)
  return arrays, {'sha256': source.sha256, 'file': source.files[0], 'source': source.origin}


def place(name: str) -> pathlib.Path:
  """The path of the converted weights, which need not exist."""
  return disk.cache('weights') / f'{name}-{_source(name).sha256[:16]}.npz'


def _source(name) -> Source:
  if name not in WEIGHTS:
    raise BadInput(f'weights {name!r} are unknown; allowed: {", ".join(WEIGHTS)}')
  return WEIGHTS[name]


def _wanted(name) -> str:
  source = _source(name)
  return (f'{source.files[0]} ({source.bytes:,} bytes, sha256 {source.sha256}; '
          f'published at {source.url})')


def _sha256(path: pathlib.Path) -> str:
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise BadInput(f'{path}: cannot be read ({error.strerror})') from None


def _checked(name, path: pathlib.Path) -> pathlib.Path:
  """The path, if the published file lies there."""
  sha256 = _sha256(path)
  if sha256 != _source(name).sha256:
    raise BadInput(f'{path} is damaged or another file than the weights {name!r}: its sha256 is '
                   f'{sha256}; allowed: {_wanted(name)}')
  return path


def _given(name) -> pathlib.Path | None:
  """The published file in $GENJAX_WEIGHTS; None if it is not set or lacks the file."""
  where = os.environ.get(ENVIRONMENT)
  if not where:
    return None
  where = pathlib.Path(where).expanduser()
  if not where.exists():
    raise BadInput(f'{ENVIRONMENT}={where} is not there; allowed: a folder with published files, '
                   'or one of them')
  if where.is_file():
    return _checked(name, where)
  for file in _source(name).files:
    if (where / file).exists():
      return _checked(name, where / file)
  return None


def _download(name, allowed: bool, progress) -> dict:
  """The arrays of the published file, which is removed once they are in memory."""
  source, where = _source(name), os.environ.get(ENVIRONMENT)
  part = place(name).with_name(f'.{source.files[0]}.{os.getpid()}.part')
  try:
    if not allowed:
      raise BadInput('not asked for')
    part.parent.mkdir(parents=True, exist_ok=True)
    _fetch(source, part, progress)
    return torch_file.load(_checked(name, part))
  except (OSError, http.client.HTTPException, BadInput) as error:
    raise BadInput(
        f'weights {name!r} need the file {_wanted(name)}. Looked for: {place(name)} (converted); '
        f'${ENVIRONMENT} ({where or "not set"}); download ({error}). Put the file into a folder '
        f'and set {ENVIRONMENT} to that, or give it once: '
        f'python -m genjax weights --encoder={name} --file=PATH') from None
  finally:
    with contextlib.suppress(OSError):
      part.unlink()


def _fetch(source: Source, part: pathlib.Path, progress) -> None:
  done = 0
  with urllib.request.urlopen(source.url, timeout=TIMEOUT) as answer, open(part, 'wb') as file:
    while piece := answer.read(PIECE):
      file.write(piece)
      done += len(piece)
      if done > source.bytes:
        break
      progress(done, source.bytes)
  if done != source.bytes:
    raise BadInput(f'{source.url} sent {"more" if done > source.bytes else f"{done:,}"} bytes')


def _kept(name) -> dict | None:
  """The arrays of the cache; None if there are none, or they are damaged or of another file."""
  try:
    with open(place(name), 'rb') as file, np.load(file, allow_pickle=False) as arrays:
      card = json.loads(str(arrays['card']))
      if card['sha256'] != _source(name).sha256:
        return None
      kept = {key: arrays[key] for key in arrays.files if key != 'card'}
    # older archives lack this digest: the checks of the zip suffice for them
    whole = 'arrays' not in card or card['arrays'] == disk.digest(kept)
    return kept if whole else None
  except (OSError, *UNREADABLE):
    return None


def _keep(name, arrays: dict) -> None:
  source = _source(name)
  card = json.dumps({'sha256': source.sha256, 'url': source.url, 'arrays': disk.digest(arrays)})
  disk.write_file(place(name), lambda file: np.savez(file, card=card, **arrays))
