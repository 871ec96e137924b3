"""The files of a lease: created by one process alone, renewed in place, read while they change."""

import contextlib
import errno
import json
import os
import pathlib
import re
import time
import uuid

from genjax.disk import processes

_SIZE = 1024  # bytes: a renewal changes the file in place, and never its length
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
# without hard links, the file is created exclusively and filled a moment later
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_KEYS = (*processes.Process._fields, 'job', 'since', 'heartbeat', 'token', 'renewed')


def padded(record: dict) -> bytes:
  """The bytes of a record in its file, padded to _SIZE."""
  return json.dumps(record).encode().ljust(_SIZE - 1) + b'\n'


def renew(descriptor: int, content: bytes) -> None:
  """Writes over the lease that `create` opened: never over one that took its name since."""
  os.pwrite(descriptor, content, 0)
  os.fsync(descriptor)


def path(workdir: pathlib.Path, number: int) -> pathlib.Path:
  """The file of the lease with this number."""
  return workdir / f'lease.{number}.json'


def numbers(workdir: pathlib.Path) -> list[int]:
  """The numbers of all leases of a run directory, ascending."""
  try:
    names = os.listdir(workdir)
  except FileNotFoundError:
    return []
  return sorted(int(match[1]) for name in names
                if (match := re.fullmatch(r'lease\.([1-9]\d*)\.json', name)))


def highest(workdir: pathlib.Path) -> tuple[int, bytes]:
  """The number and the content of the lease that counts; 0: there is none."""
  while there := numbers(workdir):
    with contextlib.suppress(FileNotFoundError):  # released meanwhile
      return there[-1], path(workdir, there[-1]).read_bytes()
    time.sleep(0.01)
  return 0, b''


def parse(raw: bytes) -> dict | None:
  """The record of a lease; None if it is not yet, or only partly, written."""
  try:
    record = json.loads(raw)
  except ValueError:
    return None
  return record if type(record) is dict and all(key in record for key in _KEYS) else None


def create(place: pathlib.Path, content: bytes) -> int | None:
  """The descriptor of the new file, open and with its content; None if there is one already."""
  draft = place.with_name(f'.{place.name}.{os.getpid()}-{uuid.uuid4().hex}')
  descriptor = os.open(draft, _NEW, 0o666)
  try:
    renew(descriptor, content)
    if _link(draft, place):
      return descriptor
  except OSError as error:
    if error.errno not in _NO_LINKS:
      os.close(descriptor)
      raise
  else:
    os.close(descriptor)
    return None
  finally:
    draft.unlink(missing_ok=True)
  os.close(descriptor)
  try:
    descriptor = os.open(place, _NEW, 0o666)
  except FileExistsError:
    return None
  renew(descriptor, content)
  return descriptor


def _link(draft: pathlib.Path, place: pathlib.Path) -> bool:
  try:
    os.link(draft, place)
  except FileExistsError:
    return os.stat(draft).st_nlink == 2  # a request that the network repeated finds its own link
  return True


def remove_below(workdir: pathlib.Path, number: int) -> None:
  """Removes the leases below `number`, and drafts; a process that still needs one makes another."""
  for draft in workdir.glob('.lease.*'):
    draft.unlink(missing_ok=True)
  for lower in numbers(workdir):
    if lower < number:
      path(workdir, lower).unlink(missing_ok=True)
