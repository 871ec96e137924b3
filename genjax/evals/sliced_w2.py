"""Sliced 2-Wasserstein distance of features: one-dimensional transport along many directions."""

from typing import NamedTuple

import numpy as np

from genjax.evals import card as cards
from genjax.evals import influence, two_sample
from genjax.evals.kinds import OfSamples
from genjax.types import BadInput, Estimator

METRICS = ('sliced_w2',)
BLOCK = 32  # directions whose projections are held at once
ESTIMAND = ('root of the expected squared distance over both samples, at the N of this card, given '
            'the directions')
METHOD = ("delta method, influences by Kantorovich potentials; Hall's for skewness, the upper end "
          f'raised; features of a kurtosis up to {influence.KURTOSIS:g} alone')


def make(*, num_projections: int = 128, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of sliced_w2, sliced_w2_data, sliced_w2_single; feature units.

  It is the root of the mean over num_projections directions of the squared 1-D W2 between the
  samples and the whole split. Under equal distributions it is above 0; `_data` shows by how much.
  The card's detail has mind = 3 d times the mean square (2605.06797), here of all rows. Features
  with heavy tails have no interval (`influence.refusal`). Raises BadInput without a direction.
  """
  if not isinstance(num_projections, int) or num_projections < 1:
    raise BadInput(f"evaluator 'sliced_w2': num_projections={num_projections!r}; allowed: integers "
                   'from 1')

  def measure(x, y, card):
    dim = x.shape[1]
    squared, of_x, of_y = squared_and_influences(x, y, num_projections)
    own = card('sliced_w2', unit='feature units', dim=dim, coupling='exact, of all rows',
               directions='equally spaced' if dim == 2 else 'random, seed 0')
    own = {**own, 'detail': {'mind': 3 * dim * squared}}
    refused = influence.refusal(x, y)
    if refused:
      return {'sliced_w2': cards.plain(np.sqrt(squared), own, refused)}
    return {'sliced_w2': cards.with_interval(
        np.sqrt(squared), *np.sqrt(influence.ends(squared, of_x, of_y)), own, ESTIMAND, METHOD)}

  return two_sample.of_features(METRICS, measure, subset_seed=subset_seed,
                                protocol={'num_projections': num_projections})


ESTIMATORS = {'features': Estimator(two_sample.NEEDS, make, 'samples')}


class Coupling(NamedTuple):
  """The monotone coupling of n and m sorted points: pieces [S] of mass, ascending."""

  of_x: np.ndarray  # int [S]: row of the sorted x that a piece belongs to
  of_y: np.ndarray  # int [S]: likewise for the sorted y
  mass: np.ndarray  # float64 [S], sums to 1
  start_x: np.ndarray  # int [n]: first piece of each row of the sorted x
  start_y: np.ndarray  # int [m]: likewise for y


def coupling(n: int, m: int) -> Coupling:
  """Coupling by which rows i, j share the mass in [i / n, (i + 1) / n] and [j / m, (j + 1) / m]."""
  edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # integers: times n m
  of_x, of_y = edges[:-1] // m, edges[:-1] // n
  return Coupling(of_x, of_y, np.diff(edges) / (n * m), np.searchsorted(of_x, np.arange(n)),
                  np.searchsorted(of_y, np.arange(m)))


def directions(dim: int, number: int, seed: int = 0) -> np.ndarray:
  """Unit vectors [dim, number]: equally spaced in 2-D, otherwise random with this seed."""
  if dim == 2:
    angle = np.pi * np.arange(number) / number
    return np.stack([np.cos(angle), np.sin(angle)])
  v = np.random.default_rng(seed).standard_normal((dim, number))
  return v / np.linalg.norm(v, axis=0)


def sliced_w2_squared(x, y, num_projections: int = 128, seed: int = 0) -> float:
  """Mean over directions of the squared 1-D W2 of x [N, d] and y [M, d] (1902.00434, Eq. 9).

  It is exact for any N and M: the integral over [0, 1] of the squared difference of quantiles.
  """
  return squared_and_influences(x, y, num_projections, seed, influences=False)[0]


def sliced_w2(x, y, num_projections: int = 128, seed: int = 0) -> float:
  """The root of `sliced_w2_squared`, in units of x."""
  return float(np.sqrt(sliced_w2_squared(x, y, num_projections, seed)))


def squared_and_influences(x, y, num_projections: int = 128, seed: int = 0, influences=True):
  """The squared distance, and the influence of each row of x [N] and of y [M] on it.

  x, y, num_projections, seed: as in `sliced_w2_squared`; influences=False: the influences are 0.
  A point's influence on a squared W2 is its Kantorovich potential: f' = 2 (x - T(x)), with T the
  monotone map, here the mean of the points that share the point's mass.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  plan = coupling(len(x), len(y))
  thetas = directions(x.shape[1], num_projections, seed)
  total, of_x, of_y = 0.0, np.zeros(len(x)), np.zeros(len(y))
  for first in range(0, num_projections, BLOCK):
    theta = thetas[:, first:first + BLOCK]
    for a, b in zip((x @ theta).T, (y @ theta).T, strict=True):
      if not influences:
        total += plan.mass @ (np.sort(a)[plan.of_x] - np.sort(b)[plan.of_y]) ** 2
        continue
      order_a, order_b = np.argsort(a), np.argsort(b)
      a, b = a[order_a], b[order_b]
      long_a, long_b = a[plan.of_x], b[plan.of_y]
      total += plan.mass @ (long_a - long_b) ** 2
      of_x[order_a] += _potential(a, np.add.reduceat(plan.mass * long_b, plan.start_x) * len(a))
      of_y[order_b] += _potential(b, np.add.reduceat(plan.mass * long_a, plan.start_y) * len(b))
  return total / num_projections, of_x / num_projections, of_y / num_projections


def _potential(a, mapped):
  """The integral of 2 (a - mapped) over the sorted points a, shifted to mean 0."""
  slope = a - mapped
  steps = np.diff(a) * (slope[1:] + slope[:-1])
  potential = np.concatenate([[0.0], np.cumsum(steps)])
  return potential - potential.mean()
