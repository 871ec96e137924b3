"""The curves of a table: which points, on which axes, with which labels; faults before the work."""

import pytest

from genjax.tables import figure
from genjax.tables.cells import Row
from genjax.types import BadInput
from tests.cells import ROWS, cells_of, column, finish, table_of, value


def test_curves_are_by_rows_that_name_them(tmp_path):
  rows = [Row(f'{name} {k}', f'c.py:{name}{k}', curve=name) for name in ('a', 'b') for k in (8, 4)]
  rows.append(Row('no point', 'c.py:none'))
  cells = cells_of(rows, tmp_path, 1)
  for i, cell in enumerate(cells):
    finish(cell, {'fd': value(float(i) - 1.0, float(i) - 2.0, float(i) + 1.0),
                  'nfe': value(float(8 - 4 * (i % 2)))})
  table = table_of(rows, cells, [column(), column('nfe')])
  found = figure.curves(table, 'nfe', 'fd')
  assert found == {'a': [(4.0, 0.0, -1.0, 2.0), (8.0, -1.0, -2.0, 1.0)],
                   'b': [(4.0, 2.0, 1.0, 4.0), (8.0, 1.0, 0.0, 3.0)]}
  assert figure.draw(table, tmp_path / 'curves.png', 'nfe', 'fd')
  assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')
  with pytest.raises(BadInput, match="'FD'; allowed: 'fd', 'nfe'"):
    figure.curves(table, 'nfe', 'FD')
  assert not figure.draw(table_of(ROWS, cells_of(ROWS, tmp_path / 'b', 1),
                                  [column(), column('nfe')]), tmp_path / 'no.png', 'nfe', 'fd')




def line_of(points, **scales):
  """The axes of a figure with one curve through the points."""
  rows = [{'label': f'row {i}', 'curve': 'a', 'values': {'nfe': {'value': x}, 'fd': {
      'value': y, 'half_width': None, 'low': None, 'high': None}}} for i, (x, y) in
      enumerate(points)]
  drawn = figure.plot({'columns': [column('nfe'), column()], 'rows': rows},
                      scales.pop('x', 'nfe'), 'fd', **scales)
  drawn.canvas.draw()
  return drawn.axes[0]


def labels(axis, limits):
  """The tick labels that are to be seen."""
  low, high = sorted(limits)
  side = int(axis.axis_name == 'y')
  return [tick.get_text() for tick in axis.get_ticklabels()
          if tick.get_text() and low - 1e-9 <= tick.get_position()[side] <= high + 1e-9]


@pytest.mark.parametrize('points', [
    [(3, 0.3), (4, 0.9)], [(1, 1e-3), (1000, 1e4)], [(4, -0.5), (8, 3.0)], [(5, 1.0)],
    [(3, 0.51), (3.5, 0.52)], [(1, -1.0), (2, -2.0)], [(1, 0.0), (2, 2.0)]])
def test_axes_have_tick_labels_whatever_their_range(points):
  for scales in ({}, {'x_scale': 'linear', 'y_scale': 'linear'}):
    axes = line_of(points, **scales)
    assert len(labels(axes.xaxis, axes.get_xlim())) >= 2
    assert len(labels(axes.yaxis, axes.get_ylim())) >= 2


def test_categories_stand_at_even_distances():
  axes = line_of([(1, 0.3), (1000, 0.9), (8, 0.5)], x_scale='category')
  assert labels(axes.xaxis, axes.get_xlim()) == ['1', '8', '1000']
  assert list(axes.lines[0].get_xdata()) == [0.0, 1.0, 2.0]
  axes = line_of([(1, 0.3), (1000, 0.9)], x='row')
  assert labels(axes.xaxis, axes.get_xlim()) == ['row 0', 'row 1']


def test_linear_axes_are_linear():
  axes = line_of([(1, 0.3), (10, 0.9)], x_scale='linear', y_scale='linear')
  assert (axes.get_xscale(), axes.get_yscale()) == ('linear', 'linear')
  assert line_of([(1, 0.3), (10, 0.9)]).get_yscale() == 'log'


@pytest.mark.parametrize('given, words', [
    ({'x': 'nfe', 'y': 'FD'}, "y='FD'; allowed: 'fd', 'nfe'"),
    ({'x': 'nfe'}, 'x and y must be there'),
    ({'x': 'nfe', 'y': 'fd', 'z': 'fd'}, 'allowed: x, y, x_scale, y_scale'),
    ({'x': 'nfe', 'y': 'fd', 'x_scale': 'logarithmic'}, 'allowed: log, linear, category'),
    ({'x': 'nfe', 'y': 'fd', 'y_scale': 'category'}, 'allowed: log, linear'),
    ({'x': 'row', 'y': 'fd', 'x_scale': 'log'}, 'allowed: category')])
def test_a_figure_that_cannot_be_drawn_is_refused_before_the_work(given, words):
  with pytest.raises(BadInput, match=words):
    figure.check(given, [Row('a', 'c.py', curve='b')], [column(), column('nfe')], 't.py')


def test_a_figure_without_a_curve_is_refused():
  with pytest.raises(BadInput, match="t.py has a figure.*curve='NAME'"):
    figure.check({'x': 'nfe', 'y': 'fd'}, [Row('a', 'c.py')], [column(), column('nfe')], 't.py')
