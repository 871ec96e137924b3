"""Differences between two rows of a table, paired by seed: what an ablation claims."""

from collections.abc import Mapping, Sequence

import numpy as np

from genjax.tables import interval, verdict
from genjax.types import BadInput

FIELDS = {'label', 'row', 'less', 'column', 'published'}


def check(contrasts: Sequence[Mapping], rows: Sequence, columns: Sequence[Mapping]) -> None:
  """Raises BadInput for a contrast of rows or a column that the table does not have.

  contrasts: [{'label', 'row', 'less': labels of rows, 'column': label of a column, 'published':
  {name: as a row's published figure}}].
  """
  labels, by_label = [row.label for row in rows], {c['label']: c for c in columns}
  for contrast in contrasts:
    if set(contrast) != FIELDS:
      raise BadInput(f'contrast {dict(contrast)}: allowed: exactly {", ".join(sorted(FIELDS))}')
    for row in (contrast['row'], contrast['less']):
      if row not in labels:
        raise BadInput(f'contrast {contrast["label"]!r}: no row {row!r}; allowed: '
                       f'{", ".join(labels)}')
    if contrast['column'] not in by_label:
      raise BadInput(f'contrast {contrast["label"]!r}: no column {contrast["column"]!r}; allowed: '
                     f'{", ".join(by_label)}')
    for published in contrast['published'].values():
      verdict.check(contrast['label'], by_label[contrast['column']], published)


def of(contrast: Mapping, table: Mapping) -> dict | None:
  """{'value', 'half_width', 'low', 'high', 'n', 'verdicts'} of a contrast; None without seeds.

  table: of `collect`. The interval is the t interval over the seeds that both rows have: for other
  seeds on the same test data, on which both rows were measured.
  """
  seeds = {row['label']: (row['values'][contrast['column']] or {}).get('seeds', {})
           for row in table['rows']}
  of_row, of_less = seeds[contrast['row']], seeds[contrast['less']]
  both = [seed for seed in of_row if None not in (of_row[seed], of_less.get(seed))]
  if not both:
    return None
  values = np.array([of_row[seed] - of_less[seed] for seed in both])
  value, half = float(values.mean()), interval.t_half_width(values)
  ends = (None, None) if half is None else (value - half, value + half)
  entry = {'value': value, 'half_width': half, 'low': ends[0], 'high': ends[1], 'n': len(both)}
  column = next(c for c in table['columns'] if c['label'] == contrast['column'])
  return {**entry, 'verdicts': {name: verdict.of(entry, column, published)
                                for name, published in contrast['published'].items()}}


def collected(contrasts: Sequence[Mapping], table: Mapping) -> dict:
  """The table with 'contrasts': each with 'difference', see `of`."""
  return {**table, 'contrasts': [{**each, 'difference': of(each, table)} for each in contrasts]}


def section(table: Mapping, number, marked) -> str:
  """The Markdown section of the contrasts of a table, see `collected`.

  number: (value, digits) -> text; marked: (published, verdict, digits) -> text of its cell.
  """
  contrasts = table['contrasts']
  names = list(dict.fromkeys(name for each in contrasts for name in each['published']))
  lines = ['## Differences', '', '| row less row | column | ours | ' + ''.join(
      f'{name} | ' for name in names), '|---' * (3 + len(names)) + '|']
  for contrast in contrasts:
    column = next(c for c in table['columns'] if c['label'] == contrast['column'])
    entry, text = contrast['difference'], 'missing'
    if entry:
      text = number(entry['value'], column['digits'])
      if entry['half_width'] is not None:
        text += f' ± {number(entry["half_width"], column["digits"])}'
      text += ' (n = 1)' if entry['n'] == 1 else f' ({entry["n"]} seeds)'
    cells = [marked(contrast['published'].get(name), (entry or {}).get('verdicts', {}).get(name),
                    column['digits']) for name in names]
    lines.append('| ' + ' | '.join([contrast['label'], contrast['column'], text, *cells]) + ' |')
  lines += ['', f'`a ± b`: mean and {table["level"]:.0%} t interval of the differences between '
            'runs of equal seed, on the same test data, whose noise it does not hold.']
  return '\n'.join(lines)
