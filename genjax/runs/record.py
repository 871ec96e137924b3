"""The measurements of a run: which file holds each of them, and how one is added to.

A measurement is of one config, split and step. That of the split 'test' at the step that the run
stands for (the selected one, else the last) is eval.json for the run's own config and
evals/HASH.json for another one. Any other is evals/HASH-SPLIT-STEP.json.
"""

import pathlib
from collections.abc import Mapping

from genjax import disk

KEY = ('config', 'split', 'step')  # what a measurement is of
APART = ('evaluated_by', 'versions', 'time')  # the provenance of a metric that was measured apart


def place(workdir, new: Mapping, is_own: bool, standing: bool) -> tuple[pathlib.Path, str]:
  """The file of a measurement (its KEY) and the name of its samples.

  is_own: of the run's own config. standing: of the split 'test' at the step that the run stands
  for; what was recorded there with the same KEY is the same measurement, however it was asked for.
  Raises BadInput where a record that is there is damaged.
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
  whole: `new` is all that its config asks for, and its provenance becomes that of the record.
  Metrics that are there already and are not measured again stay. Those whose provenance is not the
  record's have theirs under 'apart'. A record of another config or step that is in the way, as of
  a run that was trained on since, moves to evals/HASH-SPLIT-STEP.json.
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
