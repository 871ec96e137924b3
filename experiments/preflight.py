"""Faults of a table that are known before training: cells that cannot train, clashing protocols.

Not known are memory and devices, whether a training diverges, and fields that only a trained
model's cards have (the dequantisation of a bound). Columns are compared again at collection.
"""

from collections.abc import Mapping
from typing import NamedTuple

from experiments.table_config import Table
from genjax.tables import collect
from genjax.types import BadInput


class Faults(NamedTuple):
  """The reasons why a table cannot be filled."""

  refused: dict[str, str]  # row -> why it can never train, or not be measured by its config
  absent: dict[str, str]  # row -> what this machine lacks for it: data, or an encoder's weights
  columns: list[str]  # why a column would mix protocols

  def reasons(self) -> dict[str, str]:
    """{row: the reason} of all rows that cannot be filled on this machine."""
    return {**self.absent, **self.refused}


def check(table: Table) -> Faults:
  """The Faults of all rows and columns; builds every run, but computes nothing."""
  import jax

  # the cells' commands may need all accelerators of this machine
  jax.config.update('jax_platforms', 'cpu')
  refused, absent, cards, loaded = {}, {}, {}, {}
  for label, config in table.configs.items():
    try:
      dataset = _dataset(config, loaded)
    except BadInput as error:
      absent[label] = str(error)
      continue
    try:
      cards[label] = _foreseen(config, dataset)
    except BadInput as error:
      refused[label] = str(error)
  _fall(table, refused, absent)
  return Faults(refused, absent, _clashes(table, cards))


def _dataset(config, loaded: dict):
  """The data of a config, read once for all rows. Raises BadInput, also for missing weights."""
  from genjax import data, wiring

  key = config.data.to_json_best_effort(sort_keys=True)
  if key not in loaded:
    loaded[key] = data.load(config.data.name, **wiring.plain(config.data.kw))
  wiring.encoder(config, loaded[key].spec)
  return loaded[key]


def _foreseen(config, dataset) -> dict[str, dict]:
  """The partial cards of a row. Raises BadInput as its training would."""
  from genjax import wiring

  training = wiring.run(config, dataset)
  wiring.validator(config, training)
  names = config.evals.names
  wiring.evaluators(config, dataset, training.model, 'test', names, optional=names)
  return wiring.foreseen_cards(config, training)


def _fall(table: Table, refused: dict, absent: dict) -> None:
  """Adds the rows that start from a row that cannot be trained."""
  for row in table.rows:
    start = row.overrides.get('init_from', '').removeprefix('row ')
    for faults in (refused, absent):
      if start in faults and row.label not in {**refused, **absent}:
        faults[row.label] = f'it starts from row {start!r}, which cannot be trained'


def _clashes(table: Table, cards: Mapping[str, Mapping]) -> list[str]:
  """The reasons why columns would mix protocols."""
  clashes = []
  for column in table.columns:
    known = [(label, card[metric]) for label, card in cards.items()
             for metric in column['metric'] if metric in card]
    try:
      collect.check_protocol(column, known)
    except BadInput as error:
      clashes.append(str(error))
  return clashes
