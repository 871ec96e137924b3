"""The figure of a table: one column against another, with a line for each curve that rows name."""

import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from genjax.types import BadInput

SIZE, DPI = (7.0, 4.5), 130  # inches
MARKS = 'osD^v<>pP*Xh'
SCALES = ('log', 'linear', 'category')
ROW = 'row'  # as x: the labels of the rows, which are categories
KEYS = ('x', 'y', 'x_scale', 'y_scale')


def check(figure: Mapping, rows: Sequence, columns: Sequence[Mapping], path: str) -> None:
  """Raises BadInput for a figure that the table can never draw.

  figure: what figure() of a table config returns: 'x' and 'y', labels of columns (x may be 'row'),
  'x_scale' and 'y_scale'. x_scale defaults to 'log', for 'row' to 'category'. y_scale is 'linear',
  or by default 'log', which is linear below the smallest positive value.
  rows, columns: of the table; path: of its config, for messages.
  """
  labels = [column['label'] for column in columns]
  stray = [key for key in figure if key not in KEYS]
  if stray or not {'x', 'y'} <= set(figure):
    raise BadInput(f'{path}: figure() returns {", ".join(figure) or "nothing"}; '
                   f'allowed: {", ".join(KEYS)}, of which x and y must be there')
  for key, allowed in (('x', [*labels, ROW]), ('y', labels)):
    if figure[key] not in allowed:
      raise BadInput(f'{path}: figure() has {key}={figure[key]!r}; '
                     f'allowed: {", ".join(map(repr, allowed))}')
  for key, allowed in (('x_scale', SCALES), ('y_scale', SCALES[:2])):
    if figure.get(key, 'log') not in allowed:
      raise BadInput(f'{path}: figure() has {key}={figure[key]!r}; allowed: {", ".join(allowed)}')
  if figure['x'] == ROW and figure.get('x_scale', 'category') != 'category':
    raise BadInput(f"{path}: figure() has x='row' and x_scale={figure['x_scale']!r}; "
                   'allowed: category')
  if not any(row.curve for row in rows):
    raise BadInput(f'{path} has a figure(), but no row names the curve that it is a point of; '
                   "allowed: add(..., curve='NAME') for the rows of the figure")


def curves(table: Mapping, x: str, y: str) -> dict[str, list[tuple]]:
  """{curve: [(x, y, low, high), ...]} of the rows that have both values, in the order of x.

  table: of `collect`; x, y: labels of columns; x 'row': the labels of the rows, in their order.
  low, high: the interval that includes evaluation noise, else that over seeds, or None. Raises
  BadInput for a label that no column has.
  """
  labels = [column['label'] for column in table['columns']]
  for label in (x, y):
    if label not in labels and (label, x) != (ROW, ROW):
      raise BadInput(f'a figure of {label!r}; allowed: {", ".join(map(repr, labels))}')
  points = {}
  for row in table['rows']:
    across = row['label'] if x == ROW else (row['values'][x] or {}).get('value')
    up = row['values'][y]
    if not row['curve'] or across is None or not up or up['value'] is None:
      continue
    value, half, low, high = (up[key] for key in ('value', 'half_width', 'low', 'high'))
    if low is None and half is not None:
      low, high = value - half, value + half
    points.setdefault(row['curve'], []).append((across, value, low, high))
  return points if x == ROW else {
      name: sorted(line, key=lambda point: point[0]) for name, line in points.items()}


def draw(table: Mapping, file: str | pathlib.Path | BinaryIO, x: str, y: str, x_scale: str = '',
         y_scale: str = 'log') -> bool:
  """Whether there is a point to draw; if so, writes `plot` of the other arguments as a PNG."""
  figure = plot(table, x, y, x_scale, y_scale)
  if figure is not None:
    figure.savefig(file, format='png')
  return figure is not None


