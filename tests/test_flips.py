"""The tool that flips bits sees what it is for; and a small round of it."""

import os
import random
import re
import subprocess
import sys
import warnings

import pytest

from genjax.types import BadInput
from tests import flips, programs, rereading


def warned():
  warnings.warn('older step', stacklevel=1)
  return {'fd': '2'}


def refused():
  raise BadInput('damaged')


@pytest.mark.parametrize('read, expected', [
    (lambda: {'fd': '1'}, ('recomputed', '')),
    (lambda: {'fd': '2'}, ('silent', 'fd')),
    (dict, ('silent', 'fd')),
    (warned, ('said', 'older step')),
    (refused, ('refused', 'damaged'))])
def test_an_outcome_is_what_a_user_meets(read, expected):
  assert rereading.outcome(read, {'fd': '1'}, {'a usual word'}) == expected


def test_a_word_that_is_always_said_says_nothing_of_a_damage():
  assert rereading.outcome(warned, {'fd': '1'}, {'older step'}) == ('silent', 'fd')


def test_another_exception_is_a_crash():
  outcome, words = rereading.outcome(lambda: {}['fd'], {}, set())
  assert outcome == 'crash' and 'KeyError' in words


@pytest.mark.parametrize('operation, at, expected', [
    ('bit', 0, b'\x01\x00\x00'), ('bit', 15, b'\x00\x80\x00'), ('cut', 1, b'\x00'),
    ('cut', 0, b'')])
@pytest.mark.parametrize('keeps_time', [True, False])
def test_a_damage_is_of_one_copy(tmp_path, operation, at, expected, keeps_time):
  pristine, live = tmp_path / 'pristine', tmp_path / 'live'
  pristine.mkdir()
  (pristine / 'file').write_bytes(bytes(3))
  os.utime(pristine / 'file', ns=(10**18, 10**18))
  flips.restore(pristine, live)
  flips.damage(live, flips.Flip('file', operation, at, keeps_time))
  assert (live / 'file').read_bytes() == expected
  assert (pristine / 'file').read_bytes() == bytes(3)
  assert ((live / 'file').stat().st_mtime_ns == 10**18) == keeps_time


def test_what_a_reader_opens_is_seen_with_the_arrays_of_a_checkpoint(tmp_path):
  step = tmp_path / 'runs' / 'a' / 'checkpoints' / '10'
  step.mkdir(parents=True)
  for name in ('checkpoint.json', 'arrays', 'other'):
    (step / name).write_text('x')
  (tmp_path / 'unread').write_text('x')
  opened = rereading.Opened(tmp_path)
  with opened.watch() as paths:
    (step / 'checkpoint.json').read_text()
  assert {flips.kind_of(path) for path in paths} == {'checkpoint: index', 'checkpoint: arrays'}
  assert len(paths) == 3 and 'unread' in flips.by_kind(tmp_path)


def test_the_same_seed_draws_the_same_damages(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).write_bytes(bytes(5))
  draws = []
  for seed in (1, 1, 2):
    random_, files = random.Random(seed), flips.by_kind(tmp_path)
    draws.append([flips.draw(random_, tmp_path, files, {'a'}) for _ in range(40)])
  assert draws[0] == draws[1] != draws[2]
  # nine in ten are of what is read
  assert 20 < sum(flip.path == 'a' for flip in draws[0]) < 40


@pytest.mark.slow
def test_no_figure_changes_without_a_word():
  done = subprocess.run([sys.executable, '-m', 'tests.flips', '--num=15', '--seed=0'],
                        cwd=programs.ROOT, capture_output=True, text=True, timeout=900)
  assert done.returncode == 0, done.stdout + done.stderr
  totals = dict(zip(rereading.OUTCOMES, map(int, re.findall(
      r'^\| all \|(.*)\|$', done.stdout, re.MULTILINE)[0].split('|')), strict=True))
  assert sum(totals.values()) == 15 and totals['refused'] and totals['recomputed']
