"""From finished cells to a table: one protocol per column, means over seeds, missing cells listed.

A table is plain data, ready for JSON: {'rows': [{'label', 'values': {column: summary}, ...}], ...}.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from genjax.tables import interval, run, verdict
from genjax.tables.cells import Cell, Row
from genjax.types import BadInput

# entries of a card that are not protocol: the interval's method, and further figures
NOT_PROTOCOL = ('interval', 'detail', 'reason', 'metric')
KIND = re.compile(r'nll_(exact|bound|estimate)')


def check_columns(columns: Sequence[Mapping]) -> None:
  """Raises BadInput for a column that asks for several kinds of likelihood at once."""
  for column in columns:
    kinds = list(dict.fromkeys(m[0] for name in column['metric'] if (m := KIND.match(name))))
    if len(kinds) > 1:
      raise BadInput(_mixed(column['label'], kinds))


def check_published(rows: Sequence[Row], columns: Sequence[Mapping]) -> None:
  """Raises BadInput for a row's published figure that no column has, or whose verdict is none."""
  metrics = {metric: column for column in reversed(columns) for metric in column['metric']}
  for row in rows:
    for metric, published in row.published.items():
      if metric in metrics:
        verdict.check(row.label, metrics[metric], published)
      else:
        raise BadInput(f'row {row.label!r} has a published {metric!r}, and no column has that '
                       f'metric; allowed: {", ".join(metrics)}')


def collect(rows: Sequence[Row], cells: Sequence[Cell], columns: Sequence[Mapping],
            commit: str, reasons: Mapping[tuple, str] = MappingProxyType({})) -> dict:
  """The table of all finished cells.

  rows, cells, columns: of the table; commit: of this source, to mark rows of other commits.
  reasons: {(row, seed): why a cell failed or cannot be finished}, if known.
  Raises BadInput if the cards of a column differ in their protocol.
  """
  check_columns(columns)
  check_published(rows, columns)
  states = run.states(cells)
  results = {(cell.label, cell.seed): run.read(cell)
             for cell, state in zip(cells, states, strict=True) if state == 'finished'}
  table = {'level': interval.LEVEL, 'commit': commit, 'columns': [dict(c) for c in columns],
           'rows': []}
  for row in rows:
    mine = {c.seed: results.get((row.label, c.seed)) for c in cells if c.label == row.label}
    done = {seed: record for seed, record in mine.items() if record is not None}
    commits = {s: record.get('provenance', {}).get('commit') or 'unknown'
               for s, record in done.items()}
    table['rows'].append({
        'label': row.label, 'config': row.config, 'overrides': row.overrides, 'note': row.note,
        'published': row.published, 'curve': row.curve,
        'seeds': sorted(done), 'seeds_wanted': len(mine),
        'other_commits': {s: c for s, c in commits.items() if c != commit},
        'provenance': {s: record.get('provenance', {}) for s, record in done.items()},
        'values': {c['label']: _summary(c, done) for c in columns}})
    table['rows'][-1]['verdicts'] = _verdicts(columns, table['rows'][-1])
  for column in columns:
    check_protocol(column, _cards(column, table['rows']))
    _check_seeds(column, table['rows'])
  table['axes'] = {row['label']: _axes(columns, row) for row in table['rows']}
  table['floors'] = {c['label']: _floor(c, results.values()) for c in columns
                     if c['floor'] and not c['excess']}
  table['missing'] = [{'label': c.label, 'seed': c.seed, 'status': state,
                       'command': run.command(c, state),
                       'reason': reasons.get((c.label, c.seed), '') or run.fault(c)}
                      for c, state in zip(cells, states, strict=True)
                      if (c.label, c.seed) not in results]
  return table


