"""Mutated files and config arguments end in data or one message: no traceback, hang or hunger."""

import os

import pytest

from genjax.types import BadInput
from tests import fuzz, programs


def test_some_mutants_of_each_kind():
  # in a process of its own: one whose device has threads cannot be forked safely
  done = programs.run_in_full('tests.fuzz', '--seed=0', '--num=90')
  assert done.code == 0 and '90 cases' in done.stdout, done.stdout
  assert all(f'{kind}: ' in done.stdout for kind in fuzz.READERS)


@pytest.mark.slow
def test_a_minute_of_mutants():
  done = programs.run_in_full('tests.fuzz', '--seed=1', '--num=1000000', '--seconds=60')
  assert done.code == 0, done.stdout


@pytest.mark.filterwarnings('ignore:os.fork')  # these readers touch no device
@pytest.mark.parametrize(('name', 'ended'), [
    ('raise', 'ZeroDivisionError'), ('hang', 'no end within'), ('die', 'process died'),
    ('eat', 'MiB beyond the start'), ('shout', 'a message of 9000 letters')])
def test_what_is_looked_for_is_found(name, ended, monkeypatch):
  """A reader that fails in each way is reported with its case."""
  def failing(path):
    if name == 'raise':
      return 1 / 0
    if name == 'die':
      os._exit(3)
    if name == 'shout':
      raise BadInput('a' * 9000)
    while name == 'hang':
      pass
    return len(b'1' * (4 * fuzz.MEMORY))

  monkeypatch.setattr(fuzz, 'READERS', {'png': failing})
  monkeypatch.setattr(fuzz, 'LIMIT', 1.0 if name == 'hang' else 20.0)
  monkeypatch.setattr(fuzz, 'MEMORY', 16 << 20)
  counts, failures = fuzz.fuzz(seed=0, num=1)
  assert [(kind, i) for kind, _, i, _ in failures] == [('png', 0)] and ended in failures[0][3]
  assert counts == {('png', 'failed'): 1}
