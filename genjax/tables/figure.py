"""The curves of a table: one column against another, a line for each curve that the rows name."""

import math
import pathlib
from collections.abc import Mapping

from genjax.types import BadInput

SIZE, DPI = (7.0, 4.5), 130  # inches
MARKS = 'osD^v<>pP*Xh'


def curves(table: Mapping, x: str, y: str) -> dict[str, list[tuple]]:
  """{curve: [(x, y, low, high), ...] by x} of the rows that have both values.

  table: of `collect`; x, y: labels of columns. low, high: the interval over seeds, or that of one
  seed, or None. Raises BadInput for a label that is no column.
  """
  labels = [column['label'] for column in table['columns']]
  for label in (x, y):
    if label not in labels:
      raise BadInput(f'a figure of {label!r}; allowed: {", ".join(map(repr, labels))}')
  found = {}
  for row in table['rows']:
    across, up = row['values'][x], row['values'][y]
    if not row['curve'] or not across or not up or None in (across['value'], up['value']):
      continue
    value, half = up['value'], up['half_width']
    low, high = (up['low'], up['high']) if half is None else (value - half, value + half)
    found.setdefault(row['curve'], []).append((across['value'], value, low, high))
  return {name: sorted(points, key=lambda point: point[0]) for name, points in found.items()}


def draw(table: Mapping, path: pathlib.Path, x: str, y: str) -> bool:
  """Writes a PNG, x on a log axis, and whether there was a point to draw.

  y is on a log axis down to its smallest positive value and linear below: an excess may be
  negative.
  """
  from matplotlib.figure import Figure  # without pyplot: no window system, no global state
  from matplotlib.ticker import LogLocator, NullFormatter
  found = curves(table, x, y)
  if not found:
    return False
  figure = Figure(figsize=SIZE, dpi=DPI, layout='constrained')
  axes = figure.add_subplot()
  for i, (name, points) in enumerate(found.items()):
    across, up, low, high = zip(*points, strict=True)
    spread = [[0.0 if end is None else max(sign * (value - end), 0.0)
               for value, end in zip(up, ends, strict=True)]
              for sign, ends in ((1, low), (-1, high))]
    axes.errorbar(across, up, spread, label=name, marker=MARKS[i % len(MARKS)], markersize=4,
                  linewidth=1.2, elinewidth=0.8, capsize=2)
  axes.set_xscale('log')
  axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
  axes.xaxis.set_major_formatter('{x:g}')
  axes.xaxis.set_minor_formatter(NullFormatter())
  positive = [point[1] for points in found.values() for point in points if point[1] > 0]
  if positive:
    axes.set_yscale('symlog', linthresh=10.0 ** math.floor(math.log10(min(positive))))
  axes.set(xlabel=x, ylabel=y)
  axes.grid(which='major', linewidth=0.3)
  figure.legend(fontsize=8, loc='outside right upper')
  figure.savefig(path, format='png')
  return True
