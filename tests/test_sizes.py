"""Nothing outgrows a reader: keywords of a make, lines of a function and of a file."""

import ast
import inspect
import pathlib

import pytest

from genjax.evals import EVALS
from genjax.models import FAMILIES
from genjax.nn import ROLES
from genjax.objectives import OBJECTIVES

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(path for top in ('genjax', 'experiments', 'configs')
               for path in (ROOT / top).rglob('*.py'))
KEYWORDS, FUNCTION, FILE = 12, 60, 260
# what wiring gives: no keywords of a make's own
OFFERED = {*ROLES, 'spec', 'model', 'log_density', 'init_from', 'dataset', 'split', 'encoder',
           'pixels', 'keep', 'seed', 'num_samples', 'tick', 'prepare', 'estimator', 'conditional',
           'asked'}


def makes():
  """(name, function) of every family, and of every estimator of an objective or evaluator."""
  yield from ((f'models/{name}', module.make) for name, module in FAMILIES.items())
  for kind, table in (('objectives', OBJECTIVES), ('evals', EVALS)):
    yield from ((f'{kind}/{name}/{estimator}', each.make) for name, module in table.items()
                for estimator, each in module.ESTIMATORS.items())


@pytest.mark.parametrize('make', [pytest.param(make, id=name) for name, make in makes()])
def test_a_make_has_few_keywords(make):
  own = set(inspect.signature(make).parameters) - OFFERED
  assert len(own) <= KEYWORDS, sorted(own)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_are_short(path):
  text = path.read_text()
  assert len(text.splitlines()) <= FILE
  long = {node.name: node.end_lineno - node.lineno + 1 for node in ast.walk(ast.parse(text))
          if isinstance(node, ast.FunctionDef)}
  assert {name: lines for name, lines in long.items() if lines > FUNCTION} == {}
