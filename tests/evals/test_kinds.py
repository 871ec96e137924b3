"""The two kinds of evaluators, and an evaluator of a user's own."""

import importlib.util
import textwrap
import types

import numpy as np
import pytest
from PIL import Image

from genjax import data, encoders, evals, wiring
from genjax.evals import EVALS, caller, kinds
from genjax.runs import samples
from genjax.types import BadInput, Model
from tests.cells import ROWS, cells_of, column, finish, table_of
from tests.evals import asked
from tests.test_contract import config_of

DIGITS = data.load('digits')
ENCODER = encoders.load('digits', DIGITS.spec)
OF_SAMPLES = [name for name, module in EVALS.items() if kinds.that_see_samples(module.ESTIMATORS)]
OF_MODEL = {'active_units', 'codecs', 'likelihood', 'cost', 'true_divergence', 'rejection'}


def stranger(name, n=60, **kw):
  """Figures of the noisy digits of nobody's model."""
  rng = np.random.default_rng(0)
  x = DIGITS.splits['train']['x'][:n].astype(int)
  x = np.clip(x + rng.integers(-2, 3, x.shape), 0, 16)
  run = wiring.evaluator(name, kw, model=None, family='samples', dataset=DIGITS, split='test',
                         encoder=ENCODER, num_samples=n, seed=0)
  return run(None, lambda k: (x[:k], {'sampler': 'a stranger'}))


def test_each_evaluator_is_of_one_kind():
  assert set(OF_SAMPLES) == set(EVALS) - OF_MODEL
  for module in EVALS.values():
    assert len({estimator.of for estimator in module.ESTIMATORS.values()}) == 1


@pytest.mark.slow
@pytest.mark.parametrize('name', OF_SAMPLES)
def test_samples_of_a_stranger_need_no_model(name, tmp_path, monkeypatch):
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path))
  found = stranger(name)
  own = {metric for metric in EVALS[name].METRICS if metric in found}
  assert own and all(found[metric].card['sampler'] == 'a stranger' for metric in own)
  for suffix in {floor.suffix for floor in kinds.OfSamples(None).floors} | {'_copies'}:
    assert all('generated_are' in value.card for metric, value in found.items()
               if metric.endswith(suffix))


@pytest.mark.parametrize('name', sorted(OF_MODEL))
def test_what_asks_for_a_model_is_refused_without_one(name):
  with pytest.raises(BadInput, match=f"evaluator '{name}' measures a model.*allowed: frechet"):
    stranger(name)
  with pytest.raises(BadInput, match="unknown metric '"):
    samples.choose([EVALS[name].METRICS[0]], DIGITS)


def test_a_keyword_of_another_estimator_is_refused_with_its_owner():
  dataset = DIGITS._replace(splits={'test': {k: v[:4] for k, v in DIGITS.splits['test'].items()}})
  model = Model(init=None, elbo=lambda p, b, r: {'a': -np.ones(4, np.float32)},
                log_weight=lambda p, b, r: -np.ones(4, np.float32))
  given = {'model': model, 'family': 'mine', 'dataset': dataset, 'split': 'test', 'encoder': None,
           'num_samples': 4, 'seed': 0}
  with pytest.raises(BadInput, match=r"'likelihood' \(bound\) takes no 'num_weights' \(a keyword "
                     r"of evaluator 'likelihood' \(importance_weighted\)\); it takes: num_repeats"):
    wiring.evaluator('likelihood', {'num_weights': 3}, **given)
  for stray in ('model', 'task', 'num_samples', 'keep'):
    with pytest.raises(BadInput, match=f'takes no {stray!r}'):
      wiring.evaluator('likelihood', {'estimator': 'bound', stray: 3}, **given)


@pytest.fixture
def own(tmp_path, monkeypatch):
  """The evaluator that the documentation shows, as a user's file: its module and its path."""
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path / 'cache'))
  example = evals.__doc__.partition('next to them:\n')[2].partition('Of a model')[0]
  path = tmp_path / 'mean_gap.py'
  path.write_text(textwrap.dedent(example))
  monkeypatch.setitem(EVALS, 'own', load(path))
  return path


