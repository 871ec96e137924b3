"""The steps that a directory of checkpoints holds, and the index of the content of each."""

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
  """The bytes of an index from which its digest is computed."""
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


def identity(directory: str | os.PathLike, step: int | None = None) -> dict | None:
  """{'step', 'digest'} of a step, the digest of all that was saved with it; None: no such step.

  step: default: the best by validation where there is one, else the newest. Reads no array. Raises
  BadInput if an index that it needs is damaged.
  """
  directory, gone = pathlib.Path(directory), None
  while (present := steps(directory)) and step in (None, *present):
    path = directory / str(present[-1] if step is None else step)
    content, damage = read(path)
    best = step is None and not damage and content['meta'].get('best')
    if best and best['step'] != present[-1]:
      path = directory / str(best['step'])
      content, damage = read(path)
    if not damage:
      return {'step': content['step'], 'digest': shards.digest(canonical(content))}
    if path.is_dir() or path == gone:
      raise BadInput(f'a checkpoint in {directory} is damaged: {damage}')
    gone = path  # its training has deleted it, and has a newer one
  return None
