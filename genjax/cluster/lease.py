"""One owner for a run directory: a lease that is renewed while its owner lives.

WORKDIR/lease.N.json names the owner of the run; the file with the highest N counts. A hard link
creates it, and only one process can succeed, so that one wins if two start or take over at the same
instant. An owner renews its file in place and never creates it again; if it lost the run, it finds
a higher file, or none. Clocks of two machines are never compared: an owner that is invisible from
here is watched for its heartbeat. No lock of the file system is needed.
"""

import contextlib
import json
import os
import pathlib
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from genjax.cluster import hosts, lease_file, preempt
from genjax.disk import processes
from genjax.types import BadInput

RENEWAL = 10.0  # seconds between two renewals, fewer where the heartbeat is short
_LOOK = 0.5  # seconds between two looks at the lease of an owner on another machine
_JOBS = ('SLURM_JOB_ID', 'PBS_JOBID', 'LSB_JOBID', 'JOB_NAME')


class Held(BadInput):
  """Another process owns the run directory."""


class Lost(BadInput):
  """Another process has taken the run directory over."""


@contextlib.contextmanager
def held(workdir: pathlib.Path, heartbeat: float) -> Iterator[Callable[[], None]]:
  """Owns the run directory within the block; yields check(), to be called before each write.

  heartbeat: seconds without a renewal after which another launch may take over. A launch takes over
  at once from an owner that is known to have ended. All hosts of a job call this, and the lead host
  holds the lease. Creates the directory, and removes it again if it stayed empty. Raises Held,
  naming host, process and start time, and OSError if it cannot write; check() raises Lost.
  """
  lease = _Lease(workdir, heartbeat)
  with preempt.before_leaving(lease.release):
    try:
      refusal = _refusal(lease.acquire) if hosts.is_lead() else None
      shared = json.loads(hosts.exchange('lease', json.dumps(_as_text(refusal)))[0])
      if shared:
        raise refusal or (OSError(*shared['os']) if shared['os'] else Held(shared['message']))
      yield lease.check if hosts.is_lead() else lambda: None
    finally:
      lease.release()


def _refusal(acquire: Callable[[], None]) -> BadInput | OSError | None:
  """The error of acquire(), or None; all hosts of a job must learn of it."""
  try:
    acquire()
  except (BadInput, OSError) as error:
    return error
  return None


def _as_text(refusal: BadInput | OSError | None) -> dict | None:
  if refusal is None:
    return None
  is_os = issubclass(type(refusal), OSError)
  return {'message': str(refusal),
          'os': [refusal.errno, refusal.strerror, str(refusal.filename)] if is_os else None}