def _verdicts(columns: Sequence[Mapping], row: Mapping) -> dict:
  """{metric: `verdict.of`} of a row's published figures, by the first column of each metric."""
  first = {metric: c for c in reversed(columns) for metric in c['metric']}
  verdicts = {metric: verdict.of(row['values'][first[metric]['label']], first[metric], published)
              for metric, published in row['published'].items()}
  return {metric: each for metric, each in verdicts.items() if each}


def value(column: Mapping, record: Mapping) -> dict | None:
  """{'value', 'low', 'high', 'card'} of a column in an eval.json; None if it lacks the metric."""
  if column['source'] == 'provenance':
    provenance = record.get('provenance', {})
    value = provenance.get(column['metric'][0])
    card = {'metric': column['metric'][0], **{
        field: provenance.get(field) for field in column['axes']}}
    return None if value is None else {'value': value, 'low': None, 'high': None, 'card': card}
  present = [name for name in column['metric'] if name in record['metrics']]
  if not present:
    return None
  if len(present) > 1:
    raise BadInput(f'column {column["label"]!r}: a run has both {" and ".join(present)}; '
                   'allowed: columns of their own')
  entry = record['metrics'][present[0]]
  entry = {'low': None, 'high': None, 'card': {}, **entry}
  split = entry['card'].get('split')
  if split not in (None, column['split']):
    entry = {**entry, 'value': None, 'low': None, 'high': None, 'card': {
        **entry['card'], 'reason': f'measured on {split}, and the column is {column["split"]}'}}
  if column['excess']:
    return _excess(entry, record['metrics'].get(column['floor']))
  return _detail(entry, column['detail']) if column['detail'] else entry


def _excess(entry: dict, floor: Mapping | None) -> dict:
  """The entry less its floor: the score of the same number of data examples, in the same record.

  The half widths below and above add in quadrature, as for independent figures. Both figures use
  one reference, so its noise partly cancels and the interval is too wide. All rows and seeds
  subtract the same floor: its noise is in these ends, but not in the spread over seeds.
  """
  card = {**entry['card'], 'less': 'no floor' if floor is None else floor['card'].get('metric')}
  none = {'value': None, 'low': None, 'high': None}
  if floor is None or not _finite(floor['value']) or not _finite(entry['value']):
    reason = card.get('reason') or 'what the data themselves score was not measured'
    return {**none, 'card': {**card, 'reason': reason}}
  sizes = [each['card'].get('n_generated') for each in (entry, floor)]
  if sizes[0] != sizes[1]:
    return {**none, 'card': {**card, 'reason': f'{sizes[0]} samples, and a floor of {sizes[1]}'}}
  value = entry['value'] - floor['value']
  if entry['low'] is None or floor.get('low') is None:
    card['interval'] = {'reason': 'the value or its floor has none'}
    return {**none, 'value': value, 'card': card}
  below = math.hypot(entry['value'] - entry['low'], floor['high'] - floor['value'])
  above = math.hypot(entry['high'] - entry['value'], floor['value'] - floor['low'])
  card['interval'] = {**card['interval'], 'method': 'half widths in quadrature; conservative',
                      'estimand': 'the expected value less the expected floor, at equal N'}
  return {'value': value, 'low': value - below, 'high': value + above, 'card': card}


def _detail(entry: dict, path: str) -> dict:
  """The entry with a figure of its card's detail as value, without an interval."""
  value, there = entry['card'].get('detail', {}), True
  for key in path.split('/'):
    there = there and isinstance(value, Mapping) and key in value
    value = value[key] if there else None
  card = {**entry['card'], 'unit': None, 'interval': {'reason': 'a detail of the card'}}
  if value is None:
    why = f'{path} of the card is not finite' if there else f'the card has no {path}'
    card['reason'] = entry['card'].get('reason') or why
  return {**entry, 'value': value, 'low': None, 'high': None, 'card': card}


