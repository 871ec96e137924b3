"""What a job without a terminal prints of its progress, and a summary that fits on a screen."""

import io
import sys
import time

from experiments import lines
from genjax.evals import card


def test_a_line_says_step_loss_rate_and_time_left():
  bar = lines.Lines(total=5000, initial=1000, unit='step')
  bar.close()
  bar.last = (1000, 100.0)
  bar.set_postfix({'model': '0.53'}, refresh=False)
  bar.update(200)
  assert bar.line(150.0) == ('step 1,200 of 5,000, model 0.53, 4 step/s, 15 min 50 s left')
  assert bar.line(180.0) == 'step 1,200 of 5,000, model 0.53'  # none since the line before
  bar.update(3800)
  assert bar.line(190.0).endswith('380 step/s, 0 s left')


def test_lines_come_while_a_step_takes_long(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', io.StringIO())
  for _ in lines.Lines(['slow'], unit='evaluator', desc='test', interval=0.05):
    time.sleep(0.3)
  said = sys.stderr.getvalue().splitlines()
  assert len(said) >= 2 and set(said) == {'test: evaluator 0 of 1'}


def test_without_a_terminal_there_are_lines_and_on_other_hosts_nothing(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', io.StringIO())
  assert type(lines.show(range(3))) is lines.Lines
  assert list(lines.show(range(3), visible=False)) == [0, 1, 2]
  assert sys.stderr.getvalue() == ''


def test_the_summary_has_ten_lines_and_names_the_file_of_the_rest():
  value = card.plain(1.0, card.make_card('m', estimator='', unit='', split=None), 'none')
  names = ['fd_data', *(f'm{i}' for i in range(9)), 'm3_single', 'm9']
  said = card.summary(dict.fromkeys(names, value), 10, 'run/eval.json').splitlines()
  assert [line.split()[0] for line in said] == [*(f'm{i}' for i in range(9)), 'and']
  assert said[-1] == 'and 3 more in run/eval.json'
  assert len(card.summary(dict.fromkeys(names[:10], value), 10, '').splitlines()) == 10