class _Lease:
  """A lease: the state shared by the program and the thread that renews it."""

  def __init__(self, workdir: pathlib.Path, heartbeat: float):
    self.workdir, self.heartbeat, self.token = workdir, float(heartbeat), uuid.uuid4().hex
    self.since = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
    self.created, self.path, self.renewals = [], None, 0
    self.done = threading.Event()

  def acquire(self) -> None:
    """Acquires the directory and starts to renew the lease. Raises Held and OSError."""
    try:
      while not self._acquired():
        pass
    except OSError as error:
      raise OSError(error.errno, f'cannot write ({error.strerror})', str(self.workdir)) from error
    threading.Thread(target=self._renew, daemon=True).start()

  def _acquired(self) -> bool:
    number, raw = lease_file.highest(self.workdir)
    if number:
      _await_end(self.workdir, number, raw, self.heartbeat)
    path = lease_file.path(self.workdir, number + 1)
    with preempt.writing():  # a process ended by a signal has the lease, or leaves no trace
      self.created = [*_make_directory(self.workdir), *self.created]
      try:
        self.file = lease_file.create(path, self._content())
      except FileNotFoundError:  # a refused process has removed the directory that it had created
        return False
      if self.file is None:
        return False
      # a list that was read while files came and went may have missed a higher one
      if lease_file.highest(self.workdir)[0] > number + 1:
        path.unlink()
        os.close(self.file)
        return False
      self.path, self.number = path, number + 1
      lease_file.remove_below(self.workdir, number + 1)
    return True

  def _content(self) -> bytes:
    me = processes.this()
    job = next((f'{name}={os.environ[name]}' for name in _JOBS if os.environ.get(name)), '')
    record = {**me._asdict(), 'job': job, 'since': self.since, 'heartbeat': self.heartbeat,
              'token': self.token, 'renewals': self.renewals,
              'renewed': round(time.monotonic(), 3)}  # by the clock of this machine alone
    return lease_file.padded(record)

  def _renew(self) -> None:
    while not self.done.wait(min(RENEWAL, self.heartbeat / 3)):
      self.renewals += 1
      with contextlib.suppress(OSError):  # tried again; if it is gone for good, `check` says so
        lease_file.renew(self.file, self._content())

  def check(self) -> None:
    """Raises Lost if this is no longer the highest lease."""
    number, raw = lease_file.highest(self.workdir)
    record = lease_file.parse(raw)
    if number == self.number and (record is None or record['token'] == self.token):
      return
    by = f'by {_describe(record)}' if record else 'or its lease was removed'
    raise Lost(f'{self.workdir} was taken over {by}: this process had not renewed its lease for '
               f'{self.heartbeat:g} s, and writes nothing more')

  def release(self) -> None:
    """Ends the ownership; a second call does nothing."""
    self.done.set()  # the file stays open until the process ends: a renewal may be on its way
    if self.path:
      with contextlib.suppress(OSError):
        record = lease_file.parse(self.path.read_bytes())
        if record and record['token'] == self.token:
          self.path.unlink()
    _remove_empty(self.created)


def _await_end(workdir: pathlib.Path, number: int, raw: bytes, heartbeat: float) -> None:
  """Returns once the owner is known or assumed to have ended; raises Held if it is alive."""
  record = lease_file.parse(raw)
  alive = _verdict(record) if record else None
  began, announced = time.monotonic(), False
  while alive is None:
    time.sleep(_LOOK)
    now_number, now = lease_file.highest(workdir)
    if now_number != number:
      return  # released, or taken over by another: look again
    alive = True if now != raw else None
    waited = time.monotonic() - began
    if alive is None and waited > (record or {}).get('heartbeat', heartbeat):
      alive = False
    elif alive is None and waited > 2.0 and not announced:
      announced = True
      print(f'{workdir} is held by {_describe(record)}; waiting for a sign of life',
            file=sys.stderr, flush=True)
  if alive:
    record = lease_file.parse(lease_file.highest(workdir)[1]) or record
    raise Held(f'{workdir} is in use by {_describe(record)}; allowed: wait until it has ended, or '
               'another --workdir')


def _verdict(record: dict) -> bool | None:
  """Whether an owner is alive; None if only watching its file can show it."""
  owner = processes.Process(*(record[key] for key in processes.Process._fields))
  if owner.table != processes.table():
    return None
  if processes.has_ended(owner):
    return False
  return time.monotonic() - record['renewed'] <= record['heartbeat']


def _describe(record: dict | None) -> str:
  if record is None:
    return 'a process that has not written its name'
  job = f' ({record["job"]})' if record['job'] else ''
  return f'process {record["pid"]} on host {record["host"]}{job} since {record["since"]}'


def _make_directory(workdir: pathlib.Path) -> list[pathlib.Path]:
  """Creates the directory; returns those that did not exist before, the deepest first."""
  missing = [path for path in (workdir, *workdir.parents) if not path.exists()]
  workdir.mkdir(parents=True, exist_ok=True)
  return missing


def _remove_empty(directories: list[pathlib.Path]) -> None:
  with contextlib.suppress(OSError):  # not empty
    for path in directories:
      path.rmdir()
