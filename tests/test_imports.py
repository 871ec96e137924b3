"""Imports point one way, and what must never be imported is not."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# what a folder or module of genjax may import of genjax
MAY = {
    'types': set(),
    'words': set(),
    'ranges': {'types'},
    'memory': {'types'},
    'extension': {'types'},
    'shipped': set(),
    'configs': {'words', 'types', 'extension', 'shipped'},
    'identity': {'extension'},
    'disk': {'types'},
    'sharding': {'types', 'memory'},
    'numerics': {'types'},
    'prob': {'types', 'numerics'},
    'nn': {'types', 'sharding'},
    'models': {'types', 'sharding', 'numerics', 'prob', 'nn'},
    'objectives': {'types', 'numerics', 'prob'},
    'compat': {'words', 'types', 'ranges', 'extension'},
    'data': {'words', 'types', 'ranges', 'extension', 'disk', 'numerics', 'prob'},
    'coding': {'types', 'numerics', 'prob'},
    'encoders': {'types', 'disk', 'sharding', 'prob', 'nn'},
    'evals': {'types', 'compat', 'extension', 'disk', 'sharding', 'numerics', 'prob'},
    'cluster': {'types', 'disk', 'sharding', 'numerics'},
    'pod': {'words', 'types', 'memory', 'sharding', 'numerics'},
    'train': {'types', 'ranges', 'memory', 'sharding', 'numerics', 'cluster'},
    'tables': {'types', 'disk', 'identity', 'extension'},
    'wiring': {'types', 'configs', 'compat', 'extension', 'ranges', 'memory', 'disk', 'sharding',
               'numerics',
               'prob', 'nn', 'models', 'objectives', 'data', 'coding', 'encoders', 'evals', 'train',
               'cluster', 'pod'},
    'runs': None,  # all but tables and experiments
    '__init__': {'runs', 'configs', 'train'},
    '__main__': {'words', 'shipped', 'types'},
}
FORBIDDEN = {'tensorflow', 'torch', 'clu'}
# what changes without notice, and the one place of it
ALONE = {'jax._src': 'genjax/cluster/hosts.py', 'orbax': 'genjax/cluster/shards.py'}
FILES = sorted(path for top in ('genjax', 'experiments', 'configs')
               for path in (ROOT / top).rglob('*.py'))


@functools.cache
def imported(path):
  """Dotted names that a file imports, wherever in the file."""
  return tuple(_imported(path))


def _imported(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: relative import'
      yield node.module
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def rooms(path):
  """The parts of genjax that a file imports."""
  names = [name.split('.') for name in imported(path)]
  known = set(MAY)
  return {parts[1] for parts in names if parts[0] == 'genjax' and len(parts) > 1} & known


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
  place = path.relative_to(ROOT)
  heads = {name.split('.')[0] for name in imported(path)}
  assert not heads & FORBIDDEN
  if place.parts[0] == 'configs':
    assert not heads & {'jax', 'flax', 'optax', 'numpy', 'genjax', 'experiments'}
  if place.parts[0] == 'genjax':
    programs = {'experiments'} if place == pathlib.Path('genjax/__main__.py') else set()
    assert not heads & {'experiments', 'configs', 'tests', 'benchmarks'} - programs
    me = place.parts[1].removesuffix('.py')
    assert me in MAY, f'{place}: a room that the map does not know'
    if MAY[me] is None:
      assert 'tables' not in rooms(path)
    else:
      assert rooms(path) - {me} <= MAY[me]


@pytest.mark.parametrize('name', ALONE)
def test_what_changes_without_notice_is_imported_in_one_place(name):
  users = {path.relative_to(ROOT).as_posix() for path in FILES
           if any(f'{module}.'.startswith(f'{name}.') for module in imported(path))}
  assert users == {ALONE[name]}


@pytest.mark.parametrize('program', (
    'train', *(pytest.param(name, marks=pytest.mark.slow) for name in ('table', 'prepare'))))
def test_the_programs_import_neither_tensorflow_nor_torch(program):
  """Also where they are installed: what a training and evaluating process has imported."""
  code = (f'import sys, experiments.{program}\n'
          'from genjax import data, runs\n'
          'data.load("digits")\n'
          'print(sorted({"tensorflow", "torch", "clu"} & set(sys.modules)))')
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == '[]'
