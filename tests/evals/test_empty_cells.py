"""Empty cells of a grid: counted on paper, and as expected of independent draws."""

import math

import numpy as np
import pytest

from configs.tables import curse_of_dimensionality as table
from genjax import data, encoders
from genjax.evals import empty_cells
from genjax.types import BadInput
from tests.evals import asked

SMALL = {'num_train': 3000, 'num_validation': 10, 'num_test': 3000}


def test_a_share_is_what_is_counted():
  x = np.array([[-9.0, 0.1], [-2.0, 0.2], [0.1, 2.0], [np.float32(2.9), 50.0]])
  share, num = empty_cells.empty(x, 4, 3.0)  # edges -1.5, 0, 1.5: cells (0, 2), (2, 3), (3, 3)
  assert (share, num) == (1 - 3 / 16, 16.0)
  assert empty_cells.empty(x, 1, 3.0) == (0.0, 1.0)


@pytest.mark.parametrize('dim', [2, 5])
def test_the_closed_form_of_the_table_is_the_mean_over_draws(dim, monkeypatch):
  monkeypatch.setattr(table, 'SAMPLES', 400)
  rng = np.random.default_rng(0)
  shares = [empty_cells.empty(rng.standard_normal((400, dim)), table.BINS, table.EDGE)[0]
            for _ in range(200)]
  error = np.std(shares) / math.sqrt(200)
  assert abs(np.mean(shares) - table.empty_cells(dim)) < 4 * error + 1e-6
  assert error < 0.02


def test_the_evaluator_measures_samples_and_data_alike():
  dataset = data.load('normal', dim=3, **SMALL)
  encoder = encoders.load('identity', dataset.spec)
  run = asked.of_samples(empty_cells, dataset, num_samples=1000, encoder=encoder, pixels=encoder)
  draw = lambda n: (np.zeros((n, 3), np.float32), {'sampler': 'zeros'})
  found = run(draw)
  assert found['empty_cells'].value == 1 - 1 / 64
  assert found['empty_cells'].card['detail'] == {'dim': 3, 'cells': 64.0}
  assert 0.0 <= found['empty_cells_data'].value < 0.2
  assert found['empty_cells_data'].card['n_generated'] == 1000


def test_an_edge_that_is_not_positive_is_refused():
  with pytest.raises(BadInput, match="'empty_cells': edge=0; allowed: numbers > 0"):
    empty_cells.make(edge=0)
