"""What the package asks for is what its code imports, and the lock satisfies it."""

import ast
import pathlib
import re
import sys
import tomllib

from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
NEEDED = {each.name: each for each in map(Requirement, PROJECT['dependencies'])}
# of an import -> the distribution, where the two differ
DISTRIBUTIONS = {'absl': 'absl-py', 'orbax': 'orbax-checkpoint', 'ott': 'ott-jax', 'PIL': 'pillow',
                 'sklearn': 'scikit-learn', 'tensorboardX': 'tensorboardx'}
OURS = ('genjax', 'experiments', 'configs')
ELSEWHERE = {'libtpu'}  # of the extra tpu


def imported():
  """The distributions that the code of the package imports, wherever in a file."""
  for top in OURS:
    for path in (ROOT / top).rglob('*.py'):
      for node in ast.walk(ast.parse(path.read_text())):
        names = ([alias.name for alias in node.names] if isinstance(node, ast.Import) else
                 [node.module] if isinstance(node, ast.ImportFrom) else [])
        for name in names:
          head = name.split('.')[0]
          if head not in sys.stdlib_module_names and head not in OURS:
            yield DISTRIBUTIONS.get(head, head).replace('_', '-')


def test_every_import_is_a_dependency_and_every_dependency_is_imported():
  assert set(imported()) - ELSEWHERE == set(NEEDED)


def test_the_lock_satisfies_the_dependencies():
  locked = dict(re.findall(r'^([\w-]+)==(\S+)', (ROOT / 'requirements.txt').read_text(),
                           re.MULTILINE))
  for name, requirement in NEEDED.items():
    assert locked[name] in requirement.specifier, name
    assert requirement.specifier, f'{name} has no lower bound'


def test_extras_are_those_of_the_other_locks():
  extras = PROJECT['optional-dependencies']
  assert {'gpu', 'tpu', 'dev'} == set(extras)
  for extra in ('gpu', 'tpu'):
    assert f'{extras[extra][0]}==' in (ROOT / f'requirements-{extra}.txt').read_text()
