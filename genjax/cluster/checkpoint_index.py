"""Which steps a directory of checkpoints holds, and what the index of each says is in it."""

import json
import os
import pathlib
import re
from typing import Any

from genjax.cluster import shards
from genjax.types import BadInput

NAME = 'checkpoint.json'
FORMAT = 2


def steps(directory: str | os.PathLike) -> list[int]:
  """The steps that were saved, ascending; damaged ones too (only reading finds out)."""
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    return []
  return sorted(int(path.name) for path in directory.iterdir()
                if re.fullmatch(r'0|[1-9]\d*', path.name) and path.is_dir())


def canonical(content: Any) -> bytes:
  """The bytes that the digest of an index is of."""
  return json.dumps(content, sort_keys=True, separators=(',', ':')).encode()


def read(path: pathlib.Path) -> tuple[dict, str]:
  """The content of the index of a step, and '' or how it is damaged; BadInput: another format."""
  try:
    body = json.loads((path / NAME).read_bytes())
    content, digest = body['content'], body['digest']
  except FileNotFoundError:
    return {}, f'{NAME} is missing'
  except (ValueError, LookupError, TypeError):  # ValueError: not JSON, not UTF-8
    return {}, f'{NAME} cannot be read'
  if shards.digest(canonical(content)) != digest:
    return {}, f'{NAME} differs from what was saved'
  if content['step'] != int(path.name):
    return {}, f'it holds step {content["step"]}'
  if content['format'] != FORMAT:
    raise BadInput(f'{path} has format {content["format"]}; this version reads {FORMAT}')
  return content, ''
