"""Recognised samples and balance of the classes, beside data and a perfect sampler."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import card as cards
from genjax.evals import classified
from genjax.types import BadInput
from tests.evals import asked


def run(x):
  dataset = data.load('digits')
  made = asked.of_samples(classified, dataset, encoder=encoders.load('digits', dataset.spec))
  return made(lambda n: (x[:n], {}))


@pytest.mark.slow
def test_real_images_are_recognised_and_noise_is_not():
  test = data.load('digits').splits['test']['x']
  values = run(test)
  assert values['classified_09'].value == values['classified_09_data'].value > 0.9
  assert values['min_class_share'].value == values['min_class_share_data'].value > 0.06
  assert values['classified_09'].low < values['classified_09'].value < values['classified_09'].high
  # each pixel from another image: the marginals of digits, and no digit
  train = data.load('digits').splits['train']['x'].reshape(-1, 64)
  rng = np.random.default_rng(5)
  mixed = train[rng.integers(0, len(train), (1000, 64)), np.arange(64)].reshape(-1, 8, 8, 1)
  assert run(mixed)['classified_09'].value < 0.05


def test_a_collapsed_model_is_seen():
  dataset = data.load('digits')
  zeros = dataset.splits['test']['x'][dataset.splits['test']['cond'] == 0]
  values = run(zeros)
  assert values['min_class_share'].value == 0.0
  assert values['classified_09'].card['detail']['class_shares'][0] > 0.95


@pytest.mark.slow
def test_the_asked_class_is_counted_where_one_was_asked_for():
  dataset = data.load('digits')
  made = asked.of_samples(classified, dataset, encoder=encoders.load('digits', dataset.spec))
  x, cond = (dataset.splits['test'][key] for key in ('x', 'cond'))
  right = made(lambda n: (x[:n], {'cond': cond[:n]}))
  assert right['asked_class'].value == right['asked_class_data'].value > 0.9
  assert right['asked_class'].low < right['asked_class'].value < right['asked_class'].high
  wrong = made(lambda n: (x[:n], {'cond': (cond[:n] + 1) % 10}))
  assert wrong['asked_class'].value < 0.05
  assert not {'asked_class', 'asked_class_data'} & set(run(x))


def test_an_encoder_without_classes_is_refused():
  encoder = encoders.load('digits', data.load('digits').spec)._replace(probs=None)
  with pytest.raises(BadInput, match='class probabilities'):
    asked.of_samples(classified, data.load('digits'), encoder=encoder)


@pytest.mark.slow
def test_balance_of_the_classes_against_the_split_and_a_perfect_sampler():
  dataset = data.load('digits')
  train = dataset.splits['train']['x']
  values = run(train)
  assert values['classes_found'].value == 10
  card = values['class_kl'].card
  assert (card['n_generated'], card['n_reference']) == (1024, 400)
  # shares of one distribution: chi^2 with 9 degrees of freedom over 2 (1 / n + 1 / m)^-1
  assert 0 < values['class_kl'].value < 4 * card['detail']['perfect_sampler_first_order']
  assert values['class_kl_data'].card['generated_are'] == 'train examples'
  # half of the classes, each as frequent as before among them: log of the share that is left
  labels = dataset.splits['test']['cond']
  half = run(dataset.splits['test']['x'][labels < 5])
  assert half['classes_found'].value >= 5 and half['class_kl'].value > 0.5
  assert half['classes_found'].card['detail']['perfect_sampler'] > 9.99


def card_of(metric, **kw):
  return cards.make_card(metric, estimator='classifier', split='test', **kw)


def one_hot(counts):
  return np.eye(len(counts))[np.repeat(np.arange(len(counts)), counts)]


def test_known_divergences_and_one_that_is_infinite():
  out = classified.compared(one_hot([2, 2, 0]), one_hot([1, 1, 2]), card_of)
  assert out['class_kl'].value == pytest.approx(np.log(2)) and out['classes_found'].value == 2
  assert out['class_kl'].low is None and 'biased' in out['class_kl'].card['interval']['reason']
  other = classified.compared(one_hot([3, 1]), one_hot([4, 0]), card_of)
  assert other['class_kl'].value is None and '0.25' in other['class_kl'].card['reason']
  bad = one_hot([2, 2])
  bad[0] = np.nan
  assert classified.compared(bad, one_hot([2, 2]), card_of)['class_kl'].value is None
  assert classified.recognised(bad, card_of)['classified_09'].value is None


def test_a_perfect_sampler_scores_what_the_card_says():
  rng = np.random.default_rng(0)
  n, m, q = 100, 400, np.full(20, 1 / 20)
  simulated = []
  for _ in range(2000):
    out = classified.compared(one_hot(rng.multinomial(n, q)), one_hot(rng.multinomial(m, q)),
                              card_of)
    simulated.append((out['classes_found'].value, out['class_kl'].value))
  found, kl = np.mean(simulated, axis=0)
  perfect = classified.perfect_sampler(q, n, m)
  assert perfect['classes_found'] == pytest.approx(20 * (1 - (1 - 1 / 20) ** n))
  assert found == pytest.approx(perfect['classes_found'], abs=0.03)
  assert kl == pytest.approx(perfect['class_kl'], rel=0.08)
  # stacked MNIST: 1000 classes, 26,000 samples
  assert classified.perfect_sampler(np.full(1000, 1e-3), 26_000)['class_kl'] == pytest.approx(
      0.0192, abs=1e-4)
