"""ARCHITECTURE.md names functions, types, rooms and roles as the code has them."""

import ast
import re

import pytest

from genjax import types
from genjax.nn import NETWORKS, ROLES
from tests import recipes
from tests.test_imports import MAY

PAGE = recipes.text_of('ARCHITECTURE.md')
NAMED = [(text.strip('`'), target) for text, target in recipes.links(PAGE)
         if text.startswith('`') and target.endswith('.py')]
# what a newcomer must find by this page alone
WANTED = ('WGAN-GP', 'the ELBO', 'the train step', "a checkpoint's digest", 'FD and its interval',
          'MeanFlow', 'the gradient by slices', 'the lease', 'the roofline', 'bits per dimension')


def defined(path: str, name: str) -> bool:
  """Whether a file defines a dotted name: a.b is b inside the function or class a."""
  body = ast.parse((recipes.ROOT / path).read_text()).body
  for part in name.split('.'):
    body = next((inner for one, inner in definitions(body) if one == part), None)
    if body is None:
      return False
  return True


def definitions(body):
  """(name, statements within) of the functions, classes and assignments of a block."""
  for node in body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      yield node.name, node.body
    elif isinstance(node, ast.Assign):
      yield from ((target.id, []) for target in node.targets if isinstance(target, ast.Name))


@pytest.mark.parametrize('name, path', NAMED)
def test_every_name_is_defined_in_the_file_that_it_links_to(name, path):
  assert defined(path, name), f'{path} defines no {name}'


def test_a_link_that_names_its_file_leads_to_it():
  for text, target in recipes.links(PAGE):
    if '/' in text and not text.startswith('`'):
      assert text == target


@pytest.mark.parametrize('what', WANTED)
def test_what_a_newcomer_looks_for_has_a_row(what):
  [row] = [row for row in recipes.rows_under(PAGE, 'what | where') if row[0].startswith(what)]
  assert recipes.links(row[1])


def test_the_types_of_the_contract_have_these_fields():
  listed = {row[0].strip('`'): re.findall(r'`(\w+)`', row[1])
            for row in recipes.rows_under(PAGE, 'type | fields')}
  contract = {name: list(one._fields) for name, one in vars(types).items()
              if hasattr(one, '_fields')}
  assert listed == contract


def test_the_capabilities_are_the_fields_of_a_model():
  listed = [row[0].strip('`') for row in recipes.rows_under(PAGE, 'field | call')]
  assert listed == list(types.Model._fields)


def test_the_roles_and_networks_are_those_of_the_code():
  listed = {row[0].strip('`'): (row[2].strip('`'), set(re.findall(r'`(\w+)`', row[3])))
            for row in recipes.rows_under(PAGE, 'role | needed by')}
  assert listed == {role: (kind, set(NETWORKS[kind])) for role, kind in ROLES.items()}


def test_the_rooms_import_what_the_table_says():
  listed = {row[0].strip('`'): row[2] for row in recipes.rows_under(PAGE, 'room | holds')}
  assert set(listed) == set(MAY)
  for room, allowed in MAY.items():
    if allowed is None:
      assert listed[room] == 'all but tables'
    else:
      assert set(filter(None, listed[room].split(', '))) == allowed, room
