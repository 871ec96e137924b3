import jax
import numpy as np
import pytest

from genjax import data
from genjax.data import toys
from genjax.types import BadInput

SMALL = {'num_train': 400, 'num_validation': 50, 'num_test': 50}
# nats; from the closed forms log K + log(2 pi e) + 2 log s of separated modes and log(area)
ENTROPY = {
    'grid25': 0.0653, 'checkerboard': np.log(32), 'ring8': 2.8327,
    'three_modes': np.log(3) + np.log(2 * np.pi * np.e) + 2 * np.log(0.5),
    'four_modes': np.log(4) + np.log(2 * np.pi * np.e) + 2 * np.log(0.5),
    'normal': np.log(2 * np.pi * np.e),
    'gaussian': np.log(2 * np.pi * np.e) + 0.5 * np.log(0.25 * 2.25),
}


def cells(box, num):
  """Midpoints [num^2, 2] of a grid over the square, and the area of a cell."""
  side = (box[1] - box[0]) / num
  axis = box[0] + side * (np.arange(num) + 0.5)
  return np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2), side ** 2


@pytest.mark.parametrize('name', toys.TOYS)
def test_density_integrates_to_one(name):
  toy = data.load(name, **SMALL)
  points, area = cells(toy.box, 400)
  density = np.exp(jax.lax.map(jax.jit(toy.log_density), points.reshape(100, -1, 2)))
  assert density.sum() * area == pytest.approx(1.0, abs=1e-2 if name == 'checkerboard' else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('name', toys.TOYS)
def test_samples_follow_the_density(name):
  toy = data.load(name, **{**SMALL, 'num_train': 40_000})
  points, area = cells(toy.box, 16 * 24)
  mass = np.exp(jax.lax.map(toy.log_density, points.reshape(64, -1, 2))).reshape(16, 24, 16, 24)
  mass = mass.sum((1, 3)) * area
  drawn = np.asarray(toy.sample(jax.random.key(0), 40_000))
  for x in (toy.splits['train']['x'], drawn):
    assert x.shape == (40_000, 2) and x.dtype == np.float32
    counts = np.histogram2d(x[:, 0], x[:, 1], 16, [toy.box] * 2)[0]
    assert counts.sum() >= 40_000 - 2  # the box holds all mass
    full = mass > 5 / 40_000
    expected = 40_000 * mass[full]
    pearson = ((counts[full] - expected) ** 2 / expected).sum()
    assert pearson < full.sum() + 6 * np.sqrt(2 * full.sum())  # chi2 has mean n, variance 2 n


@pytest.mark.slow
@pytest.mark.parametrize('name', ENTROPY)
def test_entropy_is_the_known_one(name):
  toy = data.load(name, **SMALL)
  x = toy.sample(jax.random.key(1), 100_000)
  assert -float(toy.log_density(x).mean()) == pytest.approx(ENTROPY[name], abs=0.015)


def test_entropy_of_the_small_ring():
  toy = data.load('ring8', radius=1.0, std=0.01, **SMALL)
  x = toy.sample(jax.random.key(1), 100_000)
  assert -float(toy.log_density(x).mean()) == pytest.approx(-4.293, abs=0.015)


def test_log_density_of_a_known_point():
  three = data.load('three_modes', **SMALL)
  x = np.array([[2.0, 2.0], [0.3, -1.0]], np.float32)
  means = np.array([(2, 2), (-2, -2), (2, -2)])
  squared = ((x[:, None] - means) ** 2).sum(-1) / 0.25
  expected = np.log(np.exp(-squared / 2).sum(1) / 3 / (2 * np.pi * 0.25))
  np.testing.assert_allclose(three.log_density(x), expected, rtol=1e-5)
  board = data.load('checkerboard', **SMALL)
  x = np.array([[0.1, 0.1], [0.1, -0.1], [-3.9, -0.1], [4.1, 0.1]], np.float32)
  np.testing.assert_allclose(board.log_density(x), [-np.log(32), -np.inf, -np.inf, -np.inf])


def test_gaussian_is_the_stated_one_in_five_dimensions():
  toy = data.load('gaussian', dim=5, seed=3, num_train=100_000, num_validation=2, num_test=2)
  mean, covariance = toys.gaussian_parameters(5, 3)
  x = toy.splits['train']['x']
  np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
  np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.05)
  delta = x[:7].astype(np.float64) - mean
  expected = -0.5 * (np.einsum('bi,ij,bj->b', delta, np.linalg.inv(covariance), delta)
                     + np.linalg.slogdet(2 * np.pi * covariance)[1])
  np.testing.assert_allclose(toy.log_density(x[:7]), expected, rtol=1e-4)
  assert toy.spec.shape == (5,) and np.abs(covariance[np.triu_indices(5, 1)]).min() > 1e-3


def test_arrays_depend_on_the_seed_and_not_on_the_size_of_another_split():
  first, again = data.load('moons', **SMALL), data.load('moons', **{**SMALL, 'num_train': 7})
  other = data.load('moons', seed=1, **SMALL)
  assert first.identity['sha256']['test'] == again.identity['sha256']['test']
  assert first.identity['sha256']['test'] != other.identity['sha256']['test']
  assert first.identity['sha256']['train'] != first.identity['sha256']['validation']


def test_properties():
  assert data.properties(data.load('ring8', **SMALL)) == {
      'training_set', 'continuous', 'coordinates', 'log_density', 'modes'}
  assert data.properties(data.load('moons', **SMALL)) == {
      'training_set', 'continuous', 'coordinates', 'log_density'}


@pytest.mark.parametrize(('kw', 'words'), [
    ({'radios': 1.0}, 'radius'), ({'std': -1.0}, 'positive number'), ({'std': 'a'}, "'a'"),
    ({'num_train': 0}, 'integers from 1'), ({'seed': 1.5}, 'integer >= 0')])
def test_bad_arguments(kw, words):
  with pytest.raises(BadInput, match=words):
    data.load('ring8', **kw)
