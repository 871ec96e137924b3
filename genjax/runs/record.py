"""The measurements of a run: the file of each, and how metrics are added to it.

A measurement has one config, split and step. The standing ones have the split 'test' and the run's
result step (the selected one, else the last). These are in eval.json for the run's own config, and
in evals/HASH.json for another one. All others are in evals/HASH-SPLIT-STEP.json.
"""

import pathlib
from collections.abc import Mapping

from genjax import disk

KEY = ('config', 'split', 'step')  # what identifies a measurement
APART = ('evaluated_by', 'versions', 'time')  # provenance of a metric measured at another time


def place(workdir, new: Mapping, is_own: bool, standing: bool) -> tuple[pathlib.Path, str]:
  """(file of the measurement, name of its samples).

  new: its KEY; is_own: it has the run's own config; standing: it has the split 'test' and the run's
  result step. A record in the standing file with the same KEY is the same measurement, however it
  was requested. Raises BadInput for a damaged record.
  """
  workdir = pathlib.Path(workdir)
  path = workdir / ('eval.json' if is_own else f'evals/{new["config"]}.json')
  is_there = _same(disk.read_record(path), new)
  if standing or is_there:
    return path, 'final' if is_own else new['config']
  name = _name(new)
  path = workdir / 'evals' / f'{name}.json'
  disk.read_record(path)
  return path, name


def write(workdir, path: pathlib.Path, new: Mapping, whole: bool) -> None:
  """Adds a measurement to its file.

  path: of `place`. new: KEY, 'selected', 'metrics' and 'provenance'.
  whole: `new` has all metrics of its config; its provenance becomes that of the record.
  Recorded metrics that are not measured again stay. Metrics with another provenance than the record
  have it under 'apart'. A record of another config or step in that file, for example after further
  training, moves to evals/HASH-SPLIT-STEP.json.
  """
  old = disk.read_record(path)
  if old and not _same(old, new):
    disk.write_record(pathlib.Path(workdir, 'evals', f'{_name(old)}.json'), old)
    old = None
  if not old:
    return disk.write_record(path, {**new, 'apart': {}})
  apart = old['apart']
  if whole:
    apart = {name: apart.get(name, _provenance(old)) for name in old['metrics']
             if name not in new['metrics']}
  else:
    apart = {**apart, **dict.fromkeys(new['metrics'], _provenance(new))}
  return disk.write_record(path, {
      **(new if whole else old),
      'metrics': {**old['metrics'], **new['metrics']}, 'apart': apart})


def _provenance(record: Mapping) -> dict:
  return {key: record['provenance'].get(key) for key in APART}


def _same(record: Mapping | None, new: Mapping) -> bool:
  return record is not None and all(record[key] == new[key] for key in KEY)


def _name(key: Mapping) -> str:
  return f'{key["config"]}-{key["split"]}-{key["step"]}'
