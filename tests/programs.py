"""Runs `python -m MODULE ARGUMENTS` many times in the time of one import.

A server imports the libraries once (not the programs, and no device) and forks a child for each
run, in which the program is `__main__`, with an exit code, streams and exit handlers of its own.
"""

import argparse
import functools
import gc
import hashlib
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 200  # a child that takes longer is killed


class Done(NamedTuple):
  """What a program left behind; seconds: of its process, imports of the libraries excluded."""

  code: int
  stdout: str
  stderr: str
  seconds: float


def run(module: str, *arguments, env=None, parse_only: bool = False) -> Done:
  """Runs a program in a forked child of the server.

  parse_only: it ends with code 0 once it has parsed its arguments, and has done nothing else.
  """
  server = _server(os.getpid())
  with tempfile.TemporaryDirectory() as folder:
    request = {'module': module, 'arguments': [str(a) for a in arguments], 'env': env or {},
               'folder': folder, 'parse_only': parse_only}
    server.stdin.write(json.dumps(request) + '\n')
    server.stdin.flush()
    code, seconds = json.loads(server.stdout.readline())
    streams = [pathlib.Path(folder, name).read_text() for name in ('stdout', 'stderr')]
  return Done(code, *streams, seconds)


def merged(*flags: str) -> list[str]:
  """The last flag of each name: what a test sets stands in place of what its helper does."""
  return list({flag.partition('=')[0]: flag for flag in flags}.values())


def run_in_full(module: str, *arguments, env=None) -> Done:
  """Runs a program as a user does, in a new interpreter; seconds are not measured."""
  done = subprocess.run([sys.executable, '-m', module, *map(str, arguments)], cwd=ROOT, text=True,
                        capture_output=True, timeout=SECONDS, env={**os.environ, **(env or {})})
  return Done(done.returncode, done.stdout, done.stderr, 0.0)


def content(path) -> dict:
  """{relative path: sha256, or '' for a folder} of everything under a path."""
  path = pathlib.Path(path)
  return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file()
          else '' for p in sorted(path.rglob('*'))}


def refused(done: Done, *words: str) -> str:
  """The one message of a program that ended as a user's mistake must; it holds all the words."""
  assert 'Traceback' not in done.stderr + done.stdout, done.stderr
  assert done.code == 1, done
  assert done.stderr.startswith('error: ') and done.stderr.count('error: ') == 1, done.stderr
  for word in words:
    assert word in done.stderr, f'{word!r} is not in: {done.stderr}'
  return done.stderr


@functools.cache
def _server(pid: int) -> subprocess.Popen:
  """One per test process; it ends when its input does."""
  del pid
  return subprocess.Popen([sys.executable, '-W', 'ignore', '-m', 'tests.programs'], cwd=ROOT,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _serve() -> None:
  import ml_collections.config_flags  # noqa: F401
  import orbax.checkpoint  # noqa: F401
  import PIL.Image  # noqa: F401
  import tensorboardX  # noqa: F401

  import experiments  # noqa: F401
  import genjax.runs  # noqa: F401
  import genjax.tables.collect  # noqa: F401

  gc.freeze()  # a child need not copy what it only reads
  for line in sys.stdin:
    request = json.loads(line)
    pid = os.fork()
    if not pid:
      return _child(**request)
    _, status, usage = os.wait4(pid, 0)
    # the time of its processor: the machine may be busy with something else
    reply = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]
    print(json.dumps(reply), flush=True)
  return None


def _child(module: str, arguments: list[str], env: dict, folder: str, parse_only: bool) -> None:
  """Becomes the program; its exit is the exit of this process."""
  signal.alarm(SECONDS)
  os.environ.update(env)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  for descriptor, name in ((1, 'stdout'), (2, 'stderr')):
    os.dup2(os.open(f'{folder}/{name}', os.O_WRONLY | os.O_CREAT), descriptor)
  sys.argv = [module, *arguments]
  if parse_only:
    _stop_after_parsing()
  runpy.run_module(module, run_name='__main__', alter_sys=True)


def _stop_after_parsing() -> None:
  """In this process programs do nothing with the arguments that they have parsed."""
  import experiments
  as_programs_do, parse_args = experiments.run, argparse.ArgumentParser.parse_args

  def run(main, stopped='', **keywords):
    del main
    if stopped:  # of a job of several hosts, which is not to begin
      experiments.define_host_flags()
    as_programs_do(lambda argv: None, **keywords)

  def parse(parser, *arguments, **keywords):
    parse_args(parser, *arguments, **keywords)
    sys.exit(0)

  experiments.run, argparse.ArgumentParser.parse_args = run, parse


if __name__ == '__main__':
  _serve()
