"""The hosts of one job: how they find each other and agree, and which of them writes.

All hosts run one program. They agree through the key-value store of jax.distributed's coordinator,
which needs no device and works while some of them compute.
"""

import collections
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable

import jax

from genjax.types import BadInput

HEARTBEAT = 100  # seconds after which a silent host ends the job, unless a config says otherwise
_START = 300  # seconds that a host waits at least for all others to start
PATIENCE = 10.0  # seconds after which a waiting host says for which hosts
_uses = collections.Counter()


def start(heartbeat: Callable[[], int], coordinator: str | None = None,
          num_processes: int | None = None, process_id: int | None = None) -> None:
  """Joins the other hosts of the job, if there are any; to be called before any use of jax.

  coordinator (HOST:PORT), num_processes, process_id: all or none of them; None: taken from the
    environment (Slurm, GKE, TPU VM, Open MPI).
  heartbeat: () -> seconds after which a silent host ends all others (exit code 134).
  Raises BadInput if only some of the three are given.
  """
  given = {'--coordinator': coordinator, '--num_processes': num_processes,
           '--process_id': process_id}
  missing = [flag for flag, value in given.items() if value is None]
  if 0 < len(missing) < 3:
    raise BadInput(f'{", ".join(missing)} not given; allowed: all of {", ".join(given)}, or none '
                   'on a single host, Slurm, GKE or a TPU VM')
  if missing and not in_cluster(os.environ):
    return
  if not missing and not 0 <= process_id < num_processes:
    raise BadInput(f'--process_id={process_id}; allowed: 0..{num_processes - 1}')
  jax.config.update('jax_enable_preemption_service', False)  # cluster/preempt.py replaces it
  seconds = heartbeat()
  jax.distributed.initialize(coordinator, num_processes, process_id,
                             initialization_timeout=max(_START, seconds),
                             heartbeat_timeout_seconds=seconds, shutdown_timeout_seconds=seconds)


def in_cluster(env) -> bool:
  """Whether jax can find the processes of a job in this environment."""
  tpu = importlib.util.find_spec('libtpu') and any(
      os.path.exists(device) for device in ('/dev/accel0', '/dev/vfio/0'))
  return (int(env.get('SLURM_NTASKS', 1)) > 1 and 'SLURM_STEP_NODELIST' in env
          or int(env.get('OMPI_COMM_WORLD_SIZE', 1)) > 1
          or ',' in env.get('TPU_WORKER_HOSTNAMES', '') or 'MEGASCALE_COORDINATOR_ADDRESS' in env
          or bool(tpu) and 'TPU_SKIP_MDS_QUERY' not in env)


def stop() -> None:
  """Leaves the other hosts, once all are ready to leave."""
  if count() > 1:
    jax.distributed.shutdown()


def _job():
  """jax's record of the job: client of its coordinator, process_id, num_processes.

  Each is None where the job has one host. It is private to jax and changes without notice; nothing
  public reaches the coordinator's key-value store, or counts the hosts without touching a device.
  """
  from jax._src import distributed
  return distributed.global_state


def count() -> int:
  """The number of hosts of the job; touches no device."""
  return _job().num_processes or 1


def index() -> int:
  """The number of this host in the job, 0 for the lead; touches no device."""
  return _job().process_id or 0


def is_lead() -> bool:
  """Whether this is the host that prints, and writes what is common to all."""
  return index() == 0


def exchange(name: str, text: str = '') -> list[str]:
  """The texts of all hosts, in their order; returns when all have called it with this name.

  A host that waits longer than PATIENCE names the missing ones on stderr. If a host has died, the
  heartbeat ends the wait of the others.
  """
  if count() == 1:
    return [text]
  client = _job().client
  _uses[name] += 1
  key = f'genjax/{name}/{_uses[name]}'
  client.key_value_set(f'{key}/from/{index()}', text)
  began, next_report = time.monotonic(), PATIENCE
  while True:
    if is_lead():
      arrived = _gathered(client, key)
      if len(arrived) == count():
        texts = [arrived[i] for i in range(count())]
        client.key_value_set(f'{key}/all', json.dumps(texts))
        client.key_value_delete(f'{key}/from/')
        return texts
      time.sleep(0.02)
    else:
      try:
        return json.loads(client.blocking_key_value_get(f'{key}/all', 1000))
      except jax.errors.JaxRuntimeError as error:
        if 'DEADLINE' not in str(error):
          raise
    if time.monotonic() - began > next_report:
      _say_missing(client, key, name)
      next_report *= 2


def meet(where: str) -> None:
  """Waits until all hosts have called this.

  To be called before the first look at devices, where hosts exchange data and a host that is two
  minutes late fails. Also before the first collectives of a program that was just read or compiled,
  where on CPUs Gloo fails if a host is 30 s late. If a host has died, the heartbeat ends the wait.
  """
  exchange(where)


def _gathered(client, key: str) -> dict[int, str]:
  return {int(path.rpartition('/')[2]): text
          for path, text in client.key_value_dir_get(f'{key}/from/')}


def _say_missing(client, key: str, name: str) -> None:
  missing = sorted(set(range(count())) - set(_gathered(client, key)))
  if missing:
    print(f'host {index()} waits at {name!r} for host {", ".join(map(str, missing))} of '
          f'{count()}', file=sys.stderr, flush=True)


def notify(name: str) -> None:
  """Leaves a notice that every host can read by `noticed`."""
  if count() > 1:
    _job().client.key_value_set(f'genjax/{name}', '1', allow_overwrite=True)


def noticed(name: str) -> bool:
  """Whether a host left the notice; False if the coordinator is gone or does not answer."""
  client = _job().client
  if count() == 1 or client is None:
    return False
  try:
    return bool(client.key_value_try_get(f'genjax/{name}'))
  except jax.errors.JaxRuntimeError:
    return False
