"""The measurements of a run: the file of each, and how metrics are added to it.

A measurement has one config, split and step. For split 'test' and the step that the run stands for
(the selected one, else the last) it is eval.json with the run's own config, and evals/HASH.json
with another one. Any other measurement is evals/HASH-SPLIT-STEP.json.
"""

import pathlib
from collections.abc import Mapping

from genjax import disk

KEY = ('config', 'split', 'step')  # what identifies a measurement
APART = ('evaluated_by', 'versions', 'time')  # provenance of a metric measured at another time


def place(workdir, new: Mapping, is_own: bool, standing: bool) -> tuple[pathlib.Path, str]:
  """The file of a measurement (its KEY) and the name of its samples.

  is_own: it has the run's own config. standing: it has the split 'test' and the step that the run
  stands for; a record there with the same KEY is the same measurement, however it was requested.
  Raises BadInput for a damaged record.
  """
  workdir = pathlib.Path(workdir)
  path = workdir / ('eval.json' if is_own else f'evals/{new["config"]}.json')
  there = _same(disk.read_record(path), new)
  if standing or there:
    return path, 'final' if is_own else new['config']
  name = _name(new)
  path = workdir / 'evals' / f'{name}.json'
  disk.read_record(path)
  return path, name


def write(workdir, path: pathlib.Path, new: Mapping, whole: bool) -> None:
  """Adds a measurement to its file.

  new: KEY, 'selected', 'metrics' and 'provenance'.
  whole: `new` has everything that its config asks for; its provenance becomes that of the record.
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
