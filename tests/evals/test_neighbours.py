"""Nearest neighbours: brute force in float64, ties, duplicates, digits, devices, memory."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from genjax.evals import neighbours
from genjax.types import BadInput

ROOT = pathlib.Path(__file__).parent.parent.parent


def brute(x, y, k, same):
  d2 = ((x[:, None].astype(np.float64) - y[None]) ** 2).sum(-1)
  if same:
    np.fill_diagonal(d2, np.inf)
  index = np.argsort(d2, 1, kind='stable')[:, :k]
  return np.take_along_axis(d2, index, 1), index


def check(x, y, k, same=False, rtol=1e-12):
  d2, index = neighbours.nearest(x, y, k=k, same=same)
  expected, expected_index = brute(x, x if same else y, k, same)
  np.testing.assert_array_equal(index, expected_index)
  np.testing.assert_allclose(d2, expected, rtol=rtol, atol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize('d', [1, 3, 16, 17, 300])  # differences, and the matrix product
def test_equals_brute_force_with_duplicates(d):
  rng = np.random.default_rng(d)
  x = rng.standard_normal((90, d)).astype(np.float32)
  y = (rng.standard_normal((300, d)) + 0.3).astype(np.float32)
  x[2], x[4], x[20:50], y[5], y[100:160] = x[1], y[7], x[19], y[3], y[50]
  for k in (1, 2, 5):  # minima of groups first, where there are enough
    check(x, y, k)
    check(y, y, k, same=True)


def test_several_blocks(monkeypatch):
  monkeypatch.setattr(neighbours, 'MAX_ROWS', 32)
  rng = np.random.default_rng(0)
  x = rng.standard_normal((101, 70)).astype(np.float32)
  check(x, x, 4, same=True)


def test_equal_distances_go_to_the_lower_index():
  rng = np.random.default_rng(1)
  for d in (2, 4, 80):
    x = rng.integers(0, 2 if d > 4 else 3, (300, d)).astype(np.float32)
    check(x, x, 6, same=True)
    check(x[:50], x, 3)


def test_nearest_excludes_a_point_and_not_its_duplicate():
  x = np.array([[0.0], [0.0], [1.0], [3.0]], np.float32)
  d2, index = neighbours.nearest(x, x, k=2, same=True)
  np.testing.assert_array_equal(d2, [[0, 1], [0, 1], [1, 1], [4, 9]])
  np.testing.assert_array_equal(index, [[1, 2], [0, 2], [0, 1], [2, 0]])


@pytest.mark.parametrize('d', [8, 128])
def test_points_that_nearly_coincide_lose_no_digits(d):
  """Offsets of 1e-4 beside points of length sqrt(d) 100: of these a matrix product sees nothing."""
  rng = np.random.default_rng(2)
  x = 100 * rng.standard_normal((60, d))
  x = np.concatenate([x + 1e-4 * i * rng.standard_normal((60, d)) for i in range(3)])
  x = x.astype(np.float32)
  check(x, x, 3, same=True)
  product = (x**2).sum(1)[:, None] + (x**2).sum(1) - 2 * x @ x.T
  np.fill_diagonal(product, np.inf)
  assert np.mean(np.abs(product.min(1) / brute(x, x, 1, True)[0][:, 0] - 1) > 0.1) > 0.5


@pytest.mark.parametrize('factor', [1e-18, 1.0, 1e18])
def test_any_scale(factor):
  rng = np.random.default_rng(3)
  for d in (5, 90):
    x = (factor * (rng.standard_normal((80, d)) + 50)).astype(np.float32)
    check(x, x, 4, same=True)


def test_the_bounds_hold():
  """Of every pair, and not by so much that they decide nothing."""
  rng = np.random.default_rng(4)
  for d in (3, 16, 17, 2048):
    x, y = (rng.gamma(0.3, size=(n, d)).astype(np.float32) for n in (64, 96))
    columns = neighbours.place(y, x)
    lower, upper = (np.asarray(a, np.float64) / float(columns.scale) ** 2
                    for a in neighbours.bounds(x, columns))
    true = ((x[:, None].astype(np.float64) - y[None]) ** 2).sum(-1)
    assert np.all(lower <= true) and np.all(true <= upper)
    assert np.median(upper - lower) < 0.02 * np.median(true)


def test_many_copies_cost_no_more_than_a_few():
  """All pairs of 4,000 copies would be 16 million differences of 512 coordinates: a minute."""
  x = np.ones((4000, 512), np.float32)
  d2, index = neighbours.nearest(x, x, k=3, same=True)
  assert not d2.any()
  np.testing.assert_array_equal(index[[0, 1, 2, 3, 3999]],
                                [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2]])


def test_too_few_points_are_refused():
  x = np.zeros((5, 2), np.float32)
  assert neighbours.nearest(x, x, k=5)[1].shape == (5, 5)
  for k, same in ((0, False), (6, False), (5, True)):
    with pytest.raises(BadInput, match=f'k={k}'):
      neighbours.nearest(x, x, k=k, same=same)


DEVICES = """
import jax, numpy as np
from genjax import sharding
from genjax.evals import neighbours, prdc
assert jax.device_count() == 8
rng = np.random.default_rng(0)
x = rng.standard_normal((260, 100)).astype(np.float32)
y = rng.standard_normal((280, 100)).astype(np.float32) * 1.1
one = neighbours.nearest(x, y, k=4), prdc.counts(x, y)
with sharding.on(sharding.make_mesh(2)):
  eight = neighbours.nearest(x, y, k=4), prdc.counts(x, y)
  columns = neighbours.place(y)
  near = neighbours._near.lower(x[:256], np.arange(256), columns, k=4).compile()
for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
  np.testing.assert_array_equal(a, b)
text = near.as_text()
assert 'f32[32,288]' in text and 'f32[256,288]' not in text, text  # each device has 32 of the rows
"""


@pytest.mark.slow
def test_rows_are_split_over_devices():
  flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'
  env = {**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run([sys.executable, '-c', DEVICES], cwd=ROOT, env=env, capture_output=True,
                        text=True)
  assert done.returncode == 0, done.stderr[-3000:]
