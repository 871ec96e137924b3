"""A proposal for known data: acceptance and effective share against their closed forms."""

import math

import jax
import numpy as np
import pytest

from genjax import data, prob
from genjax.evals import rejection
from genjax.numerics.shapes import sum_event
from genjax.types import Model
from tests.evals import asked

SMALL = {'num_train': 10, 'num_validation': 10, 'num_test': 10}


def measured(dim, std, num=8192, **kw):
  model = Model(
      init=None, log_prob=lambda p, batch, rng: sum_event(prob.normal_log_prob(
          batch['x'], 0.0, std)),
      sample=lambda p, rng, n, cond: (std * jax.random.normal(rng, (n, dim)), 0))
  run = asked.of_model(rejection, 'log_prob', model,
                       asked.task(data.load('normal', dim=dim, **SMALL), num), **kw)
  return run({}, lambda n: (np.asarray(model.sample({}, jax.random.key(3), n, None)[0]), {}))


@pytest.mark.parametrize('dim', [1, 4])
def test_a_wide_gaussian(dim):
  """N(0, s^2 I) for N(0, I): 1 / M = s^-D, and (s^2 / sqrt(2 s^2 - 1))^-D."""
  found = measured(dim, 1.5, log_bound=dim * math.log(1.5))
  accepted = found['acceptance']
  assert accepted.value == pytest.approx(1.5**-dim, abs=0.02)
  assert accepted.low < accepted.value < accepted.high
  share = (1.5**2 / math.sqrt(2 * 1.5**2 - 1)) ** -dim
  assert found['effective_share'].value == pytest.approx(share, rel=0.03)
  # without a bound the largest ratio of the samples stands for it, which is close in one dimension
  seen = measured(dim, 1.5)['acceptance']
  assert seen.value >= accepted.value - 0.02 and seen.low is None
  assert seen.card['bound'] != accepted.card['bound']


def test_the_data_themselves_are_all_accepted():
  found = measured(2, 1.0, log_bound=0.0)
  assert found['acceptance'].value == 1.0
  assert found['effective_share'].value == pytest.approx(1.0, abs=1e-4)


def test_a_bound_that_a_sample_exceeds_leaves_no_number():
  found = measured(2, 1.5, log_bound=math.log(1.5))['acceptance']
  assert found.value is None and 'above the bound 0.4055' in found.card['reason']
