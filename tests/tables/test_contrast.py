"""Differences between rows: paired by seed, with what was published next to them."""

import numpy as np
import pytest
from scipy import stats

from genjax.tables import contrast, export, render
from genjax.tables.cells import Row
from genjax.types import BadInput
from tests.cells import cells_of, column, finish, table_of, value

ROWS = [Row('a', 'c.py:a'), Row('b', 'c.py:b')]
COLUMN = column('fd', label='FD', better='lower', digits=2)
OF_TWO = {'label': 'a - b', 'row': 'a', 'less': 'b', 'column': 'FD', 'published': {
    'paper': {'value': 1.0, 'source': 'Paper, Table 2', 'margin': 0.5}}}
A, B = [3.0, 4.0, 6.0], [2.1, 2.9, 5.0]


def filled(root, seeds=3):
  cells = cells_of(ROWS, root, seeds)
  for cell in cells:
    finish(cell, {'fd': value({'a': A, 'b': B}[cell.label][cell.seed])})
  return table_of(ROWS, cells, [COLUMN])


def test_the_interval_is_that_of_the_paired_differences(tmp_path):
  entry = contrast.of(OF_TWO, filled(tmp_path))
  expected = stats.ttest_rel(A, B).confidence_interval(0.95)
  np.testing.assert_allclose((entry['low'], entry['high']), expected)
  assert entry['n'] == 3 and abs(entry['value'] - 1.0) < 1e-12
  assert entry['verdicts'] == {'paper': {'verdict': 'reproduced', 'low': entry['low'] - 1.0,
                                         'high': entry['high'] - 1.0}}


def test_it_stands_on_the_page_with_its_source(tmp_path):
  text = render.markdown(contrast.collected([OF_TWO], filled(tmp_path)), 't')
  assert '| row less row | column | ours | paper |' in text
  assert '| a - b | FD | 1.00 ± 0.25 (3 seeds) | 1.0 [1]: reproduced [-0.25, 0.25] |' in text
  assert '[1] Paper, Table 2; protocol: not stated; margin 0.5' in text
  assert '"difference"' in export.to_json(contrast.collected([OF_TWO], filled(tmp_path)))


def test_one_seed_has_no_interval_and_no_seed_no_value(tmp_path):
  entry = contrast.of(OF_TWO, filled(tmp_path, 1))
  assert entry['n'] == 1 and entry['low'] is None
  assert entry['verdicts']['paper']['verdict'] == 'undecided'
  empty = table_of(ROWS, cells_of(ROWS, tmp_path / 'other', 2), [COLUMN])
  assert contrast.of(OF_TWO, empty) is None
  assert '| a - b | FD | missing | 1.0 [1] |' in render.markdown(
      contrast.collected([OF_TWO], empty), 't')


@pytest.mark.parametrize('change, words', [
    ({'row': 'c'}, "no row 'c'; allowed: a, b"), ({'column': 'fd'}, "no column 'fd'; allowed: FD"),
    ({'minus': 'b'}, 'allowed: exactly column, label, less, published, row'),
    ({'published': {'paper': {'value': 1.0, 'margin': -1}}}, 'margin=-1')])
def test_what_is_no_contrast(change, words):
  with pytest.raises(BadInput, match=words):
    contrast.check([{**OF_TWO, **change}], ROWS, [COLUMN])
