"""Programs of this repository as jobs of several processes, for tests that kill them."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parent.parent


def parse(layout: str) -> tuple[int, int, int]:
  """Processes, devices of each, and fsdp of PxDfF."""
  processes, _, rest = layout.partition('x')
  devices, _, fsdp = rest.partition('f')
  return int(processes), int(devices), int(fsdp)


def free_port() -> int:
  with contextlib.closing(socket.socket()) as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def launch(module: str, layout: str, log: pathlib.Path, *arguments: str) -> list[subprocess.Popen]:
  """The processes of a job on PxDfF, each with its output appended to LOG.RANK."""
  processes, devices, _ = parse(layout)
  env = {**os.environ, 'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}'}
  port, started = free_port(), []
  for rank in range(processes):
    hosts = [f'--coordinator=localhost:{port}', f'--num_processes={processes}',
             f'--process_id={rank}'] if processes > 1 else []
    with open(f'{log}.{rank}', 'a') as output:
      started.append(subprocess.Popen([sys.executable, '-m', module, *arguments, *hosts], cwd=ROOT,
                                      stdout=output, stderr=output, env=env))
  return started


def finish(job: list[subprocess.Popen], seconds: float = 300.0) -> list[int]:
  """Exit codes of all processes; those that outlive the time are killed, and TimeoutError."""
  end = time.monotonic() + seconds
  try:
    return [process.wait(max(0.01, end - time.monotonic())) for process in job]
  except subprocess.TimeoutExpired as error:
    raise TimeoutError(f'still running after {seconds} s: {error.cmd}') from None
  finally:
    for process in job:
      if process.poll() is None:
        process.kill()
        process.wait()


def wait_until(reached: Callable[[], bool], job: list[subprocess.Popen]) -> bool:
  """True when `reached`; False when a process has ended before."""
  while not reached():
    if any(process.poll() is not None for process in job):
      return False
    time.sleep(0.01)
  return True
