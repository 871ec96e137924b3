"""What stands beside a figure of samples, and what is refused before it is computed."""

import types

import numpy as np
import pytest

from genjax import data, encoders, wiring
from genjax.evals import EVALS, caller, kinds, two_sample
from genjax.evals import card as cards
from genjax.types import BadInput, Estimator
from tests.evals import asked

DIGITS = data.load('digits')
PIXELS = encoders.load('identity', DIGITS.spec)
TRAIN = DIGITS.splits['train']['x']


def mean_gap(x, y, card):
  return {'gap': cards.plain(abs(x.mean() - y.mean()), card('gap', unit='levels'), 'a test')}


def evaluator(measure=mean_gap, dataset=DIGITS, **kw):
  module = types.SimpleNamespace(__name__='gap', METRICS=('gap',), ESTIMATORS={
      'features': Estimator(two_sample.NEEDS, lambda **options: two_sample.of_features(
          ('gap',), measure, **options), 'samples')})
  return asked.of_samples(module, dataset, **{'encoder': PIXELS, 'num_samples': 100, **kw})


def draw(n):
  return np.full((n, 8, 8, 1), 16), {'sampler': 'direct'}


def test_data_and_one_example_stand_beside_the_samples():
  out = evaluator()(draw)
  test = DIGITS.splits['test']['x']
  assert set(out) == {'gap', 'gap_data', 'gap_single'}
  assert out['gap'].value == pytest.approx(16 - test.mean(), rel=1e-5)
  assert out['gap_single'].value == pytest.approx(abs(test[0].mean() - test.mean()), rel=1e-4)
  assert out['gap_data'].value < 0.5 and out['gap_data'].card['generated_are'] == 'train examples'
  card = out['gap'].card
  assert (card['n_generated'], card['n_reference']) == (100, 400)
  assert card['sampler'] == 'direct' and card['encoder'] == 'identity'


def test_against_the_training_set_held_out_examples_stand_beside():
  out = evaluator(split='train')(draw)
  assert out['gap_data'].card['generated_are'] == 'test examples'
  assert out['gap'].card['n_reference'] == len(TRAIN)
  alone = DIGITS._replace(splits={'test': DIGITS.splits['test']})
  assert set(evaluator(dataset=alone)(draw)) == {'gap', 'gap_single'}


def test_equal_numbers_are_fixed_random_rows_of_the_split():
  seen = {}

  def measure(x, y, card):
    seen[len(seen)] = y
    return mean_gap(x, y, card)

  out = evaluator(measure, equal=True)(draw)
  assert (out['gap'].card['n_generated'], out['gap'].card['n_reference']) == (100, 100)
  evaluator(measure, equal=True, num_samples=10**6)(draw)
  assert (seen[0] == seen[1]).all() and len(seen[3]) == 400
  assert not (seen[0] == PIXELS.features(DIGITS.splits['test']['x'][:100])).all()


def test_figures_of_known_data_are_kept(tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  calls = []

  def measure(x, y, card):
    calls.append(len(x))
    return mean_gap(x, y, card)

  keep = caller.keeper('gap', mean_gap, {'dataset': DIGITS})
  first = evaluator(measure, keep=keep)(draw)
  again = evaluator(measure, keep=keep)(draw)
  assert first == again and len(calls) == 4  # of the second only the samples


def bound(**kw):
  """Runs an evaluator 'invented', bound as a config binds it."""
  given = {'model': None, 'family': 'samples', 'dataset': DIGITS, 'split': 'test',
           'encoder': PIXELS, 'num_samples': 100, 'seed': 0}
  named = {key: kw.pop(key) for key in [*given, 'samples'] if key in kw}
  return wiring.evaluator('invented', kw, **{**given, **named})(None, draw)


@pytest.fixture
def invented(tmp_path, monkeypatch):
  """An evaluator with keywords that nobody else has heard of; the metrics that it computed."""
  made = {'new': 0, 'new_data': 0}

  def make(*, threshold=0.5, words=('a', 'b')):
    def measure(card):
      own = card('new', unit='')
      made[own['metric']] += 1
      return {'new': cards.plain(threshold, own, 'a test')}

    return kinds.OfSamples(measure, floors=(kinds.DATA,))

  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  monkeypatch.setitem(EVALS, 'invented', types.SimpleNamespace(
      ESTIMATORS={'features': Estimator(two_sample.NEEDS, make, 'samples')}, METRICS=('new',)))
  return made


def test_every_argument_of_an_evaluator_is_in_the_key(invented):
  other_data = DIGITS._replace(identity={**DIGITS.identity, 'sha256': {'train': 'another'}})
  other_encoder = PIXELS._replace(card={**PIXELS.card, 'sha256': 'another'})
  labelled = PIXELS._replace(spec=PIXELS.spec._replace(num_classes=3))
  for kw in ({}, {'threshold': 0.25}, {'words': ('a',)}, {'num_samples': 50},
             {'split': 'validation'}, {'dataset': other_data}, {'encoder': other_encoder},
             {'encoder': labelled}):
    assert bound(**kw)['new_data'].value == kw.get('threshold', 0.5)
  assert invented['new_data'] == 8
  bound(), bound(threshold=0.5), bound(threshold=0.25, words=('a', 'b'))
  assert invented['new_data'] == 8


def test_an_argument_that_is_no_plain_data_must_be_told(invented):
  with pytest.raises(TypeError, match='not JSON serializable'):
    caller.keeper('invented', mean_gap, {'rule': object()})('_data', dict)
  # what is told how it stands in a key
  caller.keeper('invented', mean_gap, {'dataset': DIGITS, 'encoder': PIXELS})('_data', dict)


def test_figures_of_code_that_cannot_be_read_are_not_kept(tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  calls, scope = [], {}
  exec(compile('def make():\n  pass', '<a notebook>', 'exec'), scope)
  for make in (scope['make'], mean_gap):
    keep = caller.keeper('invented', make, {'make': make.__name__})
    for _ in range(2):
      keep('_data', lambda make=make: calls.append(make.__name__) or {})
  assert calls == ['make', 'make', 'mean_gap']


def test_figures_of_known_samples_are_kept_by_them(invented):
  for samples in ({'x': 'digest'}, {'x': 'digest'}, {'x': 'other'}):
    assert bound(samples=samples)['new_data'].value == 0.5
  assert invented == {'new': 2, 'new_data': 1}  # that of the data does not ask for the samples
  bound(samples={'x': 'digest'}, threshold=0.75)
  assert invented == {'new': 3, 'new_data': 2}


def test_a_metric_that_is_asked_for_is_given_or_refused(invented):
  with pytest.raises(BadInput, match="'fd' is not among what evaluator 'invented' gives"):
    wiring.evaluator('invented', {}, model=None, family='samples', dataset=DIGITS, split='test',
                     encoder=PIXELS, num_samples=10, seed=0,
                     asked=('new_data', 'fd'))(None, draw)


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

  out = evaluator()(nan)['gap']
  assert out.value is None and '1 examples are not finite' in out.card['reason']


def test_no_encoder_another_encoder_and_too_few_are_refused():
  with pytest.raises(BadInput, match='genjax encoder --data=digits'):
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
