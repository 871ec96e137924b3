"""Intervals over seeds: closed forms, what each covers, and that both are printed."""

import numpy as np
import pytest

from genjax.tables import interval, render
from tests.cells import ROWS, cells_of, column, finish, table_of, value


@pytest.mark.parametrize('count, quantile', [
    (2, 12.706204736432095), (3, 4.302652729911275), (10, 2.2621571627409915),
    (31, 2.0422724563012373)])
def test_half_widths_are_student_s(count, quantile):
  values = np.arange(count, dtype=float)
  expected = quantile * values.std(ddof=1) / np.sqrt(count)
  assert interval.t_half_width(values) == pytest.approx(expected, rel=1e-9)


def test_mean_with_the_interval_over_seeds_and_the_one_that_holds_both_noises(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 3)
  for cell, number in zip(cells, (1.0, 2.0, 6.0), strict=True):
    finish(cell, {'fd': value(number, number - 3.0, number + 4.0, interval={
        'estimand': 'the population', 'method': 'exact'})})
  table = table_of(ROWS[:1], cells)
  entry = table['rows'][0]['values']['fd']
  # t quantile 4.302653 at 2 degrees of freedom, sd = sqrt(7)
  half = 4.302652729911275 * np.sqrt(7) / np.sqrt(3)
  assert entry['value'] == pytest.approx(3.0)
  assert entry['half_width'] == pytest.approx(half, 1e-9)
  assert entry['low'] == pytest.approx(3.0 - np.hypot(half, 3.0), 1e-9)
  assert entry['high'] == pytest.approx(3.0 + np.hypot(half, 4.0), 1e-9)
  text = render.markdown(table, 'title')
  assert '3.000 ± 6.572 (3 seeds) [-4.225, 10.694]' in text
  assert 'covers other seeds on the same test data' in text
  assert 'interval for: the population (exact)' in text


def test_without_the_evaluation_noise_of_every_seed_there_is_none_that_holds_both(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 3)
  for cell, low in zip(cells, (0.5, None, 0.5), strict=True):
    finish(cell, {'fd': value(1.0 + cell.seed, low, None if low is None else 4.0)})
  table = table_of(ROWS[:1], cells)
  entry = table['rows'][0]['values']['fd']
  assert entry['half_width'] is not None and entry['low'] is entry['high'] is None
  assert '(3 seeds) |' in render.markdown(table, 't')


def test_the_noise_that_seeds_share_is_held():
  """400 test images with a standard deviation of 1, seeds' .01: the spread alone covers .32."""
  rng = np.random.default_rng(0)
  seeds, shared, trials = 0.01, 1.0 / np.sqrt(400), 2000
  covered = {'seeds': 0, 'both': 0}
  for b in rng.normal(0.0, shared, trials):
    values = b + rng.normal(0.0, seeds, 3)
    found = interval.of_mean(values, values - 1.96 * shared, values + 1.96 * shared)
    covered['seeds'] += abs(values.mean()) <= found.half_width
    covered['both'] += found.low <= 0.0 <= found.high
  assert covered['seeds'] / trials == pytest.approx(0.32, abs=0.05)
  assert 0.945 <= covered['both'] / trials <= 0.99


def test_one_seed_has_its_evaluation_interval_and_no_other(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 1)
  finish(cells[0], {'fd': value(2.0, 1.5, 2.5)})
  table = table_of(ROWS[:1], cells)
  assert table['rows'][0]['values']['fd']['half_width'] is None
  line = next(x for x in render.markdown(table, 't').splitlines() if x.startswith('| first'))
  assert '2.000 [1.500, 2.500]' in line and 'n = 1' in line and '±' not in line


def excess_of(tmp_path, metrics):
  cells = cells_of(ROWS[:1], tmp_path, 1)
  finish(cells[0], metrics)
  columns = [column(label='excess', floor='fd_data', excess=True)]
  return table_of(ROWS[:1], cells, columns)['rows'][0]['values']['excess']


def test_seeds_share_the_noise_of_the_floor_that_they_subtract(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 2)
  for cell in cells:
    finish(cell, {'fd': value(5.0, 4.7, 5.6), 'fd_data': value(1.0, 0.6, 1.4, metric='fd_data')})
  table = table_of(ROWS[:1], cells, [column(label='excess', floor='fd_data', excess=True)])
  entry = table['rows'][0]['values']['excess']
  assert entry['half_width'] == 0.0
  assert entry['low'] == pytest.approx(4.0 - 0.5) and entry['high'] == pytest.approx(
      4.0 + np.hypot(0.6, 0.4))
  assert 'An *excess* subtracts one floor in every row' in render.markdown(table, 't')


def test_excess_is_less_its_floor_with_both_their_noise(tmp_path):
  found = excess_of(tmp_path, {'fd': value(5.0, 4.7, 5.6),
                               'fd_data': value(1.0, 0.9, 1.4, metric='fd_data')})
  assert found['value'] == pytest.approx(4.0)
  assert found['low'] == pytest.approx(4.0 - 0.5) and found['high'] == pytest.approx(
      4.0 + np.hypot(0.6, 0.1))


@pytest.mark.parametrize('metrics, words', [
    ({'fd': value(5.0)}, 'not measured'),
    ({'fd': value(5.0), 'fd_data': value(1.0, n_generated=99)}, '100 samples, and a floor of 99'),
    ({'fd': value(None, reason='not finite'), 'fd_data': value(1.0)}, 'not finite')])
def test_no_excess_without_a_floor_of_as_many_samples(tmp_path, metrics, words):
  found = excess_of(tmp_path, metrics)
  assert found['value'] is None and words in found['reasons'][0]


