"""Verdicts: whether a figure of ours agrees with the one that a paper printed."""

import math
from collections.abc import Mapping

from genjax.types import BadInput

# of a published figure: reasons why the comparison cannot decide anything
MARKS = ('shorter schedule', 'protocol incomplete')
MIN_SEEDS = 3
QUANTILE = 1.959964  # of a normal distribution, for an interval of 95 %


def check(label: str, column: Mapping, published: Mapping) -> None:
  """Raises BadInput for a published figure of row `label` whose verdict is not well declared."""
  what = f'row {label!r}, published {column["label"]!r}: '
  mark, margin, std = (published.get(key) for key in ('mark', 'margin', 'std'))
  if mark is not None and mark not in MARKS:
    raise BadInput(f'{what}mark={mark!r}; allowed: {", ".join(MARKS)}')
  if margin is None:
    return
  if not margin > 0:
    raise BadInput(f'{what}margin={margin!r}; allowed: numbers above 0')
  if column['better'] not in ('lower', 'higher') or column['reduction'] != 'mean':
    raise BadInput(f'{what}a margin needs a column of means with better=lower or higher')
  if std is not None and not published.get('n', 0) >= 2:
    raise BadInput(f'{what}std={std!r} needs n, the number of runs (2 or more) that it is of')


def of(entry: Mapping | None, column: Mapping, published: Mapping) -> dict | None:
  """{'verdict', 'low', 'high'} of our figure less the published one; None where none is declared.

  entry: the summary of our seeds; published: {'value', 'margin', 'std'?, 'n'?, 'mark'?}.
  low, high: the 95 % interval of the difference. It is ours, seeds and evaluation noise, with the
  standard error std / sqrt(n) of the published mean in quadrature where it was printed.

  The verdict is 'reproduced' if the interval lies within +-margin; else 'better' or 'worse' if it
  is wholly on one side of 0 and the difference is larger than the margin; else 'undecided', as with
  fewer than three seeds or no interval. A mark is the verdict.
  """
  if published.get('mark'):
    return {'verdict': published['mark'], 'low': None, 'high': None}
  if 'margin' not in published or entry is None or entry['value'] is None:
    return None
  if entry['n'] < MIN_SEEDS or entry['low'] is None:
    return {'verdict': 'undecided', 'low': None, 'high': None}
  error = (QUANTILE * published['std'] / math.sqrt(published['n']) if published.get('std') else 0.0)
  difference, margin = entry['value'] - published['value'], published['margin']
  low = difference - math.hypot(entry['value'] - entry['low'], error)
  high = difference + math.hypot(entry['high'] - entry['value'], error)
  if -margin <= low and high <= margin:
    word = 'reproduced'
  elif low * high > 0 and abs(difference) > margin:
    word = 'better' if (difference < 0) == (column['better'] == 'lower') else 'worse'
  else:
    word = 'undecided'
  return {'verdict': word, 'low': low, 'high': high}
