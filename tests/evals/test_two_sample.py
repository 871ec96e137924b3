"""What stands beside a figure of samples, and what is refused before it is computed."""

import types

import numpy as np
import pytest

from genjax import data, encoders, wiring
from genjax.evals import EVALS, two_sample
from genjax.evals import card as cards
from genjax.types import BadInput, Model
from genjax.wiring import evaluation

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

  keep = evaluation.keeper('gap', {'dataset': DIGITS})
  first = evaluator(measure, keep=keep)({}, draw)
  again = evaluator(measure, keep=keep)({}, draw)
  assert first == again and len(calls) == 4  # of the second only the samples


def bound(**kw):
  """Runs an evaluator 'invented', bound as a config binds it."""
  given = {'model': Model(init=None, sample=lambda *_: None), 'family': 'samples',
           'dataset': DIGITS, 'split': 'test', 'encoder': PIXELS, 'num_samples': 100, 'seed': 0}
  named = {key: kw.pop(key) for key in [*given, 'samples'] if key in kw}
  return wiring.evaluator('invented', kw, **{**given, **named})({}, draw)


@pytest.fixture
def invented(tmp_path, monkeypatch):
  """An evaluator with keywords that nobody else has heard of; the values that it computed."""
  made = []

  def make(model, *, estimator, dataset, split, encoder=None, num_samples=10, keep=None,
           threshold=0.5, words=('a', 'b')):
    def known():
      made.append(threshold)
      card = cards.make_card('new_data', estimator=estimator, unit='', split=split)
      return {'new_data': cards.plain(threshold, card, 'a test')}

    return lambda params, draw: keep('_data', known)

  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  monkeypatch.setitem(EVALS, 'invented', types.SimpleNamespace(
      make=make, NEEDS=two_sample.NEEDS, METRICS=('new_data',)))
  return made


def test_every_argument_of_an_evaluator_is_in_the_key(invented):
  other_data = DIGITS._replace(identity={**DIGITS.identity, 'sha256': {'train': 'another'}})
  other_encoder = PIXELS._replace(card={**PIXELS.card, 'sha256': 'another'})
  wider = PIXELS._replace(spec=PIXELS.spec._replace(levels=256))
  for kw in ({}, {'threshold': 0.25}, {'words': ('a',)}, {'num_samples': 50},
             {'split': 'validation'}, {'dataset': other_data}, {'encoder': other_encoder},
             {'encoder': wider}):
    assert bound(**kw)['new_data'].value == kw.get('threshold', 0.5)
  assert len(invented) == 8
  bound(), bound(threshold=0.5), bound(threshold=0.25, words=('a', 'b'))
  assert len(invented) == 8


def test_an_argument_that_is_no_plain_data_must_be_told(invented):
  with pytest.raises(TypeError, match='not JSON serializable'):
    evaluation.keeper('invented', {'rule': object()})('_data', dict)
  # what is told to decide no figure of known data
  evaluation.keeper('invented', {'model': object(), 'tick': print})('_data', dict)


def test_figures_of_known_samples_are_kept_by_them(invented):
  for samples in ({'x': 'digest'}, {'x': 'digest'}, {'x': 'other'}):
    assert bound(samples=samples)['new_data'].value == 0.5
  assert len(invented) == 1  # that of the data does not ask for the samples
  bound(samples={'x': 'digest'}, threshold=0.75)
  assert len(invented) == 2


def test_a_metric_that_is_asked_for_is_given_or_refused(invented):
  with pytest.raises(BadInput, match="'fd' is not among what evaluator 'invented' gives"):
    wiring.evaluator('invented', {}, model=Model(init=None, sample=lambda *_: None),
                    family='samples', dataset=DIGITS, split='test', encoder=PIXELS,
                    num_samples=10, seed=0, asked=('new_data', 'fd'))({}, draw)


def test_pixels_of_images_warn_and_coordinates_do_not(recwarn):
  evaluator()
  [warning] = [w for w in recwarn if 'pixels' in str(w.message)]
  assert 'genjax encoder' in str(warning.message)
  recwarn.clear()
  ring = data.load('ring8', num_train=20, num_validation=5, num_test=20)
  evaluator(dataset=ring, encoder=encoders.load('identity', ring.spec), num_samples=10)
  evaluator(encoder=encoders.load('digits', DIGITS.spec))
  assert not recwarn.list


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
