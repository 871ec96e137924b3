"""A collected table as CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping


def to_json(table: Mapping) -> str:
  """The whole table as JSON, with every card and provenance; nan is written as null."""
  return json.dumps(_plain(table), indent=1, ensure_ascii=False, allow_nan=False) + '\n'


def to_csv(table: Mapping) -> str:
  """The table as CSV: a line per row and column, with intervals, seeds, unit, axes and commits."""
  out = io.StringIO()
  writer = csv.writer(out, lineterminator='\n')
  writer.writerow(['row', 'column', 'metric', 'value', 'half_width', 'n', 'low', 'high', 'unit',
                   'better', 'floor_low', 'floor_high', 'reason', 'axes', 'published', 'verdict',
                   'commit', 'config', 'overrides'])
  for row in table['rows']:
    for column in table['columns']:
      writer.writerow(_record(table, row, column))
  return out.getvalue()


def _record(table: Mapping, row: Mapping, column: Mapping) -> list:
  entry = row['values'][column['label']] or {}
  card = next(iter(entry.get('cards', {}).values()), {})
  floor = table['floors'].get(column['label']) or {}
  axes = {axis: values[column['label']] for axis, values in table['axes'][row['label']].items()
          if column['label'] in values}
  commits = {p.get('commit') or 'unknown' for p in row['provenance'].values()}
  published = [v['value'] for k, v in row['published'].items() if k in column['metric']]
  verdicts = [v['verdict'] for k, v in row['verdicts'].items() if k in column['metric']]
  return [row['label'], column['label'], card.get('metric', column['metric'][0]),
          entry.get('value'), entry.get('half_width'), entry.get('n', 0), entry.get('low'),
          entry.get('high'), card.get('unit'), column['better'], floor.get('low'),
          floor.get('high'), '; '.join(entry.get('reasons', {}).values()),
          json.dumps(axes) if axes else '', '; '.join(map(str, published)), '; '.join(verdicts),
          ' '.join(sorted(commits)), row['config'], json.dumps(row['overrides'])]


def _plain(value):
  if isinstance(value, Mapping):
    return {str(k): _plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(v) for v in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value
