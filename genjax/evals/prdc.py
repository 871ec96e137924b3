"""Precision, recall, density and coverage by k-nearest-neighbour balls in a feature space."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.evals import card as cards
from genjax.evals import neighbours, two_sample
from genjax.evals.kinds import OfSamples
from genjax.types import BadInput, Estimator

METRICS = ('precision', 'recall', 'density', 'coverage')
CLOSED = 'in a ball: distance <= radius, that to the k-th nearest other point'
OPEN = 'in a ball: distance < radius, that to the k-th nearest other point'
ESTIMAND = 'expectation over samples of this N, given the reference points'
JACKKNIFE = 'delete-one jackknife over the samples, the upper end on a log scale'
NO_RECALL = ('no calibrated interval: a few samples with large balls decide it, and a delete-one '
             'jackknife at level .95 covered .64 to 1')
EQUAL_NUMBERS = 'no interval: all samples are in the same number of balls, which shows no spread'
NOT_ALONE = ('no interval: no sample covers a reference point alone, so that leaving one out shows '
             'no spread')
LEAST = 50  # fewer are skewed: intervals contained coverage in .86 of simulations, density in .93
TOO_FEW = f'no calibrated interval: fewer than {LEAST} {{}}'
# bits of a pair: undecided by the error bound; sample in the closed ball, or in the open ball, of
# the reference point; reference point in the ball of the sample
UNSURE, INSIDE, COVERS, HOLDS = 1, 2, 4, 8


class Counts(NamedTuple):
  """How N samples and M reference points lie in each other's balls."""

  inside: np.ndarray  # bool [N]: in a closed ball around a reference point
  number: np.ndarray  # int [N]: open balls around reference points that the sample is in
  covers_alone: np.ndarray  # int [N]: points whose open ball holds this sample and no other
  covered: np.ndarray  # bool [M]: a sample is in the open ball around this reference point
  recalled: np.ndarray  # bool [M]: in a closed ball around a sample


