"""Hosts find each other, agree, and name whom they wait for."""

import subprocess
import sys

import jax
import pytest

from genjax.cluster import hosts
from genjax.types import BadInput
from tests import jobs

TALK = '''
import sys, time
from genjax.cluster import hosts
hosts.start(lambda: 30, 'localhost:' + sys.argv[1], 3, int(sys.argv[2]))
hosts.PATIENCE = 1.0
print(hosts.exchange('names', 'host ' + sys.argv[2]))
print(hosts.exchange('names', 'again ' + sys.argv[2]))
assert not hosts.noticed('rain')
hosts.exchange('before')
if hosts.index() == 1:
  hosts.notify('rain')
  time.sleep(3)
hosts.exchange('late')
assert hosts.noticed('rain')
hosts.stop()
'''


@pytest.mark.slow
def test_three_hosts_talk_and_name_the_one_that_is_late():
  port = jobs.free_port()
  started = [subprocess.Popen([sys.executable, '-c', TALK, str(port), str(i)], cwd=jobs.ROOT,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
             for i in range(3)]
  said = [process.communicate(timeout=100) for process in started]
  assert [p.returncode for p in started] == [0, 0, 0], said
  for out, _ in said:
    assert "['host 0', 'host 1', 'host 2']\n['again 0', 'again 1', 'again 2']" in out
  for i in (0, 2):
    assert f"host {i} waits at 'late' for host 1 of 3" in said[i][1]
  assert 'waits' not in said[1][1]


STORE = '''
import sys
from genjax.cluster import hosts
before = hosts._job()
assert (before.client, before.num_processes or 1, before.process_id or 0) == (None, 1, 0)
hosts.start(lambda: 30, 'localhost:' + sys.argv[1], 1, 0)
job = hosts._job()
assert (job.num_processes, job.process_id) == (1, 0)
job.client.key_value_set('a/b', 'old')
job.client.key_value_set('a/b', 'new', allow_overwrite=True)
assert job.client.key_value_try_get('a/b') == 'new'
assert job.client.blocking_key_value_get('a/b', 1000) == 'new'
assert [tuple(pair) for pair in job.client.key_value_dir_get('a/')] == [('a/b', 'new')]
job.client.key_value_delete('a/')
import jax
try:
  job.client.blocking_key_value_get('a/b', 10)
except jax.errors.JaxRuntimeError as error:
  assert 'DEADLINE' in str(error)
else:
  sys.exit('a key that was deleted is there')
'''


def test_what_is_private_to_jax_is_as_it_is_used():
  done = subprocess.run([sys.executable, '-c', STORE, str(jobs.free_port())], cwd=jobs.ROOT,
                        capture_output=True, text=True, timeout=100)
  assert done.returncode == 0, done.stderr


def test_a_single_host_talks_to_itself():
  assert (hosts.count(), hosts.index(), hosts.is_lead()) == (1, 0, True)
  assert hosts.exchange('anything', 'text') == ['text']
  assert not hosts.noticed('anything')


def test_some_of_the_three_flags_are_none():
  with pytest.raises(BadInput, match='--process_id not given.*allowed: all of --coordinator'):
    hosts.start(lambda: 100, 'localhost:1', 2, None)
  with pytest.raises(BadInput, match=r'--process_id=2; allowed: 0\.\.1'):
    hosts.start(lambda: 100, 'localhost:1', 2, 2)


@pytest.mark.parametrize('env,found', [
    ({}, False),
    ({'SLURM_NTASKS': '1', 'SLURM_STEP_NODELIST': 'n1'}, False),
    ({'SLURM_NTASKS': '16', 'SLURM_STEP_NODELIST': 'n[1-2]'}, True),
    ({'SLURM_NTASKS': '16'}, False),  # the batch shell, outside srun
    ({'TPU_WORKER_HOSTNAMES': 'a', 'TPU_WORKER_ID': '0'}, False),
    ({'TPU_WORKER_HOSTNAMES': 'a,b', 'TPU_WORKER_ID': '1'}, True),
    ({'MEGASCALE_COORDINATOR_ADDRESS': 'a:8080'}, True),
    ({'OMPI_COMM_WORLD_SIZE': '4'}, True),
])
def test_what_is_a_cluster(env, found):
  assert hosts.in_cluster(env) == found


def test_nothing_here_touches_a_device():
  code = ('from genjax.cluster import hosts, preempt\n'
          'hosts.start(lambda: 100); hosts.exchange("x")\n'
          'from jax._src import xla_bridge\nprint(xla_bridge.backends_are_initialized())')
  done = subprocess.run([sys.executable, '-c', code], cwd=jobs.ROOT, capture_output=True, text=True)
  assert done.stdout.strip() == 'False', done.stderr
  assert jax.process_count() == 1


LATE = '''
import runpy, sys, time
from genjax import wiring
def late(function, seconds):
  def slow(*args):
    time.sleep(seconds if "--process_id=1" in sys.argv else 0)
    return function(*args)
  return slow
wiring.run, wiring.compiled_step = late(wiring.run, 15), late(wiring.compiled_step, 40)
runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)
'''


@pytest.mark.slow
def test_a_host_that_comes_40_seconds_later_is_waited_for(tmp_path):
  """Gloo, the collectives of CPUs, gives up after 30 s."""
  port = jobs.free_port()
  started = [subprocess.Popen(
      [sys.executable, '-c', LATE, '--config=configs/digits.py:family=vae,objective=kl',
       '--config.steps=4', '--config.log.every=4', '--config.checkpoint.every=4',
       '--config.select.every=4', '--config.steps_per_dispatch=1', '--noevaluate',
       f'--workdir={tmp_path / "run"}', f'--coordinator=localhost:{port}', '--num_processes=2',
       f'--process_id={rank}'], cwd=jobs.ROOT, text=True, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE) for rank in range(2)]
  said = [process.communicate(timeout=200) for process in started]
  assert [p.returncode for p in started] == [0, 0], said
  assert "host 0 waits at 'the first step' for host 1 of 2" in said[0][1]
  assert [p.name for p in (tmp_path / 'run' / 'checkpoints').iterdir()] == ['4']
