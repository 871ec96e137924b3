"""Batches of one shape, and features that are not computed twice."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import disk, encoders, sharding
from genjax.encoders import batched
from genjax.types import BadInput, DataSpec


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
  kept = batched.keep(counted(calls), {'name': 'a', 'sha256': '1'})
  assert (kept(x) == x[:, :1]).all() and (kept(x.copy()) == x[:, :1]).all() and calls == [10]
  another_process = batched.keep(counted(calls), {'name': 'a', 'sha256': '1'})
  assert (another_process(x) == x[:, :1]).all() and calls == [10]
  kept(x + 1)
  batched.keep(counted(calls), {'name': 'a', 'sha256': '2'})(x)
  assert calls == [10, 10, 10]


def test_what_was_encoded_before_a_kill_is_found_again(cache, monkeypatch):
  monkeypatch.setattr(batched, 'CHUNK', 4)
  x, calls = np.arange(20).reshape(10, 2), []

  def killed(rows):
    if len(calls) == 2:
      raise KeyboardInterrupt
    return counted(calls)(rows)

  with pytest.raises(KeyboardInterrupt):
    batched.keep(killed, {'name': 'a'})(x)
  assert calls == [4, 4] and len(list(cache.iterdir())) == 2
  assert (batched.keep(counted(calls), {'name': 'a'})(x) == x[:, :1]).all() and calls == [4, 4, 2]


def test_only_a_few_sets_are_remembered(cache, monkeypatch):
  monkeypatch.setattr(disk, 'LIMIT', 0)
  calls = []
  kept = batched.keep(counted(calls), {})
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