def load(path):
  spec = importlib.util.spec_from_file_location('mean_gap', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_an_evaluator_of_ones_own_serves_a_run_strangers_and_a_table(own, tmp_path):
  code = [line for line in own.read_text().splitlines() if line.strip()]
  assert len(code) < 15
  config = config_of('gaussian', 'kl', 'discrete')
  config.evals.encoder, config.evals.names, config.evals.num_samples = 'digits', ('own',), 100
  config.evals.kw = {'own': {'exponent': 2.0}}
  run = wiring.run(config)
  [evaluate] = wiring.evaluators(config, run.dataset, run.model, 'test', ('own',)).values()
  params = wiring.fit(config, run)
  draw = wiring.drawer(config, run, config.seed)(params)
  of_run = evaluate(params, draw)
  assert set(of_run) == {'mean_gap', 'mean_gap_data', 'mean_gap_single'}
  gap = ENCODER.features(draw(100)[0]).mean() - ENCODER.features(DIGITS.splits['test']['x']).mean()
  assert of_run['mean_gap'].value == pytest.approx(gap**2, rel=1e-4)
  # strangers' samples: a folder and an npz of the same images
  levels = np.asarray(draw(100)[0])
  pixels = np.rint(levels * 255 / 16).astype(np.uint8)
  (tmp_path / 'png').mkdir()
  for i, image in enumerate(pixels):
    Image.fromarray(image[..., 0]).save(tmp_path / 'png' / f'{i:04d}.png')
  np.savez(tmp_path / 'x.npz', x=pixels)
  for name in ('png', 'x.npz'):
    found = samples.evaluate(str(tmp_path / name), 'digits:test', ['mean_gap'])
    assert found['metrics']['mean_gap'].value == pytest.approx(abs(gap), rel=1e-4)
    assert '| mean_gap |' in samples.table(found)
  # a table: its column is known before the training, and holds the figure after it
  foreseen = wiring.foreseen_cards(config, run)['mean_gap']
  card = of_run['mean_gap'].card
  for field in ('estimator', 'encoder', 'sha256', 'n_generated', 'sampler', 'exponent', 'split'):
    assert foreseen[field] == card[field], field
  cells = cells_of(ROWS[:1], tmp_path / 'table', 1)
  finish(cells[0], {metric: value._asdict() for metric, value in of_run.items()})
  [row] = table_of(ROWS[:1], cells, [column('mean_gap', floor='mean_gap_data')])['rows']
  assert row['values']['mean_gap']['value'] == of_run['mean_gap'].value


def test_figures_of_a_file_that_has_changed_are_measured_anew(own, monkeypatch):
  first = stranger('own')
  own.write_text(own.read_text().replace('abs(gap)', '1 + abs(gap)'))
  monkeypatch.setitem(EVALS, 'own', load(own))
  again = stranger('own')
  for metric in ('mean_gap', 'mean_gap_data', 'mean_gap_single'):
    assert again[metric].value == pytest.approx(1 + first[metric].value)


def test_a_measure_that_asks_for_what_is_not_there_is_refused(monkeypatch):
  made = kinds.OfSamples(lambda x, labels: {})
  module = types.SimpleNamespace(METRICS=('a',), ESTIMATORS={'features': EVALS['kid'].ESTIMATORS[
      'features']._replace(make=lambda: made)})
  monkeypatch.setitem(EVALS, 'own', module)
  with pytest.raises(BadInput, match="asks for 'labels'; allowed: x, cond, reference, train, enc"):
    stranger('own')


def test_a_floor_stands_next_to_what_it_is_the_floor_of():
  def measure(x, card):
    return {metric: card(metric) for metric in ('a', 'b', 'more')}

  made = kinds.OfSamples(measure, floors=(kinds.SINGLE, kinds.Floor('_data', 'split', ('b', 'c'))))
  module = types.SimpleNamespace(METRICS=('a', 'b', 'c'), ESTIMATORS=EVALS['kid'].ESTIMATORS)
  task = kinds.Task(DIGITS, 'test', 10, encoder=ENCODER)
  run = caller.of_samples('own', 'features', module, made, task, lambda part, compute: compute())
  found = run(lambda n: (DIGITS.splits['train']['x'][:n], {}))
  assert set(found) == {'a', 'b', 'more', 'a_single', 'b_single', 'b_data'}
  assert found['b_data']['n_generated'] == 400 and found['a_single']['n_generated'] == 10


def test_one_example_is_encoded_once_and_then_repeated():
  seen = []
  encoder = ENCODER._replace(features=lambda x: (seen.append(len(x)), ENCODER.features(x))[1])
  run = asked.of_samples(EVALS['kid'], DIGITS, encoder=encoder, num_samples=7)
  single = run(lambda n: (DIGITS.splits['train']['x'][:n], {}))['kid_single']
  assert single.card['n_generated'] == 7
  assert seen.count(7) == 2  # the samples and `_data`
