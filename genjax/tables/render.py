"""A collected table as Markdown."""

from collections.abc import Mapping
from types import MappingProxyType

from genjax.tables import contrast
from genjax.tables.collect import NOT_PROTOCOL

ARROWS = {'lower': ' ↓', 'higher': ' ↑', '': ''}
ABSENT = '–'  # the row has no such metric
FLOOR_LABEL = '*the data themselves*'


def markdown(table: Mapping, title: str, note: str = '',
             pictures: Mapping[str, str] = MappingProxyType({})) -> str:
  """The page of a table: rows, missing cells with the commands that fill them, notes, protocol.

  table: of `collect`, perhaps with contrasts (`contrast.collected`); note: a text below it;
  pictures: {caption: file}.
  """
  notes = []  # footnotes in the order in which the rows need them
  axes = list(dict.fromkeys(axis for row in table['rows'] for axis in table['axes'][row['label']]))
  head = ['']
  for column in table['columns']:
    head += [column['label'] + ARROWS[column['better']],
             *(f'{_kind(table, m)} {column["label"]}' for m in _published(table, column))]
  head += [*axes, 'seeds']
  lines = ['| ' + ' | '.join(map(_cell, head)) + ' |', '|---' * len(head) + '|']
  if any(table['floors'].values()):
    floors = [text for c in table['columns']
              for text in (_floor(table['floors'].get(c['label']), c['digits']),
                           *('' for _ in _published(table, c)))]
    lines.append('| ' + ' | '.join([FLOOR_LABEL, *floors, *[''] * (len(axes) + 1)]) + ' |')
  for row in table['rows']:
    lines.append(_row(table, row, axes, notes))
  parts = [f'# {title}', '\n'.join(lines)]
  if table.get('contrasts'):
    parts.append(contrast.section(
        table, number, lambda *published: _printed(notes, *published)))
  parts.append(_legend(table))
  if notes:
    parts.append('\n'.join(f'[{i}] {text}  ' for i, text in enumerate(notes, 1)))
  parts += [f'![{words}]({file})' for words, file in pictures.items()]
  parts += [note.strip()] if note.strip() else []
  parts += [_missing(table)] if table['missing'] else []
  parts += [_protocols(table)] if any(row['seeds'] for row in table['rows']) else []
  return '\n\n'.join(parts) + '\n'


def number(value: float, digits: int) -> str:
  """The value with `digits` digits after the point, in powers of ten if all would be 0."""
  if value and abs(value) < 0.5 * 10.0 ** -digits:
    return f'{value:.1e}'
  return f'{value:,.{digits}f}'


def summary(entry: Mapping | None, column: Mapping) -> str:
  """`mean ± half-width (n seeds) [low, high]`, `value [low, high]`, or `none in 1 of 3`.

  The half width is over seeds alone; the ends include evaluation noise (`interval.of_mean`).
  """
  if entry is None:
    return ABSENT
  digits = column['digits']
  if entry['value'] is None:
    return f'none in {len(entry["reasons"])} of {entry["n"]}'
  if column['reduction'] == 'each':
    return ', '.join(number(v, digits) for v in entry['seeds'].values())
  text = number(entry['value'], digits)
  if entry['half_width'] is not None:
    text += f' ± {number(entry["half_width"], digits)} ({seeds(entry["n"])})'
  if entry['low'] is not None:
    text += f' [{number(entry["low"], digits)}, {number(entry["high"], digits)}]'
  return text


def line(table: Mapping, label: str, most: int = 4) -> str:
  """The first `most` values of a row in one line: `FD 0.23 [0.2, 0.3]; recall 0.912`."""
  row = next(row for row in table['rows'] if row['label'] == label)
  shown = [(column, row['values'][column['label']]) for column in table['columns']]
  return '; '.join(f'{column["label"]} {summary(entry, column)}' for column, entry in [
      (column, entry) for column, entry in shown if entry][:most])


def seeds(n: int) -> str:
  """'n = 1' or '3 seeds'."""
  return 'n = 1' if n == 1 else f'{n} seeds'


def _published(table: Mapping, column: Mapping) -> list[str]:
  """[metric of this column for which rows have published figures], in its first column; else []."""
  known = {metric for row in table['rows'] for metric in row['published']}
  first = {metric: c['label'] for c in reversed(table['columns']) for metric in c['metric']}
  return [m for m in column['metric'] if m in known and first[m] == column['label']][:1]


def _kind(table: Mapping, metric: str) -> str:
  """What the figures of this metric next to ours are: published, closed form, or both."""
  return ' or '.join(dict.fromkeys(row['published'][metric].get('kind', 'published')
                                   for row in table['rows'] if metric in row['published']))


def _row(table, row, axes, notes) -> str:
  label = label_of_row = row['label']
  if row['other_commits']:
    commits = '; '.join(f'seed {s}: {c}' for s, c in row['other_commits'].items())
    label += _mark(notes, f'made by another commit than {table["commit"]}: {commits}', '†')
  if row['note']:
    label += _mark(notes, row['note'])
  cells = []
  for column in table['columns']:
    entry = row['values'][column['label']]
    text = summary(entry, column) if row['seeds'] else ''
    if entry and entry['reasons']:
      text += _mark(notes, '; '.join(f'seed {s}: {r}' for s, r in entry['reasons'].items()))
    cells.append(text)
    for metric in _published(table, column):
      entry = row['published'].get(metric)
      cells.append(_printed(notes, entry, row['verdicts'].get(metric), column['digits']))
  for axis in axes:
    cells.append(_axis(table['axes'][row['label']].get(axis, {})))
  n = len(row['seeds'])
  done = seeds(n) if n else 'missing'
  why = list(dict.fromkeys(f'not there: {cell["reason"]}' for cell in table['missing']
                           if cell['label'] == label_of_row and cell['reason']))
  cells.append((done if n in (0, row['seeds_wanted']) else f'{done} of {row["seeds_wanted"]}')
               + ''.join(_mark(notes, text) for text in why))
  return '| ' + ' | '.join(map(_cell, [label, *cells])) + ' |'


