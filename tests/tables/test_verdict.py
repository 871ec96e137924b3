"""Verdicts on published figures: their intervals, their words, what is no declaration."""

import math

import numpy as np
import pytest

from genjax.tables import export, render, verdict
from genjax.tables.cells import Row
from genjax.types import BadInput
from tests.cells import cells_of, column, finish, table_of, value

COLUMN = column('nll', better='lower')


def ours(low, high, n=3):
  return {'value': (low + high) / 2, 'low': low, 'high': high, 'n': n}


@pytest.mark.parametrize('ends, published, word', [
    ((86.70, 86.90), {'value': 86.76, 'margin': 0.2}, 'reproduced'),
    ((86.70, 86.90), {'value': 86.76, 'margin': 0.1}, 'undecided'),
    ((85.00, 85.20), {'value': 86.76, 'margin': 0.2}, 'better'),
    ((88.00, 88.20), {'value': 86.76, 'margin': 0.2}, 'worse'),
    # on one side of 0, but no further from it than the margin
    ((86.80, 87.10), {'value': 86.76, 'margin': 0.2}, 'undecided'),
    ((86.00, 88.00), {'value': 86.76, 'margin': 0.2}, 'undecided'),
    # the noise of the published mean counts: 1.96 * 1 / sqrt(4) = 0.98
    ((88.00, 88.20), {'value': 87.00, 'margin': 0.2, 'std': 1.0, 'n': 4}, 'worse'),
    ((87.85, 88.05), {'value': 87.00, 'margin': 0.2, 'std': 1.0, 'n': 4}, 'undecided'),
    ((85.00, 85.20), {'value': 86.76, 'margin': 0.2, 'mark': 'shorter schedule'},
     'shorter schedule'),
])
def test_words(ends, published, word):
  made = verdict.of(ours(*ends), COLUMN, published)
  assert made['verdict'] == word
  higher = verdict.of(ours(*ends), column('nll', better='higher'), published)['verdict']
  assert higher == {'better': 'worse', 'worse': 'better'}.get(word, word)


def test_the_interval_is_of_the_difference_and_holds_the_noise_of_both():
  made = verdict.of({'value': 10.0, 'low': 9.0, 'high': 12.0, 'n': 5}, COLUMN,
                    {'value': 7.0, 'margin': 1.0, 'std': 2.0, 'n': 16})
  error = 1.959964 * 2 / 4
  assert math.isclose(made['low'], 3 - math.hypot(1, error))
  assert math.isclose(made['high'], 3 + math.hypot(2, error))


def test_two_equal_methods_are_reproduced_or_undecided_in_95_of_100_trials():
  """Both means have standard error 1 and the margin is small: other words are false alarms."""
  rng, words = np.random.default_rng(0), []
  for a, b in rng.standard_normal((2000, 2)):
    words.append(verdict.of(ours(a - 1.959964, a + 1.959964), COLUMN,
                            {'value': b, 'margin': 1e-6, 'std': 2.0, 'n': 4})['verdict'])
  share = np.mean([word in ('better', 'worse') for word in words])
  assert 0.035 < share < 0.065


@pytest.mark.parametrize('entry, word', [
    (ours(86.7, 86.8, n=2), 'undecided'), ({**ours(86.7, 86.8), 'low': None}, 'undecided')])
def test_too_little_is_known(entry, word):
  assert verdict.of(entry, COLUMN, {'value': 86.76, 'margin': 9.0})['verdict'] == word


def test_without_a_margin_or_a_figure_there_is_none():
  assert verdict.of(ours(1, 2), COLUMN, {'value': 1.0}) is None
  assert verdict.of(None, COLUMN, {'value': 1.0, 'margin': 1.0}) is None


@pytest.mark.parametrize('published, changes, words', [
    ({'margin': 0}, {}, 'margin=0; allowed: numbers above 0'),
    ({'margin': 1.0, 'std': 0.1}, {}, 'std=0.1 needs n'),
    ({'margin': 1.0}, {'better': ''}, 'better=lower or higher'),
    ({'mark': 'short'}, {}, "mark='short'; allowed: shorter schedule, protocol incomplete"),
])
def test_what_is_no_declaration(published, changes, words):
  with pytest.raises(BadInput, match=words):
    verdict.check('r', {**COLUMN, **changes}, {'value': 1.0, **published})


def test_a_verdict_stands_in_the_table_and_in_its_files(tmp_path):
  rows = [Row('long', 'c.py:a', {}, {'fd': {'value': 7.5, 'source': 'Paper, Table 1',
                                            'margin': 0.5, 'std': 0.2, 'n': 3}}),
          Row('short', 'c.py:b', {}, {'fd': {'value': 3.0, 'source': 'Paper, Table 1',
                                             'mark': 'shorter schedule'}})]
  cells = cells_of(rows, tmp_path, 3)
  for cell in cells:
    finish(cell, {'fd': value(5.0 + 0.01 * cell.seed, low=4.9, high=5.1)})
  table = table_of(rows, cells, [column('fd', better='lower')])
  text = render.markdown(table, 't')
  assert '| 7.5 [1]: better [-' in text and '| 3.0 [2]: shorter schedule |' in text
  assert 'sd 0.2 over 3 runs; margin 0.5' in text and '*reproduced* within the margin' in text
  assert ',better,' in export.to_csv(table) and '"verdict": "better"' in export.to_json(table)
