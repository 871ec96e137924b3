"""Cost figures, and what a card says."""

import numpy as np

from genjax import data
from genjax.evals import EVALS, card, cost
from tests.evals import asked

DIGITS = data.load('digits')


def test_rates_and_counts():
  run = asked.of_model(cost, 'sample', None, asked.task(DIGITS, 100))
  values = run({}, lambda n: (np.zeros((n, 2)), {'seconds': 4.0, 'nfe': 50}))
  assert values['samples_per_second'].value == 25.0 and values['nfe'].value == 50.0
  assert all(v.low is None and v.card['interval']['reason'] for v in values.values())


def test_what_was_not_measured_is_absent():
  values = asked.of_model(cost, 'sample', None, asked.task(DIGITS))(
      {}, lambda n: (np.zeros((n, 2)), {}))
  assert values['nfe'].value is None and values['nfe'].card['reason']


def test_intervals():
  made = card.make_card('m', estimator='e', unit='u', split='test')
  share = card.of_share(98, 100, made, 'share')
  np.testing.assert_allclose([share.low, share.high], [0.929616, 0.997569], atol=1e-6)
  none = card.of_share(0, 50, made, 'share')  # no hit has probability tail at the upper end
  assert none.low == 0.0 and abs((1 - none.high) ** 50 - 0.025) < 1e-12
  mean = card.of_mean([1.0, 2.0, 3.0], made, 'mean')
  np.testing.assert_allclose(mean.high - mean.value, 4.302653 / np.sqrt(3), rtol=1e-5)
  same = card.of_mean([2.0, 2.0], made, 'mean')
  assert same.low == same.value == same.high
  for bad in (card.plain(np.nan, made, ''), card.of_mean([1.0, np.inf], made, '')):
    assert bad.value is None and bad.card['reason']


def test_every_evaluator_declares_its_needs():
  for name, module in EVALS.items():
    assert module.ESTIMATORS and module.METRICS, name
    for estimator in module.ESTIMATORS.values():
      assert isinstance(estimator.needs, tuple) and callable(estimator.make), name
      assert estimator.of in ('model', 'samples'), name
      if estimator.of == 'samples':  # which needs nothing else of a model
        assert {n for n in estimator.needs if not n.startswith('data.')} == {'sample'}, name
