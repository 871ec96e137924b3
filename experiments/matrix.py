"""Prints which family can be trained by which objective on which kind of data.

python -m experiments.matrix [--markdown]
"""

from absl import flags

import experiments
from genjax import compat, wiring
from genjax.models import FAMILIES
from genjax.objectives import OBJECTIVES
from genjax.types import DataSpec

MARKDOWN = flags.DEFINE_bool('markdown', False, 'A family x objective table instead of triples.')

KINDS = {  # kind of data -> its DataSpec, its properties
    'continuous': (DataSpec((2,), None, None), ('continuous', 'log_density')),
    'discrete': (DataSpec((8, 8, 1), 17, 10), ('discrete', 'image')),
}


def legal_triples() -> list[tuple[str, str, str, str]]:
  """(family, objective, estimator, kind of data) of every legal combination."""
  triples = []
  for kind, (spec, properties) in KINDS.items():
    names = frozenset(f'data.{p}' for p in properties)
    for family, fields in wiring.provided(spec).items():
      for objective, module in OBJECTIVES.items():
        for estimator in compat.legal(module.ESTIMATORS, fields | names):
          triples.append((family, objective, estimator, kind))
  return sorted(triples, key=lambda t: (list(FAMILIES).index(t[0]), list(OBJECTIVES).index(t[1])))


def markdown() -> str:
  """The family x objective matrix; each cell lists its estimators, c: continuous, d: discrete."""
  cells = {}
  for family, objective, estimator, kind in legal_triples():
    cells.setdefault((family, objective), {}).setdefault(estimator, []).append(kind[0])
  lines = ['| family | ' + ' | '.join(OBJECTIVES) + ' |', '|---' * (len(OBJECTIVES) + 1) + '|']
  for family in FAMILIES:
    row = [', '.join(f'{e} ({"".join(kinds)})' for e, kinds in
                     cells.get((family, objective), {}).items()) or '-'
           for objective in OBJECTIVES]
    lines.append(f'| {family} | ' + ' | '.join(row) + ' |')
  return '\n'.join(lines)


def main(_):
  if MARKDOWN.value:
    print(markdown())
    return
  for family, objective, estimator, kind in legal_triples():
    print(f'{family:16s}{objective:16s}{estimator:26s}{kind}')


if __name__ == '__main__':
  experiments.run(main)
