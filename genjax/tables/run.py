"""The run directories of cells: their status and measurements."""

import pathlib
from collections.abc import Iterable, Mapping

from genjax import disk
from genjax.identity import run_hash
from genjax.tables.cells import Cell
from genjax.types import BadInput

TO_TRAIN = ('missing', 'started', 'stale')
OWN = 'eval.json'  # measurement by the run's own config; others are evals/CONFIG_HASH.json


def read(cell: Cell) -> dict | None:
  """The record of a measured cell; None if there is none for its config.

  Raises BadInput for a damaged file.
  """
  for name in (OWN, f'evals/{cell.config_hash}.json'):
    record = disk.read_record(pathlib.Path(cell.workdir, name))
    if record is not None and not isinstance(record.get('metrics'), Mapping):
      raise BadInput(f'{cell.workdir}/{name} has no metrics; remove it and run the cell again')
    if record is not None and record.get('provenance', {}).get('config_hash') == cell.config_hash:
      return record
  return None


def samples(cell: Cell) -> str:
  """The name in samples/ of the samples of a measured cell."""
  record = disk.read_record(pathlib.Path(cell.workdir, OWN)) or {}
  own = record.get('provenance', {}).get('config_hash') == cell.config_hash
  return 'final' if own else cell.config_hash


def status(cell: Cell) -> str:
  """'finished', 'trained' (but not measured by this config), 'started', 'missing', or 'stale'.

  Stale: the directory holds another training, which the cell's commands refuse to touch.
  """
  if read(cell) is not None:
    return 'finished'
  recorded = disk.read_record(pathlib.Path(cell.workdir, 'config.json'), 'a run as it was written')
  recorded = (recorded or {}).get('config')
  if recorded is None:
    return 'missing'
  if run_hash(recorded) != cell.run_hash:
    return 'stale'
  last = pathlib.Path(cell.workdir, 'checkpoints', str(cell.steps), 'checkpoint.json')
  return 'trained' if last.is_file() else 'started'


def fault(cell: Cell) -> str:
  """The message about damage to the files of a cell, with the remedy; '' for none."""
  try:
    status(cell)
  except BadInput as error:
    return str(error)
  return ''


def states(cells: Iterable[Cell]) -> list[str]:
  """The status of each cell; also 'damaged' (see `fault`), or 'waiting' for another to train first.

  The other one is an earlier cell with the same run, or one of the run from which this one starts.
  """
  statuses = ['damaged' if fault(cell) else status(cell) for cell in cells]
  to_train = {cell.workdir for cell, each in zip(cells, statuses, strict=True) if each in TO_TRAIN}
  begun = set()
  for i, cell in enumerate(cells):
    if statuses[i] in TO_TRAIN:
      statuses[i] = 'waiting' if cell.workdir in begun or cell.origin in to_train else statuses[i]
      begun.add(cell.workdir)
  return statuses


def is_owned(cell: Cell) -> bool:
  """Whether a training owns the run directory, or did when killed (`genjax.cluster.lease`)."""
  return any(pathlib.Path(cell.workdir).glob('lease.*.json'))


def command(cell: Cell, state: str) -> str:
  """The shell line that fills a cell in this state: it trains the run if necessary."""
  return cell.train if state in TO_TRAIN else cell.measure
