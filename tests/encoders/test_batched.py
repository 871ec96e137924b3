"""Batches of one shape, and features that are not computed twice."""

import ast
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import disk, encoders, sharding
from genjax.encoders import batched
from genjax.types import BadInput, DataSpec

SPEC = DataSpec((3,), 256, None)


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  return tmp_path / 'features'


def test_the_last_batch_is_filled_up_and_cut():
  shapes = []

  @sharding.jit(split=True)
  def function(rows):
    shapes.append(rows.shape)
    return jnp.sum(rows, -1), rows[:, 0]

  x = np.arange(20, dtype=np.float32).reshape(10, 2)
  total, first = batched.apply(function, x, 4)
  assert total.tolist() == x.sum(1).tolist() and first.tolist() == x[:, 0].tolist()
  assert shapes == [(4, 2)]


def counted(calls):
  def features(x):
    calls.append(len(x))
    return x.astype(np.float32)[:, :1]

  return features


def test_the_same_bytes_are_not_encoded_twice(cache):
  calls, x = [], np.arange(30).reshape(10, 3)
  kept = batched.keep(counted(calls), {'name': 'a', 'sha256': '1'}, SPEC)
  assert (kept(x) == x[:, :1]).all() and (kept(x.copy()) == x[:, :1]).all() and calls == [10]
  another_process = batched.keep(counted(calls), {'name': 'a', 'sha256': '1'}, SPEC)
  assert (another_process(x) == x[:, :1]).all() and calls == [10]
  kept(x + 1)
  batched.keep(counted(calls), {'name': 'a', 'sha256': '2'}, SPEC)(x)
  assert calls == [10, 10, 10]


def test_what_was_encoded_before_a_kill_is_found_again(cache, monkeypatch):
  monkeypatch.setattr(batched, 'CHUNK', 4)
  x, calls = np.arange(20).reshape(10, 2), []

  def killed(rows):
    if len(calls) == 2:
      raise KeyboardInterrupt
    return counted(calls)(rows)

  with pytest.raises(KeyboardInterrupt):
    batched.keep(killed, {'name': 'a'}, SPEC)(x)
  assert calls == [4, 4] and len(list(cache.iterdir())) == 2
  again = batched.keep(counted(calls), {'name': 'a'}, SPEC)
  assert (again(x) == x[:, :1]).all() and calls == [4, 4, 2]


def test_levels_and_shape_are_in_the_key(cache):
  # the same bytes with fewer levels are other images
  calls, x = [], np.zeros((4, 3), np.uint8)
  for spec in (SPEC, SPEC._replace(levels=17), SPEC._replace(shape=(3, 1)), SPEC):
    batched.keep(counted(calls), {'name': 'a'}, spec)(x)
  assert calls == [4, 4, 4]


def test_features_of_another_compiler_are_computed_again(cache, monkeypatch):
  calls, x = [], np.zeros((2, 8, 8, 1), np.uint8)
  for flags in ('', '--xla_backend_optimization_level=0', ''):
    monkeypatch.setenv('XLA_FLAGS', flags)
    batched.keep(counted(calls), {'name': 'a'}, SPEC)(x)
  assert len(calls) == 2


def test_features_of_changed_code_are_computed_again(cache, monkeypatch):
  calls, x = [], np.zeros((4, 3), np.uint8)
  batched.keep(counted(calls), {'name': 'a'}, SPEC)(x)
  monkeypatch.setattr(disk, 'source_digest', lambda *parts: 'other')
  batched.keep(counted(calls), {'name': 'a'}, SPEC)(x)
  assert calls == [4, 4]


def test_the_code_in_the_key_is_what_encoders_import():
  root = pathlib.Path(encoders.__file__).parents[1]
  covered = {p for top in batched.CODE for p in [root / top, *(root / top).rglob('*.py')]}
  # what computes no feature: files, devices, the contract
  covered |= {root / name for name in ('disk.py', 'sharding.py', 'types.py')}
  for path in (root / 'encoders').glob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.ImportFrom) and node.module.startswith('genjax'):
        place = root.joinpath(*node.module.split('.')[1:])
        for name in node.names:
          candidates = {place, place / f'{name.name}.py', place / name.name,
                        place.with_suffix('.py')}
          assert candidates & covered, f'{path.name} imports {node.module}.{name.name}'


def test_only_a_few_sets_are_remembered(cache, monkeypatch):
  monkeypatch.setattr(disk, 'LIMIT', 0)
  calls = []
  kept = batched.keep(counted(calls), {}, SPEC)
  for i in (*range(batched.MEMORY + 1), batched.MEMORY, 0):
    kept(np.full((2, 2), i))
  assert len(calls) == batched.MEMORY + 2


def test_identity_changes_nothing():
  x = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1))
  pixels = encoders.load('identity', DataSpec((8, 8, 1), 17, 10))
  assert (pixels.features(x) == x.reshape(5, 64)).all()
  assert pixels.features(x).dtype == np.float32 and pixels.card['dim'] == 64
  points = encoders.load('identity', DataSpec((2,), None, None))
  assert points.features(np.array([[0.5, -1.0]])).tolist() == [[0.5, -1.0]]
  with pytest.raises(BadInput, match=r'\(4, 4\).*allowed: \(2,\)'):
    points.features(np.zeros((3, 4, 4)))
