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
LEAST = 50  # with fewer the distributions are skewed: coverage was covered by .86, density by .93
TOO_FEW = f'no calibrated interval: fewer than {LEAST} {{}}'
# a pair that the bound of the error does not decide; a sample in the closed, in the open ball of a
# reference point; that in the ball of a sample
UNSURE, INSIDE, COVERS, HOLDS = 1, 2, 4, 8


class Counts(NamedTuple):
  """What N samples and M reference points have of each other."""

  inside: np.ndarray  # bool [N]: in a closed ball around a reference point
  number: np.ndarray  # int [N]: open balls around reference points that the sample is in
  covers_alone: np.ndarray  # int [N]: points whose open ball holds this sample and no other
  covered: np.ndarray  # bool [M]: a sample is in the open ball around this reference point
  recalled: np.ndarray  # bool [M]: in a closed ball around a sample


def make(*, k_ball: int = 3, k_density: int = 5, subset_seed: int = 0) -> OfSamples:
  """Returns the evaluator of precision, recall, density, coverage, each with `_data` and `_single`.

  Precision and recall (1904.06991, Sec. 2): share of samples in a ball around a reference point,
  and of reference points in a ball around a sample; density and coverage: 2002.09797, Sec. 3.
  N is the same on both sides: at most num_samples, and the sizes of the splits. Raises BadInput
  for numbers of neighbours below 1; N must be above them.
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
  """The four figures of generated [N, d] and reference [M, d] features."""
  counted = counts(generated, reference, k_ball, k_density)
  return {'precision': float(counted.inside.mean()), 'recall': float(counted.recalled.mean()),
          'density': float(counted.number.mean() / k_density),
          'coverage': float(counted.covered.mean())}


def of_number(found: Counts, k: int, card: dict) -> cards.Value:
  """Density: given the reference points, a mean of independent counts over k."""
  if np.sum(found.number > 0) < LEAST:
    return cards.plain(found.number.mean() / k, card, TOO_FEW.format('samples are in a ball'))
  if np.ptp(found.number) == 0:
    return cards.plain(found.number.mean() / k, card, EQUAL_NUMBERS)
  return cards.of_mean(found.number / k, card, ESTIMAND)


def of_covered(found: Counts, card: dict) -> cards.Value:
  """Coverage with the jackknife: sample i leaving uncovers c_i points, those it covers alone.

  sum_i (c_i / M)^2 has at least the expectation of the variance (Efron and Stein 1981). A small
  share comes with a small estimate of its spread, so the upper end is that of the logarithm. It
  covers .94 to .99 (tests/evals/test_prdc.py: 200 samples of Gaussians, the reference fixed).
  """
  share, change = found.covered.mean(), found.covers_alone / len(found.covered)
  half = cards.Z * np.sqrt(np.sum(change**2))
  if np.sum(found.covered) < LEAST:
    return cards.plain(share, card, TOO_FEW.format('reference points are covered'))
  if half == 0.0:
    return cards.plain(share, card, NOT_ALONE)
  return cards.with_interval(share, max(share - half, 0.0), min(share * np.exp(half / share), 1.0),
                             card, ESTIMAND, JACKKNIFE)


def counts(x, y, k_ball: int = 3, k_density: int = 5) -> Counts:
  """Who is in whose ball, of samples x [N, d] and reference points y [M, d]; exact, in blocks."""
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
  """What is sure of a block of reference points [B, d] and all samples, and the pairs to look at.

  Radii [2, B] of the closed and the open balls around the rows, [N] of the closed balls around the
  columns. real [B]: False for rows that fill the block. Returns inside and number [N]; of the rows
  [B], how many samples are in their open ball, and in whose balls they are; and marks [B, N] of
  pairs: those that are not sure, and samples that are surely alone in the open ball of a row.
  """
  lower, upper = neighbours.bounds(rows, columns)
  closed, opened = radii_rows[:, :, None]
  sure = real[:, None]
  for radius in (closed, opened, radii_columns):
    sure &= (upper < radius) | (lower > radius)
  # one byte a pair, from which all is counted: of its parts XLA would keep each in memory
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