def _summary(column: Mapping, done: Mapping[int, Mapping]) -> dict | None:
  """One cell of the table: the mean over seeds, or the reasons for none; None: no such metric."""
  entries = {seed: value(column, record) for seed, record in done.items()}
  present = {seed: entry for seed, entry in entries.items() if entry is not None}
  if not present:
    return None
  bad = {seed: entry['card'].get('reason') or f'the value is {entry["value"]}'
         for seed, entry in present.items() if not _finite(entry['value'])}
  bad |= {seed: 'not measured' for seed in entries if seed not in present}
  summary = {'value': None, 'half_width': None, 'n': len(entries), 'low': None, 'high': None,
             'seeds': {s: None if s in bad else entry['value'] for s, entry in present.items()},
             'cards': {s: entry['card'] for s, entry in present.items()}, 'reasons': bad}
  if bad:  # a mean over the finite seeds would hide the others
    return summary
  values = [entry['value'] for entry in present.values()]
  ends = [[entry[end] for entry in present.values()] for end in ('low', 'high')]
  return {**summary, 'value': sum(values) / len(values),
          **interval.of_mean(values, *ends)._asdict()}


def _cards(column: Mapping, rows: Iterable[Mapping]) -> list[tuple[str, Mapping]]:
  return [(f'{row["label"]} (seed {seed})', card) for row in rows
          for seed, card in ((row['values'][column['label']] or {}).get('cards', {})).items()]


def check_protocol(column: Mapping, cards: Sequence[tuple[str, Mapping]]) -> None:
  """Raises BadInput if cards of a column differ in a field that is not a declared row axis.

  cards: [(where, card), ...], all complete, or all as far as known before training.
  """
  if any(name.startswith('nll') for name in column['metric']):
    kinds = {}
    for where, card in cards:
      kinds.setdefault(f'nll_{card.get("kind")}', []).append(where)
    if len(kinds) > 1:
      raise BadInput(_mixed(column['label'], [f'{k} ({", ".join(w)})' for k, w in kinds.items()]))
  for field in sorted({f for _, card in cards for f in card} - {*NOT_PROTOCOL, *column['axes']}):
    by_value = {}
    for where, card in cards:
      by_value.setdefault(json.dumps(card.get(field), sort_keys=True), where)
    if len(by_value) > 1:
      shown = '; '.join(f'{value} in {where}' for value, where in by_value.items())
      raise BadInput(f'column {column["label"]!r} mixes protocols: {field} is {shown}. '
                     'Allowed: one value, or a declared row axis')


def _check_seeds(column: Mapping, rows: Iterable[Mapping]) -> None:
  for row in rows:
    cards = (row['values'][column['label']] or {}).get('cards', {})
    for field in column['axes']:
      if len({json.dumps(card.get(field), sort_keys=True) for card in cards.values()}) > 1:
        raise BadInput(f'column {column["label"]!r}, row {row["label"]!r}: {field} differs between '
                       'seeds; allowed: one protocol a row')


def _axes(columns: Sequence[Mapping], row: Mapping) -> dict:
  """{axis: {column: value}} that a row prints, from the declared fields of its cards."""
  axes = {}
  for column in columns:
    cards = (row['values'][column['label']] or {}).get('cards', {})
    for field in column['axes']:
      value = next((card.get(field) for card in cards.values()), None)
      if value is not None:
        axes.setdefault(field, {})[column['label']] = value
  return axes


def _floor(column: Mapping, results: Iterable[Mapping]) -> dict | None:
  """{'metric', 'low', 'high'}: range over the runs of the data's own score; None if none has it."""
  values = [v for record in results
            if _finite(v := record['metrics'].get(column['floor'], {}).get('value'))]
  return {'metric': column['floor'], 'low': min(values), 'high': max(values)} if values else None


def _finite(value) -> bool:
  return value is not None and math.isfinite(value)


def _mixed(label: str, kinds: Iterable[str]) -> str:
  return (f'column {label!r} mixes the kinds {" and ".join(kinds)}: a bound is not ranked against '
          'an exact value. Allowed: one column for each kind')
