"""One owner for a run directory: others are refused while it lives, and take over after it."""

import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from genjax.cluster import lease, lease_file
from genjax.disk import processes
from tests import jobs

HEARTBEAT = 0.6


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
  monkeypatch.setattr(lease, '_LOOK', 0.05)


def leave(workdir, number=1, **changes):
  """The lease of an owner that left it behind: a process of this host that has ended."""
  ended = subprocess.Popen(['true'])
  ended.wait()
  record = {**processes.this()._asdict(), 'pid': ended.pid, 'job': '', 'since': 'long ago',
            'heartbeat': HEARTBEAT, 'token': 'theirs', 'renewed': time.monotonic(), **changes}
  lease_file.path(workdir, number).write_bytes(lease_file.padded(record))
  return record


def files(workdir):
  return sorted(os.listdir(workdir))


def test_a_directory_in_use_is_refused_naming_host_process_and_since(tmp_path, monkeypatch):
  monkeypatch.setenv('SLURM_JOB_ID', '17')
  workdir = tmp_path / 'new' / 'run'
  with lease.held(workdir, 100) as check:
    check()
    mine = json.loads((workdir / 'lease.1.json').read_bytes())
    with (pytest.raises(lease.Held, match=(
        f'{workdir} is in use by process {os.getpid()} on host {mine["host"]} '
        rf'\(SLURM_JOB_ID=17\) since {mine["since"]}; allowed: ')), lease.held(workdir, 100)):
      pass
    check()  # who was refused has left no trace
    assert files(workdir) == ['lease.1.json']
  assert files(tmp_path) == []


def test_an_owner_known_to_have_ended_is_passed_over_at_once(tmp_path):
  for changes in ({}, {'pid': os.getpid(), 'started': 1}):  # its number is used again
    leave(tmp_path, 3, heartbeat=100, **changes)
    began = time.monotonic()
    with lease.held(tmp_path, 100):
      assert time.monotonic() - began < 0.5 and files(tmp_path) == ['lease.4.json']


def test_an_owner_that_does_not_renew_is_passed_over_after_its_heartbeat(tmp_path):
  """On this host by its clock, on another by watching: clocks of two machines are not compared."""
  me = processes.this()
  for where in ({'pid': me.pid, 'started': me.started, 'renewed': time.monotonic() - 2 * HEARTBEAT},
                {'host': 'b', 'table': 'b', 'renewed': time.monotonic() + 1e6}):
    leave(tmp_path, **where)
    began = time.monotonic()
    with lease.held(tmp_path, 100):
      waited = time.monotonic() - began
      assert waited < 0.5 if 'host' not in where else HEARTBEAT < waited < HEARTBEAT + 2


def test_an_owner_on_another_host_that_renews_is_found_alive(tmp_path):
  leave(tmp_path, host='b', table='b', heartbeat=100)
  renewal = threading.Timer(0.3, leave, (tmp_path,), {
      'host': 'b', 'table': 'b', 'heartbeat': 100, 'renewed': 1.0})
  renewal.start()
  with pytest.raises(lease.Held, match='on host b since long ago'), lease.held(tmp_path, 100):
    pass


def test_a_lease_that_is_just_being_written_is_watched(tmp_path):
  lease_file.path(tmp_path, 1).write_bytes(b'')
  began = time.monotonic()
  with lease.held(tmp_path, HEARTBEAT):
    assert time.monotonic() - began > HEARTBEAT


def test_of_many_that_start_at_the_same_instant_one_wins(tmp_path):
  """From an empty directory, and from the lease of an owner that has ended."""
  for before in (False, True):
    workdir = tmp_path / str(before)
    workdir.mkdir()
    if before:
      leave(workdir, 7)
    barrier, refused = threading.Barrier(16), threading.Semaphore(0)

    def start(workdir=workdir, barrier=barrier, refused=refused):
      barrier.wait()
      with contextlib.suppress(lease.Held), lease.held(workdir, 100):
        return all(refused.acquire(timeout=10) for _ in range(15))
      refused.release()
      return False

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
      assert sum(pool.map(lambda _: start(), range(16))) == 1


def test_an_owner_that_was_passed_over_stops_before_it_writes(tmp_path):
  with lease.held(tmp_path, 100) as check:
    leave(tmp_path, 2, host='b', table='b', pid=5)
    with pytest.raises(lease.Lost, match='taken over by process 5 on host b'):
      check()
    (tmp_path / 'lease.1.json').unlink()
    with pytest.raises(lease.Lost):
      check()
  assert files(tmp_path) == ['lease.2.json']  # that of the new owner


def test_an_owner_that_comes_back_does_not_write_over_the_lease_of_another(tmp_path):
  """Its file was removed, and a later owner has made one of the same name."""
  with lease.held(tmp_path, HEARTBEAT) as check:
    (tmp_path / 'lease.1.json').unlink()
    later = leave(tmp_path, 1, token='of the later one')
    time.sleep(HEARTBEAT)  # several renewals
    assert json.loads((tmp_path / 'lease.1.json').read_bytes()) == later
    with pytest.raises(lease.Lost):
      check()


def test_a_lease_is_renewed(tmp_path):
  with lease.held(tmp_path, HEARTBEAT) as check:
    before = (tmp_path / 'lease.1.json').read_bytes()
    time.sleep(HEARTBEAT)
    after = (tmp_path / 'lease.1.json').read_bytes()
    assert json.loads(after)['renewed'] > json.loads(before)['renewed']
    assert len(after) == len(before)
    check()


def test_without_hard_links(tmp_path, monkeypatch):
  def link(*_):
    raise PermissionError(1, 'Operation not permitted')

  monkeypatch.setattr(lease_file.os, 'link', link)
  with lease.held(tmp_path, 100) as check:
    check()
    assert files(tmp_path) == ['lease.1.json']
    with pytest.raises(lease.Held), lease.held(tmp_path, 100):
      pass


def test_a_file_in_the_place_of_the_directory(tmp_path):
  (tmp_path / 'run').write_text('mine')
  with pytest.raises(OSError) as caught, lease.held(tmp_path / 'run', 100):
    pass
  assert str(tmp_path / 'run') in str(caught.value)


OWN = '''
import sys, pathlib, time
from genjax.cluster import lease
with lease.held(pathlib.Path(sys.argv[1]), 100):
  print('owned', flush=True)
  time.sleep(60)
'''


def test_a_killed_process_is_passed_over_by_another(tmp_path):
  owner = subprocess.Popen([sys.executable, '-c', OWN, str(tmp_path)], cwd=jobs.ROOT, text=True,
                           stdout=subprocess.PIPE)
  assert owner.stdout.readline() == 'owned\n'
  with pytest.raises(lease.Held, match=f'process {owner.pid} '), lease.held(tmp_path, 100):
    pass
  owner.kill()
  owner.wait()
  with lease.held(tmp_path, 100):
    assert files(tmp_path) == ['lease.2.json']
