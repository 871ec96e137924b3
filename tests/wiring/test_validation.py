"""Which runs select their checkpoint by default, on what, and at which price."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import configs, wiring
from genjax.evals.card import Value
from genjax.numerics.streams import Purpose
from genjax.types import BadInput, Model
from genjax.wiring import validation
from tests import programs
from tests.test_contract import config_of

DIGITS = 'configs/digits.py:family={},objective={}'


def chosen(family, objective='kl', **changes):
  config = configs.load(DIGITS.format(family, objective))
  config.unlock()
  for key, value in changes.items():
    section, _, name = key.rpartition('__')
    (config[section] if section else config)[name] = value
  return config, wiring.selection(config, wiring.run(config))


@pytest.mark.parametrize('family', ['vae', 'flow', 'autoregressive', 'diffusion'])
def test_a_likelihood_selects_for_at_most_five_percent_of_the_training(family):
  config, found = chosen(family)
  assert found.metric == 'nll' and found.every % config.steps_per_dispatch == 0
  times = config.steps / found.every
  assert 8 <= times <= 10
  passes = times * found.likelihood['num_examples'] * found.likelihood['num_repeats']
  assert passes <= 0.05 * 3 * config.steps * config.batch_size
  assert found.likelihood['num_examples'] == 200  # all there are


def test_a_learned_schedule_reads_a_slice_of_its_own():
  config, found = chosen('diffusion', model__kw={'schedule': 'learned', 'prediction': 'noise'})
  assert found.likelihood['num_repeats'] > 1


@pytest.mark.parametrize('family,objective,changes', [
    ('implicit', 'adversarial', {}),  # no likelihood
    ('flow', 'adversarial', {}),  # one that it is not trained by
    ('diffusion', 'score_matching', {}),
    ('ebm', 'kl', {}),
    ('mixture', 'kl', {}),  # fitted
    ('vae', 'kl', {'steps': 20}),  # two dispatches
    ('vae', 'kl', {'steps': 100, 'batch_size': 64}),  # 10 steps pay for 96 examples
    ('vae', 'kl', {'select__metric': ''})])
def test_others_end_at_their_last_step(family, objective, changes):
  config, found = chosen(family, objective, **changes)
  assert found is None
  assert wiring.validator(config, wiring.run(config)) is None


def test_what_the_user_asks_for_is_done_at_its_price():
  _, found = chosen('vae', steps=20, select__every=10)
  assert found == validation.Selection('nll', 10, {'num_examples': 200, 'num_repeats': 8})
  _, found = chosen('vae', select__metric='fd')
  assert found == validation.Selection('fd', 100, {})
  with pytest.raises(BadInput, match="'nlp'"):
    config, _ = chosen('vae', select__metric='nlp')
    wiring.validator(config, wiring.run(config))


def test_an_exact_likelihood_takes_no_number_of_draws():
  """The flow of continuous data has no bound, whose draws the selection counts."""
  config = configs.load('configs/toy2d.py:data=ring8,family=flow,objective=kl')
  made = wiring.run(config)
  found = wiring.selection(config, made)
  assert made.model.elbo is None and found.likelihood['num_repeats'] >= 1
  assert wiring.validator(config, made) is not None


def test_validation_sees_the_validation_split_and_draws_of_its_own(monkeypatch):
  config, _ = chosen('vae', select__metric='fd', evals__encoder='identity')
  made, seen = wiring.run(config), []
  figure = Value(3.0, 3.0, 3.0, {})

  def drawer(*args, purpose, **kw):
    seen.append(purpose)
    return lambda params: None

  evaluate = {'frechet': lambda params, draw: {'fd': figure}}
  monkeypatch.setattr(validation, 'drawer', drawer)
  monkeypatch.setattr(validation, 'evaluators', lambda config, dataset, model, split, names, **kw: (
      seen.append(split), evaluate)[1])
  validate = wiring.validator(config, made)
  state = wiring.abstract_state(config, made)
  assert validate(state) == 3.0
  assert sorted(seen, key=str) == [Purpose.VALIDATION_DRAWS, 'validation']


def test_the_figure_is_the_likelihood_of_the_validation_split():
  """A model that says n nats for its parameter n: its bits per dimension, and inf for no number."""
  config, found = chosen('vae')
  made = wiring.run(config)
  model = Model(init=None, elbo=lambda p, batch, rng: {'a': jnp.full(len(batch['x']), -p['n'])})
  made = made._replace(model=model)
  validate = wiring.validator(config, made)
  state = wiring.abstract_state(config, made)._replace
  bits = validate(state(ema={'n': jnp.float32(64 * np.log(2))}))
  np.testing.assert_allclose(bits, 1.0, rtol=1e-6)
  assert validate(state(ema={'n': jnp.float32(np.nan)})) == np.inf


@pytest.mark.slow
def test_a_flow_that_overfits_a_gaussian_is_stopped_in_time(tmp_path):
  """16 dimensions, 8,000 rows: the last step lies 1 nat and more above what is selected."""
  rng = np.random.default_rng(0)
  mixing = rng.standard_normal((16, 16)) / 4 + np.eye(16)
  x = rng.standard_normal((9000, 16)) @ mixing.T
  np.savez(tmp_path / 'x.npz', x=x.astype(np.float32))
  entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * mixing @ mixing.T)[1]
  nats = {}
  for metric in ('nll', ''):
    done = programs.run(
        'experiments.train', f'--config=configs/folder.py:path={tmp_path}/x.npz,family=flow',
        '--config.evals.names=likelihood', f'--config.select.metric={metric}',
        '--config.steps=6000', '--config.steps_per_dispatch=20', '--config.checkpoint.every=2000',
        f'--workdir={tmp_path}/run{metric}')
    assert done.code == 0, done.stderr
    record = json.loads((tmp_path / f'run{metric}' / 'eval.json').read_text())
    assert record['selected'] == bool(metric)
    nats[metric] = record['metrics']['nll_exact_nats']['value']
  assert nats['nll'] - entropy < 0.5 * (nats[''] - entropy)


def affordable(steps, **changes):
  """Samples for evaluators of an EBM after so many steps of 16 examples."""
  config = config_of('ebm', 'kl', 'discrete')
  config.networks.energy.kw = {}
  config.steps = steps
  for key, value in changes.items():
    config.evals[key] = value
  run = wiring.run(config)
  params = wiring.abstract_state(config, run).params['model']
  return wiring.affordable(config, run, run.model, params)


def test_samples_of_a_short_run_do_not_outlast_its_training():
  """Langevin chains of 1000 steps: two products forward, two back, of an energy like a training's.

  A training step moves 16 chains 20 times and takes the gradient of 32 energies: some 16 (20 + 3)
  gradients, so that 1000 samples cost as many as 2700 steps do.
  """
  assert affordable(3) == 256  # whatever it costs
  assert affordable(10_000) == 1000
  some = affordable(4000)
  assert 256 < some < 1000 and some % 256 == 0
  assert affordable(8000, budget=0.25) == some
  assert affordable(3, budget=0.0) == 1000
  assert affordable(3, num_samples=50) == 50
  config = config_of('gaussian', 'reverse_kl', 'continuous')  # costs next to nothing
  run = wiring.run(config)
  params = wiring.abstract_state(config, run).params['model']
  assert wiring.affordable(config, run, run.model, params) == 1000
  with pytest.raises(BadInput, match='evals.budget=-1'):
    affordable(3, budget=-1.0)