def make(*, k_ball: int = 3, k_density: int = 5, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of precision, recall, density, coverage, each with `_data` and `_single`.

  Precision and recall (1904.06991, Sec. 2): share of samples in a ball around a reference point,
  and of reference points in a ball around a sample; density and coverage: 2002.09797, Sec. 3.
  k_ball, k_density: neighbours that give the radius, in the first and in the second pair. N is the
  same on both sides: at most num_samples and the sizes of the splits. Raises BadInput for numbers
  of neighbours below 1, or not below N.
  """
  if not (isinstance(k_ball, int) and isinstance(k_density, int) and min(k_ball, k_density) > 0):
    raise BadInput(f'evaluator prdc: k_ball={k_ball!r}, k_density={k_density!r}; '
                   'allowed: integers from 1')

  def measure(x, y, card):
    counted = counts(x, y, k_ball, k_density)
    closed = {'unit': 'share', 'k': k_ball, 'ties': CLOSED}
    opened = {'unit': 'share', 'k': k_density, 'ties': OPEN}
    return {
        'precision': cards.of_share(
            int(counted.inside.sum()), len(x), card('precision', **closed), ESTIMAND),
        'recall': cards.plain(counted.recalled.mean(), card('recall', **closed), NO_RECALL),
        'density': of_number(counted, k_density,
                             card('density', **{**opened, 'unit': 'open balls over k'})),
        'coverage': of_covered(counted, card('coverage', **opened))}

  return two_sample.of_features(METRICS, measure, equal=True, subset_seed=subset_seed,
                                at_least=max(k_ball, k_density) + 1)


ESTIMATORS = {'features': Estimator(two_sample.NEEDS, make, 'samples')}


def prdc(generated, reference, k_ball: int = 3, k_density: int = 5) -> dict[str, float]:
  """{metric: value} of generated [N, d] and reference [M, d] features; k_*: see `make`."""
  counted = counts(generated, reference, k_ball, k_density)
  return {'precision': float(counted.inside.mean()), 'recall': float(counted.recalled.mean()),
          'density': float(counted.number.mean() / k_density),
          'coverage': float(counted.covered.mean())}


def of_number(counted: Counts, k: int, card: dict) -> cards.Value:
  """Density: given the reference points, the mean of independent counts, over k."""
  if np.sum(counted.number > 0) < LEAST:
    return cards.plain(counted.number.mean() / k, card, TOO_FEW.format('samples are in a ball'))
  if np.ptp(counted.number) == 0:
    return cards.plain(counted.number.mean() / k, card, EQUAL_NUMBERS)
  return cards.of_mean(counted.number / k, card, ESTIMAND)


def of_covered(counted: Counts, card: dict) -> cards.Value:
  """Coverage with its jackknife interval: deleting sample i uncovers c_i points only it covers.

  sum_i (c_i / M)^2 is at least the variance in expectation (Efron and Stein 1981). A small share
  has a small estimate of its spread, so the upper end is taken on a log scale. Its own coverage is
  .94 to .99 (tests/evals/test_prdc.py: 200 samples of Gaussians, the reference fixed).
  """
  share, change = counted.covered.mean(), counted.covers_alone / len(counted.covered)
  half = cards.Z * np.sqrt(np.sum(change**2))
  if np.sum(counted.covered) < LEAST:
    return cards.plain(share, card, TOO_FEW.format('reference points are covered'))
  if half == 0.0:
    return cards.plain(share, card, NOT_ALONE)
  return cards.with_interval(share, max(share - half, 0.0), min(share * np.exp(half / share), 1.0),
                             card, ESTIMAND, JACKKNIFE)


def counts(x, y, k_ball: int = 3, k_density: int = 5) -> Counts:
  """Exact Counts of samples x [N, d] and reference points y [M, d], computed in blocks."""
  x, y = (np.ascontiguousarray(a, np.float32) for a in (x, y))
  n, m = len(x), len(y)
  radii_x = neighbours.nearest(x, x, k=k_ball, same=True)[0][:, -1]
  radii_y = neighbours.nearest(y, y, k=max(k_ball, k_density), same=True)[0]
  radii_y = radii_y[:, [k_ball - 1, k_density - 1]].T
  columns = neighbours.place(x, y)
  scaled_x, scaled_y = ((r * float(columns.scale) ** 2).astype(np.float32)
                        for r in (radii_x, radii_y))
  width = len(columns.points)
  scaled_x = np.pad(scaled_x, (0, width - n))
  inside, number, alone = (np.zeros(width, kind) for kind in (bool, np.int64, np.int64))
  covered, recalled = np.zeros(m, bool), np.zeros(m, bool)
  for start, stop, index in neighbours.blocks(m, neighbours.height(m, n)):
    real = np.arange(len(index)) < stop - start
    is_inside, is_in, covers, holds, marks = (np.array(a) for a in _sift(
        y[index], real, scaled_y[:, index], columns, scaled_x))
    i, j = np.nonzero(marks)
    unsure = marks[i, j] == UNSURE
    row, sample = i[unsure], j[unsure]
    d2 = neighbours.exact(y, x, index[row], sample)
    closed, opened = d2 <= radii_y[0, index[row]], d2 < radii_y[1, index[row]]
    inside |= is_inside
    inside[sample[closed]] = True
    number += is_in
    np.add.at(number, sample[opened], 1)
    np.add.at(covers, row[opened], 1)
    np.add.at(holds, row[d2 <= radii_x[sample]], 1)
    covered[start:stop], recalled[start:stop] = (a[:stop - start] > 0 for a in (covers, holds))
    covering = ~unsure
    covering[unsure] = opened
    np.add.at(alone, j[covering & (covers[i] == 1)], 1)
  return Counts(inside[:n], number[:n], alone[:n], covered, recalled)


@sharding.jit
def _sift(rows, real, radii_rows, columns, radii_columns):
  """Counts from the decided pairs of a block of reference points and all samples, and marks.

  rows: reference points [B, d]; real [B]: False for rows that pad the block.
  radii_rows: [2, B], of the closed and the open balls around the rows.
  columns, radii_columns: the samples, and radii [N] of the closed balls around them.
  Returns inside and number [N] of the samples. For the rows [B], it returns the number of samples
  in their open ball, and the number in whose balls they are. marks [B, N]: undecided pairs, and
  samples that may be alone in a row's open ball.
  """
  lower, upper = neighbours.bounds(rows, columns)
  closed, opened = radii_rows[:, :, None]
  sure = real[:, None]
  for radius in (closed, opened, radii_columns):
    sure &= (upper < radius) | (lower > radius)
  # one byte a pair holds all conditions: XLA would keep each of them in memory
  bit = lambda condition, value: jnp.where(condition, jnp.uint8(value), jnp.uint8(0))
  bits = (bit(upper < closed, INSIDE) | bit(upper < opened, COVERS)
          | bit(upper < radii_columns, HOLDS))
  bits = jnp.where(sure, bits, bit(real[:, None], UNSURE))

  def count(value, axis):
    one = (bits & value > 0).astype(jnp.int32)
    return neighbours.in_groups(one, axis).sum(1).sum(axis)

  covers = count(COVERS, 1)
  marks = bits & (UNSURE | bit(covers <= 1, COVERS))[:, None]
  return count(INSIDE, 0) > 0, count(COVERS, 0), covers, count(HOLDS, 1), marks
