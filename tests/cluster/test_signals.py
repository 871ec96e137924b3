"""Signals that ask a program to leave: noted from its first moment, obeyed with a save."""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from genjax.cluster import checkpoint
from tests import jobs
from tests import signals as slow_steps

NOTE = '''
import os, signal, sys, time
sys.path.insert(0, os.getcwd())
from genjax.cluster import signals
signals.block()
os.kill(os.getpid(), signal.SIGTERM)  # waits
pipe = signals.note()
print('ready', flush=True)
noted = set(os.read(pipe, 64))
while len(noted) < int(sys.argv[1]):
  noted |= set(os.read(pipe, 64))
print(sorted(noted))
'''

# steps of 0.2 s; nothing is saved but at the end
SLOW = '''
import itertools, pathlib, sys, time, types
from genjax.cluster import signals
pipe = signals.note()
import jax.numpy as jnp
from genjax.cluster import preempt
from genjax.train import loop
from genjax.types import TrainState
preempt.install(pipe, 'nothing to save')
state = TrainState(jnp.int32(0), {'model': {'w': jnp.zeros(3)}}, {}, (), ())
def dispatch(state, rows):
  time.sleep(0.2)
  print('step', flush=True)
  return state._replace(step=jnp.int32(int(state.step) + 1)), {'model/loss': jnp.ones(1)}
plan = loop.Plan(10**6, 1, 10**6, 10**6, 9, 0, 0)
bar = types.SimpleNamespace(update=lambda n: None, set_postfix=lambda *a, **k: None)
try:
  loop.train(state, {}, dispatch, itertools.repeat(()), plan, pathlib.Path(sys.argv[1]),
             progress=bar, validate=None, write=lambda *row: None)
except preempt.Preempted as stopped:
  print(stopped)
  if len(sys.argv) > 2:
    time.sleep(60)  # a save of a minute
  sys.exit(preempt.EXIT)
'''
TRAIN = ('experiments.train', '--config=configs/digits.py:family=vae,objective=kl')


# whatever the shell that started these tests ignores
BY_DEFAULT = '''
import os, signal, sys
ignored = {int(number) for number in sys.argv[1].split()}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
  signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
'''


def start(code, *arguments, ignored=()):
  """A process whose signals act by default, but for those that it is started with ignored."""
  return subprocess.Popen([sys.executable, '-c', BY_DEFAULT, ' '.join(str(int(n)) for n in ignored),
                           *code, *map(str, arguments)], cwd=jobs.ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_the_first_line(process):
  """Until the program has come to its own first line: before it is Python's start."""
  sigterm = 1 << signal.SIGTERM - 1
  while True:
    status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
    masks = re.findall(r'^Sig(?:Blk|Cgt):\s+(\w+)$', status, re.MULTILINE)
    if any(int(mask, 16) & sigterm for mask in masks):
      return
    time.sleep(0.001)


def test_every_signal_is_noted_and_one_that_waited_too():
  process = start(('-c', NOTE), 4)
  assert process.stdout.readline() == 'ready\n'
  for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    process.send_signal(number)
  out, err = process.communicate(timeout=20)
  assert out == f'{sorted([1, 2, 10, 15])}\n' and process.returncode == 0, err


def test_what_nohup_ignores_stays_ignored():
  process = start(('-c', NOTE), 2, ignored=(signal.SIGHUP, signal.SIGINT))
  assert process.stdout.readline() == 'ready\n'
  for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    process.send_signal(number)
  assert process.communicate(timeout=20)[0] == f'{sorted([10, 15])}\n'


def test_a_second_interrupt_ends_at_once():
  process = start(('-c', NOTE), 9)
  assert process.stdout.readline() == 'ready\n'
  process.send_signal(signal.SIGINT)
  time.sleep(0.3)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  assert process.wait(5) == 130 and 'interrupted twice' in process.stderr.read()


def test_an_interrupt_saves_the_step_and_a_second_one_ends_the_save(tmp_path):
  process = start(('-c', SLOW), tmp_path, 'and saves for a minute')
  assert process.stdout.readline() == 'step\n'
  process.send_signal(signal.SIGINT)
  while (line := process.stdout.readline()) == 'step\n':
    pass
  [step] = checkpoint.steps(tmp_path)
  assert line == f'stopped at step {step}, saved in {tmp_path}\n' and step <= 3
  process.send_signal(signal.SIGINT)
  assert process.wait(5) == 130


@pytest.mark.slow
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGUSR1'])
def test_the_other_signals_save_the_step(tmp_path, name):
  process = start(('-c', SLOW), tmp_path)
  assert process.stdout.readline() == 'step\n'
  process.send_signal(getattr(signal, name))
  assert process.wait(20) == 42 and len(checkpoint.steps(tmp_path)) == 1


@pytest.mark.parametrize('name, after', [
    ('SIGINT', 0.0), pytest.param('SIGTERM', 0.2, marks=pytest.mark.slow),
    pytest.param('SIGINT', 0.8, marks=pytest.mark.slow),
    pytest.param('SIGHUP', 0.5, marks=pytest.mark.slow)])
def test_a_signal_in_the_first_second_ends_in_the_promised_code(tmp_path, name, after):
  process = start(('-m', *TRAIN), f'--workdir={tmp_path / "run"}')
  wait_for_the_first_line(process)
  time.sleep(after)
  process.send_signal(getattr(signal, name))
  out, err = process.communicate(timeout=60)
  assert process.returncode == 42
  assert out == '' or after > 0.5  # later the line that says what is trained may stand there
  assert err == ('stopped before the first step: there was nothing to save; the same command '
                 'starts again\n')
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
@pytest.mark.parametrize('verb, words', [('sample', 'samples were written'),
                                         ('evaluate', 'figures were written')])
def test_what_has_nothing_to_save_says_so_in_its_own_words(tmp_path, verb, words):
  process = start(('-m', f'experiments.{verb}'), f'--workdir={tmp_path / "run"}')
  wait_for_the_first_line(process)
  process.send_signal(signal.SIGTERM)
  err = process.communicate(timeout=60)[1]
  assert process.returncode == 42 and words in err and 'nothing to save' in err, err


@pytest.mark.slow
def test_signals_in_slow_steps():
  with tempfile.TemporaryDirectory() as folder:
    stops = slow_steps.soak(pathlib.Path(folder), 2, seed=0, seconds=2.0)
  assert all(result.is_right() for result in stops), stops
