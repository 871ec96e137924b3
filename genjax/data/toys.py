"""Distributions whose density is known: exact samples, exact normalised log density, modes.

All but the checkerboard are mixtures of Gaussians with equal weights and one covariance.
"""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.data import dataset
from genjax.types import BadInput, DataSpec

SIZES = {'train': 50_000, 'validation': 5_000, 'test': 10_000}


class Toy(NamedTuple):
  """A distribution on R^D; draw is `sample` in numpy, for the fixed arrays."""

  dim: int
  recipe: str
  log_density: Callable  # x [B, D] -> [B] nats
  sample: Callable  # (jax key, n) -> [n, D]
  draw: Callable  # (RandomState, n) -> [n, D]
  box: tuple[float, float]
  modes: np.ndarray | None = None
  mode_std: float | None = None


def mixture(centres, std, recipe: str, has_modes: bool = True) -> Toy:
  """The toy of density sum_k N(x; c_k, A A^T) / K.

  centres: c_k, [K, D].
  std: a number (A = std I), or the matrix A [D, D].
  recipe: of the data set.
  has_modes: whether the centres are its modes.
  """
  centres = np.asarray(centres, np.float64)
  num, dim = centres.shape
  isotropic = np.ndim(std) == 0
  factor = std * np.eye(dim) if isotropic else np.asarray(std, np.float64)
  # numpy outside the functions: a data set is loaded before any device is initialised
  inverse = np.linalg.inv(factor).astype(np.float32)
  log_norm = -np.linalg.slogdet(factor)[1] - 0.5 * dim * prob.LOG_2PI - np.log(num)
  means, spread = centres.astype(np.float32), factor.astype(np.float32)

  def log_density(x):
    delta = jnp.asarray(x, jnp.float32)[:, None, :] - means
    white = jnp.einsum('bkd,ed->bke', delta, inverse, precision=jax.lax.Precision.HIGHEST)
    return jax.nn.logsumexp(-0.5 * (white ** 2).sum(-1), axis=1) + log_norm

  def sample(rng, n):
    rng_k, rng_eps = jax.random.split(rng)
    k = jax.random.randint(rng_k, (n,), 0, num)
    eps = jax.random.normal(rng_eps, (n, dim))
    return jnp.asarray(means)[k] + jnp.matmul(eps, spread.T, precision=jax.lax.Precision.HIGHEST)

  def draw(random, n):
    return centres[random.randint(num, size=n)] + random.standard_normal((n, dim)) @ factor.T

  # 6.5 standard deviations of the widest direction: the mass outside is below 1e-9
  edge = float(np.abs(centres).max() + 6.5 * np.sqrt(np.linalg.norm(factor @ factor.T, 2)))
  return Toy(dim, recipe, log_density, sample, draw, (-edge, edge),
             means if has_modes else None,
             float(std) if has_modes and isotropic else None)


def ring8(*, radius: float = 4 / 2 ** 0.5, std: float = 0.5 / 2 ** 0.5) -> Toy:
  """8 Gaussians on a circle; the defaults are the 8gaussians of FFJORD (1810.01367)'s code."""
  angle = 2 * np.pi * np.arange(8) / 8
  centres = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
  return mixture(centres, std, '8 equal Gaussians on a circle')


def grid25(*, spacing: float = 2.0, std: float = 0.05) -> Toy:
  """25 Gaussians on a 5x5 grid; the defaults are the 2D-grid of PacGAN (1712.04086)."""
  axis = spacing * np.arange(-2, 3)
  centres = np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2)
  return mixture(centres, std, '25 equal Gaussians on a 5x5 grid')


def three_modes(*, std: float = 0.5) -> Toy:
  """Equal Gaussians at (2, 2), (-2, -2), (2, -2): no single Gaussian fits it."""
  return mixture([(2, 2), (-2, -2), (2, -2)], std, '3 equal Gaussians at (2,2), (-2,-2), (2,-2)')


def four_modes(*, distance: float = 4.0, std: float = 0.5) -> Toy:
  """Equal Gaussians at (+-distance, +-distance): a Gaussian in one mode has reverse KL log 4."""
  centres = distance * np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
  return mixture(centres, std, '4 equal Gaussians at the corners of a square')


def moons(*, std: float = 0.2) -> Toy:
  """Two interleaved half circles with Gaussian noise, *defined* as 64 equal Gaussians on each.

  Neighbouring centres are 0.1 apart, half of the default std, so the density is smooth along the
  arcs, and it is exact. Radius 2, centres of the circles (-1, -0.2) and (1, 0.8).
  """
  angle = np.pi * (np.arange(64) + 0.5) / 64
  upper = np.stack([np.cos(angle), np.sin(angle)], 1)
  lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
  centres = 2 * np.concatenate([upper, lower]) + np.array([-1.0, -0.2])
  return mixture(centres, std, '2 half circles, each 64 equal Gaussians on the arc', False)