def plot(table: Mapping, x: str, y: str, x_scale: str = '', y_scale: str = 'log'):
  """The matplotlib figure of the curves, or None if no row has both values.

  table, x, y: see `curves`.
  x_scale: log, linear, or category (evenly spaced); '': category for rows, else log.
  y_scale: linear, or log above the smallest positive value, since an excess may be negative.
  """
  from matplotlib.figure import Figure  # without pyplot: no window system, no global state
  lines = curves(table, x, y)
  if not lines:
    return None
  figure = Figure(figsize=SIZE, dpi=DPI, layout='constrained')
  axes = figure.add_subplot()
  x_scale = x_scale or ('category' if x == ROW else 'log')
  places = _places(table, lines) if x_scale == 'category' else {}
  for i, (name, points) in enumerate(lines.items()):
    across, up, low, high = zip(*points, strict=True)
    spread = [[0.0 if end is None else max(sign * (value - end), 0.0)
               for value, end in zip(up, ends, strict=True)]
              for sign, ends in ((1, low), (-1, high))]
    axes.errorbar([places.get(value, value) for value in across], up, spread, label=name,
                  marker=MARKS[i % len(MARKS)], markersize=4, linewidth=1.2, elinewidth=0.8,
                  capsize=2)
  if places:
    _label(axes.xaxis, places.values(), [p if x == ROW else f'{p:g}' for p in places])
    axes.tick_params('x', rotation=45 if x == ROW else 0)
  elif x_scale == 'log':
    axes.set_xscale('log')
    _label(axes.xaxis, ticks(*axes.get_xlim()))
  if y_scale == 'log':
    _log_above(axes, [point for points in lines.values() for point in points])
  axes.set(xlabel=x, ylabel=y)
  axes.grid(which='major', linewidth=0.3)
  figure.legend(fontsize=8, loc='outside right upper')
  return figure


def ticks(low: float, high: float) -> list[float]:
  """At least two round numbers in [low, high], 0 < low < high, for a logarithmic axis.

  They are 1, 2 and 5 times powers of ten, or powers alone over more than four decades. If the range
  has fewer than three of them, they are even steps.
  """
  from matplotlib.ticker import MaxNLocator
  decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  parts = (1.0,) if math.log10(high / low) > 4 else (1.0, 2.0, 5.0)
  inside = [part * 10.0 ** k for k in decades for part in parts if low <= part * 10.0 ** k <= high]
  if len(inside) >= 3:
    return inside
  steps = MaxNLocator(5, min_n_ticks=3).tick_values(low, high)
  return [float(step) for step in steps if low <= step <= high]


def _places(table: Mapping, lines: Mapping) -> dict:
  """{value: 0, 1, ...} for categories: labels in the order of the rows, numbers sorted."""
  values = {point[0] for points in lines.values() for point in points}
  if all(isinstance(value, str) for value in values):
    values = [row['label'] for row in table['rows'] if row['label'] in values]
  else:
    values = sorted(values)
  return {value: float(place) for place, value in enumerate(values)}


def _log_above(axes, points: Iterable[tuple]) -> None:
  """Makes the y axis logarithmic; linear around 0 if a value or interval is not positive."""
  points = list(points)
  ends = [end for _, *numbers in points for end in numbers if end is not None]
  positive = [value for _, value, *_ in points if value > 0]
  if not positive:
    return  # nothing to take a logarithm of
  if min(ends) > 0:
    axes.set_yscale('log')
    _label(axes.yaxis, ticks(*axes.get_ylim()))
    return
  edge = 10.0 ** math.floor(math.log10(min(positive)))
  axes.set_yscale('symlog', linthresh=edge)
  low, high = axes.get_ylim()
  below = ticks(edge, -low) if low < -edge else []
  _label(axes.yaxis, [*(-place for place in below[::-1]), 0.0, *ticks(edge, high)])
  axes.set_ylim(low, high)  # ticks outside would widen them


def _label(axis, places: Iterable[float], labels: Sequence[str] = ()) -> None:
  """Sets the ticks of an axis to these places, with the labels, by default the numbers."""
  from matplotlib.ticker import NullFormatter, NullLocator
  places = list(places)
  axis.set_minor_locator(NullLocator())
  axis.set_minor_formatter(NullFormatter())
  axis.set_ticks(places, labels=list(labels) or [f'{place:g}' for place in places])
