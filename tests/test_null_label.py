"""Whether a model may be asked without a label: one answer, for guidance, draws and editing."""

import jax
import numpy as np
import pytest

from configs import defaults
from genjax import compat, wiring
from genjax.evals import draw
from genjax.runs import Loaded, edit
from genjax.types import BadInput, DataSpec, Model
from genjax.wiring import parts

DROPPED = {'label_dropout': 0.1}
TINY = {'width': 16, 'num_blocks': 1, 'num_heads': 2}
REMEDY = 'objective.label_dropout=0.1'
DIGITS = DataSpec((8, 8, 1), 17, 10)


def config_of(objective, objective_kw=(), family='diffusion', model_kw=(), weight=1.0,
              conditional=True):
  """On digits."""
  config = defaults.get()
  config.unlock()
  config.model.family, config.model.kw = family, dict(model_kw)
  config.conditional = conditional
  for role in {'diffusion': ('denoiser',), 'autoregressive': ('causal',)}.get(family, ()):
    config.networks[role].kw = TINY
  config.objective.name, config.objective.kw = objective, dict(objective_kw)
  config.sampler.guidance.weight = weight
  config.init_from = 'a run'  # of which nothing is read before the first step
  return config


@pytest.mark.parametrize(('config', 'trained'), [
    (config_of('score_matching', DROPPED), True), (config_of('score_matching'), False),
    (config_of('mean_flow', DROPPED), True), (config_of('mean_flow'), False),
    (config_of('kl'), False), (config_of('consistency'), False), (config_of('distillation'), False),
    (config_of('kl', family='vae'), False), (config_of('kl', family='flow'), False),
    (config_of('adversarial', family='implicit'), False),
    (config_of('kl', family='autoregressive'), True),
    (config_of('kl', family='autoregressive', model_kw={'label_dropout': 0.0}), False),
    (config_of('kl', conditional=False), True)])  # takes no label at all
def test_a_null_label_is_trained_where_labels_are_dropped(config, trained):
  model = wiring.run(config).model
  assert (model.null_cond is not None) == trained
  if trained:
    np.testing.assert_array_equal(model.null_cond(3), [10, 10, 10])
  assert 'null_cond' not in compat.provides(model)
  if not trained:
    for asked in (lambda: draw.make(model, DIGITS, seed=0, conditional=True, cond=10),
                  lambda: model.sample({}, jax.random.key(0), 2, None)):
      with pytest.raises(BadInput, match=REMEDY):
        asked()
    draw.make(model, DIGITS, seed=0, conditional=True, cond=9)  # a label is


@pytest.mark.parametrize('config', [
    config_of('score_matching', weight=2.0), config_of('score_matching', weight=0.0),
    config_of('kl', weight=2.0)])
def test_a_config_that_guides_by_an_untrained_null_label_is_refused(config):
  with pytest.raises(BadInput, match=f'guidance weight = .*autoguidance.*{REMEDY}'):
    wiring.run(config)


def test_guidance_by_dropped_labels_and_by_a_worse_run_is_not_refused():
  assert wiring.run(config_of('score_matching', DROPPED, weight=2.0)).model.sample is not None
  assert wiring.run(config_of('kl', weight=1.0)).model.sample is not None
  config = config_of('kl', weight=2.0)
  config.sampler.guidance.autoguidance = 'a worse run'
  run = wiring.run(config)
  assert run.model.sample is None  # until the guide is there
  guided = wiring.autoguided(config, run.dataset.spec, run.objective, run.model, run.model)
  assert guided.sample is not None and guided.null_cond is None


def test_no_label_is_the_null_label_of_a_model_that_knows_one():
  model = Model(init=None, sample=lambda params, rng, n, cond: cond,
                null_cond=lambda n: np.full(n, 10))
  np.testing.assert_array_equal(parts._unlabelled(model).sample({}, None, 2, None), [10, 10])
  assert parts._unlabelled(model).sample({}, None, 2, 'labels') == 'labels'


def test_an_edit_without_a_label_needs_a_trained_null_label():
  config = config_of('kl')
  run = wiring.run(config)
  loaded = Loaded(config, run.dataset, run.objective, run.model, {}, 0, False, 0, run)
  for cond, words in ((None, '--edit without a label'), (10, 'cond=10')):
    with pytest.raises(BadInput, match=f'{words}.*--cond=0..9.*{REMEDY}'):
      edit.draw(loaded, None, num=1, seed=0, cond=cond, num_particles=2, num_steps=2, noise=0.0)
