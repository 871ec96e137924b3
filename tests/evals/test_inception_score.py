"""Inception score: known answers, other code's figure, and what its card says."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import inception_score
from genjax.types import BadInput
from tests.evals import asked


def softmax(logits):
  e = np.exp(logits - logits.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def test_uniform_predictions_give_one_and_sure_balanced_ones_the_number_of_classes(monkeypatch):
  assert inception_score.inception_score(np.full((100, 7), 1 / 7)) == pytest.approx(1)
  monkeypatch.setattr(inception_score, 'NUM_SPLITS', 1)  # balanced whatever the order
  sure = np.eye(7)[np.arange(70) % 7]
  assert inception_score.inception_score(sure) == pytest.approx(7)
  assert inception_score.inception_score(sure[sure[:, :3].any(1)]) == pytest.approx(3)
  # half of the mass on the own class: log 7 less the entropy of a prediction
  half = 0.5 * sure + 0.5 / 7
  entropy = -(0.5 + 0.5 / 7) * np.log(0.5 + 0.5 / 7) - 6 * 0.5 / 7 * np.log(0.5 / 7)
  assert inception_score.inception_score(half) == pytest.approx(7 / np.exp(entropy))


def test_splits_are_of_a_shuffled_order():
  # sorted by class: without the shuffle each split would hold one class alone, and score 1
  sure = np.eye(10)[np.repeat(np.arange(10), 100)]
  scores = inception_score.inception_score(sure)
  assert len(scores) == 10 and np.all(scores > 8)


def test_parity_with_other_code():
  fidelity = pytest.importorskip('torch_fidelity.metric_isc', exc_type=ImportError)
  torch = pytest.importorskip('torch')
  logits = np.random.default_rng(0).standard_normal((1003, 20)) * 3
  theirs = fidelity.isc_features_to_metric(torch.tensor(logits))
  scores = inception_score.inception_score(softmax(logits).astype(np.float32))
  assert np.mean(scores) == pytest.approx(theirs['inception_score_mean'], rel=1e-6)
  assert np.std(scores) == pytest.approx(theirs['inception_score_std'], rel=1e-5)


def evaluator(encoder='digits', **kw):
  dataset = data.load('digits')
  return dataset, asked.of_samples(inception_score, dataset,
                                   encoder=encoders.load(encoder, dataset.spec), **kw)


def test_evaluator_on_digits():
  dataset, run = evaluator(num_samples=600)
  train = dataset.splits['train']['x']
  values = run(lambda n: (train[:n], {'sampler': 'direct'}))
  assert 8 < values['is'].value < 10 and 8 < values['is_data'].value < 10
  card = values['is'].card
  assert values['is'].low is None and 'no interval' in card['interval']['reason']
  assert 'never ranked' in card['use'] and (card['num_splits'], card['shuffle_seed']) == (10, 2020)
  assert values['is_data'].card['generated_are'] == 'train examples'
  one = run(lambda n: (np.repeat(train[:1], n, 0), {}))['is']
  assert one.value == pytest.approx(1, abs=1e-6)


def test_an_encoder_without_classes_and_too_few_samples_are_refused():
  with pytest.raises(BadInput, match="'identity' has none"):
    evaluator('identity')
  with pytest.raises(BadInput, match='allowed: 10'):
    evaluator(num_samples=9)


def test_probabilities_that_are_not_finite_have_no_score():
  dataset = data.load('digits')
  encoder = encoders.load('digits', dataset.spec)._replace(
      probs=lambda x: np.full((len(x), 10), np.nan))
  run = asked.of_samples(inception_score, dataset, encoder=encoder, num_samples=20)
  found = run(lambda n: (dataset.splits['train']['x'][:n], {}))['is']
  assert found.value is None and 'not finite' in found.card['reason']