def _printed(notes: list, published: Mapping | None, verdict: Mapping | None, digits: int) -> str:
  """A published figure with its footnote and our verdict."""
  return ABSENT if published is None else (
      f'{published["value"]}{_mark(notes, _source(published))}{_verdict(verdict, digits)}')


def _source(published: Mapping) -> str:
  """Where a published figure stands, under which protocol, and what would count as equal to it."""
  text = f'{published["source"]}; protocol: {published.get("protocol", "not stated")}'
  if published.get('std') is not None:
    runs = f' over {published["n"]} runs' if published.get('n') else ''
    text += f'; sd {published["std"]}{runs}'
  return text + (f'; margin {published["margin"]}' if 'margin' in published else '')


def _verdict(verdict: Mapping | None, digits: int) -> str:
  """Our figure less the published one, as words: `: reproduced [-0.1, 0.2]`."""
  if verdict is None:
    return ''
  ends = ('' if verdict['low'] is None else
          f' [{number(verdict["low"], digits)}, {number(verdict["high"], digits)}]')
  return f': {verdict["verdict"]}{ends}'


def _mark(notes: list, text: str, sign: str = '') -> str:
  if text not in notes:
    notes.append(text)
  return f'{sign} [{notes.index(text) + 1}]'


def _axis(values: Mapping) -> str:
  shown = {column: _short(value) for column, value in values.items()}
  if len(set(shown.values())) == 1:
    return next(iter(shown.values()))
  return '; '.join(f'{column}: {text}' for column, text in shown.items()) or ABSENT


def _short(value) -> str:
  if isinstance(value, Mapping):
    return ' '.join(f'{k}={_short(v)}' for k, v in value.items())
  return str(value)


def _floor(floor: Mapping | None, digits: int) -> str:
  if not floor:
    return ''
  low, high = number(floor['low'], digits), number(floor['high'], digits)
  return low if low == high else f'{low} to {high}'


def _legend(table: Mapping) -> str:
  other = ' †: made by another commit.' if any(r['other_commits'] for r in table['rows']) else ''
  level = f'{table["level"]:.0%}'
  return (
      f'Commit {table["commit"]}.{other} `a ± b`: mean over seeds and half-width of its {level} t '
      'interval, which covers other seeds on the same test data: seeds share the noise of the test '
      f'data, so their spread does not show it. `[a, b]`: {level} interval that holds the '
      'evaluation noise too, for the estimand under Protocol; of `n = 1` it holds nothing else, '
      f'since one seed shows no spread. {ABSENT}: no such metric.'
      + (' An *excess* subtracts one floor in every row: its noise shifts all rows alike.'
         if any(column['excess'] for column in table['columns']) else '')
      + (f' A verdict stands after a published figure, with the {level} interval of ours '
         'minus published: *reproduced* within the margin of its footnote; *better*, *worse* '
         'beyond the margin and wholly on one side of 0; else *undecided*.'
         if any(row['verdicts'] for row in table['rows']) else ''))


def _missing(table: Mapping) -> str:
  lines = [f'## Missing: {len(table["missing"])} cells', '']
  for cell in table['missing']:
    why = f': {_cell(cell["reason"])}' if cell['reason'] else ''
    lines += [f'- {cell["label"]}, seed {cell["seed"]} ({cell["status"]}{why}):',
              f'  `{cell["command"]}`']
  return '\n'.join(lines)


def protocol(table: Mapping, column: Mapping) -> dict:
  """The fields that all cards of a column share."""
  for row in table['rows']:
    for card in ((row['values'][column['label']] or {}).get('cards', {})).values():
      return {k: v for k, v in card.items()
              if k not in (*NOT_PROTOCOL, *column['axes']) and v is not None}
  return {}


def _protocols(table: Mapping) -> str:
  lines = ['## Protocol', '']
  for column in table['columns']:
    fields = [f'{k}: {_short(v)}' for k, v in protocol(table, column).items()]
    floor = table['floors'].get(column['label'])
    fields += [f'the data themselves: {floor["metric"]}'] if floor else []
    fields += _covered(table, column)
    lines.append(f'- {column["label"]} (`{"`, `".join(column["metric"])}`)'
                 + (f': {"; ".join(fields)}' if fields else ''))
  return '\n'.join(lines)


def _covered(table: Mapping, column: Mapping) -> list[str]:
  """The estimands and methods of a column's evaluation intervals, or the reasons for none."""
  covered = {}
  for row in table['rows']:
    for card in ((row['values'][column['label']] or {}).get('cards', {})).values():
      entry = card.get('interval', {})
      if 'estimand' in entry:
        covered[f'interval for: {entry["estimand"]} ({entry["method"]})'] = None
      elif entry and 'reason' not in card:  # the reason of an absent value is a footnote
        covered[f'no interval: {entry["reason"]}'] = None
  return list(covered)


def _cell(text: str) -> str:
  return str(text).replace('|', '\\|').replace('\n', ' ')