def gaussian_parameters(dim: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """mean [dim] and full covariance [dim, dim] of the toy 'gaussian', in float64.

  Eigenvalues lie evenly in [0.25, 2.25], along a random orthogonal basis; mean ~ N(0, I).
  """
  random = np.random.RandomState([seed, 7])
  mean = random.standard_normal(dim)
  basis = np.linalg.qr(random.standard_normal((dim, dim)))[0]
  return mean, (basis * np.linspace(0.25, 2.25, dim)) @ basis.T


def gaussian(*, dim: int = 2, seed: int = 0) -> Toy:
  """One Gaussian with the full covariance of `gaussian_parameters(dim, seed)`."""
  mean, covariance = gaussian_parameters(dim, seed)
  return mixture(mean[None], np.linalg.cholesky(covariance), 'a Gaussian of full covariance',
                 False)


def normal(*, dim: int = 2) -> Toy:
  """N(0, I) in any dimension, of which most figures are known in closed form."""
  return mixture(np.zeros((1, dim)), 1.0, 'a standard Gaussian', False)


def checkerboard(*, edge: float = 4.0) -> Toy:
  """Uniform on the 8 dark squares of a 4x4 board on (-edge, edge)^2; log density -inf elsewhere."""
  side = edge / 2

  def log_density(x):
    x = jnp.asarray(x, jnp.float32)
    inside = (jnp.abs(x) < edge).all(-1)
    dark = jnp.floor(x / side).sum(-1) % 2 == 0
    return jnp.where(inside & dark, -np.log(2 * edge ** 2), -jnp.inf)

  # the dark squares of a column 0..3 are its squares 2 row + column % 2, for row 0 and 1
  def place(column, row, u):
    return side * (u + np.array([-2, -2]) + _pair(column, 2 * row + column % 2))

  def sample(rng, n):
    rng_k, rng_u = jax.random.split(rng)
    k = jax.random.randint(rng_k, (n,), 0, 8)
    return place(k % 4, k // 4, jax.random.uniform(rng_u, (n, 2)))

  def draw(random, n):
    k = random.randint(8, size=n)
    return place(k % 4, k // 4, random.random_sample((n, 2)))

  return Toy(2, 'uniform on the dark squares of a 4x4 board', log_density, sample, draw,
             (-edge, edge))


def _pair(a, b):
  return a[:, None] * np.array([1, 0]) + b[:, None] * np.array([0, 1])


TOYS = {f.__name__: f for f in (ring8, grid25, checkerboard, moons, three_modes, four_modes,
                                gaussian, normal)}


def make(name: str, *, seed: int = 0, num_train: int = SIZES['train'],
         num_validation: int = SIZES['validation'], num_test: int = SIZES['test'],
         **kw) -> dataset.Dataset:
  """The toy as a Dataset of float32 vectors.

  name: one of TOYS.
  seed: of the arrays, each split with its own stream, and of the toy if it takes one.
  num_train, num_validation, num_test: sizes of the splits.
  kw: keyword arguments of the toy.
  """
  allowed = inspect.signature(TOYS[name]).parameters
  kw = {key: kw.get(key, parameter.default) for key, parameter in allowed.items()}
  if 'seed' in kw:
    kw['seed'] = seed
  sizes = dict(zip(dataset.SPLITS, (num_train, num_validation, num_test), strict=True))
  all_kw = {**kw, 'seed': seed, **{f'num_{split}': size for split, size in sizes.items()}}
  _check_numbers(name, all_kw)
  toy = TOYS[name](**kw)
  splits = {split: {'x': toy.draw(np.random.RandomState([seed, i]), n).astype(np.float32)}
            for i, (split, n) in enumerate(sizes.items())}
  return dataset.Dataset(
      name, DataSpec((toy.dim,), None, None), splits,
      dataset.identity(name, all_kw, f'{toy.recipe}; numpy RandomState([seed, split])', splits),
      toy.log_density, toy.sample, toy.modes, toy.mode_std, toy.box)


def maker(name: str) -> Callable:
  """`make` for one toy, with a signature of exactly the arguments that it takes."""
  function = functools.partial(make, name)
  own = inspect.signature(TOYS[name]).parameters
  common = [p for key, p in inspect.signature(make).parameters.items()
            if key not in ('name', 'kw', *own)]
  function.__signature__ = inspect.Signature([*own.values(), *common])
  return function


def _check_numbers(name: str, kw: dict):
  """Raises BadInput unless counts are positive integers, seed >= 0 and lengths positive."""
  for key, value in kw.items():
    whole = key in ('seed', 'dim') or key.startswith('num_')
    least = 0 if key == 'seed' else 1
    good = (type(value) is int and value >= least) if whole else (
        type(value) in (int, float) and 0 < value < float('inf'))
    if not good:
      kind = f'an integer >= {least}' if whole else 'a positive number'
      raise BadInput(f'data set {name!r}: {key} must be {kind}, got {value!r}')
