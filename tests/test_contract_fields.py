"""Every field of the contract is given by somebody in genjax and asked for by somebody.

Read from the syntax trees. A producer writes a value that is not None, in a construction or in a
_replace; a consumer reads the attribute of something that is called what such tuples are called, or
takes it apart.
"""

import ast
import pathlib

import pytest

from genjax import types

ROOT = pathlib.Path(__file__).parent.parent / 'genjax'
# contract -> what its tuples are called where they are read or replaced
CALLED = {'Model': {'model', 'guide'}, 'Diffusion': {'diffusion'}, 'TwoTimes': {'two_time'},
          'Latents': {'latents'}, 'Objective': {'objective', 'goal'},
          'Denoised': {'denoised', 'denoise()'}}
FIELDS = [(contract, field) for contract in CALLED for field in getattr(types, contract)._fields]


def called(node) -> str:
  """The last name of an expression: 'diffusion' of model.diffusion, 'denoise()' of a call."""
  if isinstance(node, ast.Call):
    return f'{called(node.func)}()'
  return {ast.Attribute: lambda: node.attr, ast.Name: lambda: node.id}.get(
      type(node), lambda: '')()


def absent(node) -> bool:
  """Whether an expression is None and nothing else."""
  return isinstance(node, ast.Constant) and node.value is None


def produced(tree):
  """(contract, field) that the calls of a tree give a value."""
  for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
    contract, positional = called(call.func), ()
    if contract in CALLED:
      positional = zip(getattr(types, contract)._fields, call.args, strict=False)
    elif isinstance(call.func, ast.Attribute) and contract == '_replace':
      [contract] = [name for name, words in CALLED.items()
                    if called(call.func.value) in words] or ['']
    given = [*positional, *((keyword.arg, keyword.value) for keyword in call.keywords)]
    yield from ((contract, field) for field, value in given if not absent(value))


def consumed(tree):
  """(contract, field) that a tree reads."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
      yield from ((contract, node.attr) for contract, words in CALLED.items()
                  if called(node.value) in words)
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
      for contract in (name for name, words in CALLED.items() if called(node.value) in words):
        yield from ((contract, field) for field, _ in zip(
            getattr(types, contract)._fields, node.targets[0].elts, strict=False))


def found(of) -> set:
  return {pair for path in ROOT.rglob('*.py') if path != ROOT / 'types.py'
          for pair in of(ast.parse(path.read_text()))}


@pytest.mark.parametrize('of', (produced, consumed))
def test_every_field_has_one(of):
  pairs = found(of)
  lacking = [f'{contract}.{field}' for contract, field in FIELDS if (contract, field) not in pairs]
  assert not lacking, f'nobody in genjax has {of.__name__}: {", ".join(lacking)}'


def test_what_counts_and_what_does_not():
  tree = ast.parse('Model(len, sample=f)\n'
                   'model._replace(elbo=None, energy=g, diffusion=model.diffusion._replace(path=p))'
                   '\nother._replace(fit=f)\nx.fit, guide.log_prob, run.objective.couples\n'
                   'diffusion.denoise(x).x_0\nx_hat, share = diffusion.denoise(x)')
  assert set(produced(tree)) & set(FIELDS) == {
      ('Model', 'init'), ('Model', 'sample'), ('Model', 'energy'), ('Model', 'diffusion'),
      ('Diffusion', 'path')}
  assert set(consumed(tree)) & set(FIELDS) == {
      ('Model', 'diffusion'), ('Model', 'log_prob'), ('Objective', 'couples'),
      ('Diffusion', 'denoise'), ('Denoised', 'x_0'), ('Denoised', 'variance_share')}
