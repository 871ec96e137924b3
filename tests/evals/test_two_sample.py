"""What stands beside a figure of samples, and what is refused before it is computed."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.build import evaluation
from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.types import BadInput

DIGITS = data.load('digits')
PIXELS = encoders.load('identity', DIGITS.spec)
TRAIN = DIGITS.splits['train']['x']


def mean_gap(x, y, card):
  return {'gap': cards.plain(abs(x.mean() - y.mean()), card('gap', unit='levels'), 'a test')}


def evaluator(measure=mean_gap, **kw):
  given = {'estimator': 'features', 'encoder': PIXELS, 'dataset': DIGITS, 'split': 'test',
           'num_samples': 100}
  return two_sample.fidelity('gap', ('gap',), measure, **{**given, **kw})


def draw(n):
  return np.full((n, 8, 8, 1), 16), {'sampler': 'direct'}


def test_data_and_one_example_stand_beside_the_samples():
  out = evaluator()({}, draw)
  test = DIGITS.splits['test']['x']
  assert set(out) == {'gap', 'gap_data', 'gap_single'}
  assert out['gap'].value == pytest.approx(16 - test.mean(), rel=1e-5)
  assert out['gap_single'].value == pytest.approx(abs(test[0].mean() - test.mean()), rel=1e-4)
  assert out['gap_data'].value < 0.5 and out['gap_data'].card['generated_are'] == 'train examples'
  card = out['gap'].card
  assert (card['n_generated'], card['n_reference']) == (100, 400)
  assert card['sampler'] == 'direct' and card['encoder'] == 'identity'


def test_against_the_training_set_held_out_examples_stand_beside():
  out = evaluator(split='train')({}, draw)
  assert out['gap_data'].card['generated_are'] == 'test examples'
  assert out['gap'].card['n_reference'] == len(TRAIN)
  alone = DIGITS._replace(splits={'test': DIGITS.splits['test']})
  assert set(evaluator(dataset=alone)({}, draw)) == {'gap', 'gap_single'}


def test_equal_numbers_are_fixed_random_rows_of_the_split():
  seen = {}

  def measure(x, y, card):
    seen[len(seen)] = y
    return mean_gap(x, y, card)

  out = evaluator(measure, equal=True)({}, draw)
  assert (out['gap'].card['n_generated'], out['gap'].card['n_reference']) == (100, 100)
  evaluator(measure, equal=True, num_samples=10**6)({}, draw)
  assert (seen[0] == seen[1]).all() and len(seen[3]) == 400
  assert not (seen[0] == PIXELS.features(DIGITS.splits['test']['x'][:100])).all()


def test_figures_of_known_data_are_kept(tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  calls = []

  def measure(x, y, card):
    calls.append(len(x))
    return mean_gap(x, y, card)

  first = evaluator(measure, keep=evaluation.keep)({}, draw)
  again = evaluator(measure, keep=evaluation.keep)({}, draw)
  assert first == again and len(calls) == 4  # of the second only the samples
  evaluator(measure, keep=evaluation.keep, num_samples=50)({}, draw)
  evaluator(measure, keep=evaluation.keep, protocol={'k': 3})({}, draw)
  assert len(calls) == 10


def test_features_that_are_not_finite_are_no_figures():
  def nan(n):
    x = np.zeros((n, 8, 8, 1))
    x[1] = np.nan
    return x, {}

  out = evaluator()({}, nan)['gap']
  assert out.value is None and '1 examples are not finite' in out.card['reason']


def test_no_encoder_another_encoder_and_too_few_are_refused():
  with pytest.raises(BadInput, match='experiments.encoder --data=digits'):
    evaluator(encoder=None)
  with pytest.raises(BadInput, match='reads.*28.*allowed'):
    evaluator(encoder=encoders.load('fmnist', DIGITS.spec))
  with pytest.raises(BadInput, match='3 examples; allowed: 5'):
    evaluator(num_samples=3, at_least=5)


def test_an_encoder_that_saw_the_training_set_gives_way_to_pixels():
  own = encoders.load('digits', DIGITS.spec)
  assert two_sample.space('novelty', own, PIXELS, DIGITS) is PIXELS
  assert two_sample.space('novelty', None, PIXELS, DIGITS) is PIXELS
  other = DIGITS._replace(identity={**DIGITS.identity, 'sha256': {'train': 'another'}})
  assert two_sample.space('novelty', own, PIXELS, other) is own
