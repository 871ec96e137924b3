"""The hosts of one job: how they find each other, what they tell each other, who writes.

All hosts run one program. What they must agree on goes through the key-value store of
jax.distributed's coordinator, so it needs no device and works while one of them computes.
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

HEARTBEAT = 100  # seconds after which a silent host ends the job, where no config says it
_START = 300  # seconds at least until all hosts have started
PATIENCE = 10.0  # seconds until those who wait say for whom
_uses = collections.Counter()


def start(heartbeat: Callable[[], int], coordinator: str | None = None,
          num_processes: int | None = None, process_id: int | None = None) -> None:
  """Joins the other hosts of the job, if it has any; before anything else is asked of jax.

  Found in the environment (Slurm, GKE, TPU VM, Open MPI) or given: coordinator HOST:PORT, how many
  processes, which one this is. heartbeat(): seconds after which a silent host ends all (exit 134).
  Raises BadInput when only some of the three are given.
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
  jax.config.update('jax_enable_preemption_service', False)  # train/preempt.py is ours
  seconds = heartbeat()
  jax.distributed.initialize(coordinator, num_processes, process_id,
                             initialization_timeout=max(_START, seconds),
                             heartbeat_timeout_seconds=seconds, shutdown_timeout_seconds=seconds)


def in_cluster(env) -> bool:
  """Whether the environment is that of a job of several processes that jax can find."""
  tpu = importlib.util.find_spec('libtpu') and any(
      os.path.exists(device) for device in ('/dev/accel0', '/dev/vfio/0'))
  return (int(env.get('SLURM_NTASKS', 1)) > 1 and 'SLURM_STEP_NODELIST' in env
          or int(env.get('OMPI_COMM_WORLD_SIZE', 1)) > 1
          or ',' in env.get('TPU_WORKER_HOSTNAMES', '') or 'MEGASCALE_COORDINATOR_ADDRESS' in env
          or bool(tpu) and 'TPU_SKIP_MDS_QUERY' not in env)


def stop() -> None:
  """Leaves the other hosts, once all of them are ready to."""
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
  """How many hosts the job has; touches no device."""
  return _job().num_processes or 1


def index() -> int:
  return _job().process_id or 0


def is_lead() -> bool:
  """Whether this is the host that prints, and writes what all of them have."""
  return index() == 0


def exchange(name: str, text: str = '') -> list[str]:
  """The texts of all hosts, in their order; returns when each has called it under this name.

  Those who wait longer than PATIENCE name the missing ones on stderr. A host that died ends the
  wait of the others by the heartbeat.
  """
  if count() == 1:
    return [text]
  client = _job().client
  _uses[name] += 1
  key = f'genjax/{name}/{_uses[name]}'
  client.key_value_set(f'{key}/from/{index()}', text)
  began, said = time.monotonic(), PATIENCE
  while True:
    if is_lead():
      found = _gathered(client, key)
      if len(found) == count():
        texts = [found[i] for i in range(count())]
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
    if time.monotonic() - began > said:
      _say_missing(client, key, name)
      said *= 2


def meet(where: str) -> None:
  """None; returns when all hosts are here, however much later one of them comes.

  Called before the devices are looked at, for which all hosts exchange what they have (a host that
  is two minutes late fails there), and before the first collectives of what was just read or
  compiled (on CPUs a host that is 30 s late fails there, by Gloo). A host that died ends the wait
  by the heartbeat.
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
  """Leaves a notice that every host finds by `noticed`."""
  if count() > 1:
    _job().client.key_value_set(f'genjax/{name}', '1', allow_overwrite=True)


def noticed(name: str) -> bool:
  """Whether some host left the notice; False when the coordinator does not answer, or is left."""
  client = _job().client
  if count() == 1 or client is None:
    return False
  try:
    return bool(client.key_value_try_get(f'genjax/{name}'))
  except jax.errors.JaxRuntimeError:
    return False
