"""From a config to one estimator: its own keywords alone, and what it needs of a diffusion."""

import pytest

from genjax import wiring
from genjax.types import BadInput
from tests.test_contract import config_of

LEARNED = {'schedule': 'learned'}
VARIANCE = {'num_steps': 4, 'variance': 'learned'}


def run(family, objective, estimator=None, model_kw=(), **kw):
  config = config_of(family, objective, 'continuous', estimator)
  config.model.kw = {**config.model.kw, **dict(model_kw)}
  config.objective.kw = {**config.objective.kw, **kw}
  return wiring.run(config)


@pytest.mark.parametrize(('family', 'objective', 'estimator', 'kw', 'words'), [
    ('gaussian', 'kl', 'exact', {'beta': 2.0},
     r"'kl' \(exact\) takes no 'beta' \(a keyword of objective 'kl' \(bound\)\); it takes: none"),
    ('gaussian', 'kl', 'exact', {'num_samples': 4},
     r"\(a keyword of objective 'kl' \(bound\), objective 'kl' \(importance_weighted\)"),
    ('gaussian', 'kl', None, {'fit': False}, r"'kl' \(fit\) takes no 'fit'; it takes: none"),
    ('gaussian', 'kl', None, {'restart': 0.1}, r"objective 'kl' \(contrastive_divergence\)"),
    ('gaussian', 'wasserstein', 'sinkhorn', {'num_critic': 2},
     r"objective 'wasserstein' \(critic\)\); it takes: epsilon, relative_epsilon, max_iterations"),
    ('ebm', 'score_matching', 'explicit', {'noise_std': 0.1},
     r"objective 'score_matching' \(denoising_one_level\)\); it takes: none"),
    ('ebm', 'score_matching', 'sliced', {'num_projection': 2}, "did you mean 'num_projections'"),
    ('ebm', 'score_matching', 'sliced', {'model': 'mine'}, "takes no 'model'"),
    ('gaussian', 'kl', 'exact', {'spec': 3}, "takes no 'spec'")])
def test_a_keyword_of_another_estimator_is_refused_and_its_owner_named(
    family, objective, estimator, kw, words):
  with pytest.raises(BadInput, match=words):
    run(family, objective, estimator, **kw)


def test_a_keyword_of_the_estimator_that_is_asked_for_is_taken():
  assert run('gaussian', 'wasserstein', 'sinkhorn', epsilon=0.1).estimator == 'sinkhorn'
  assert run('ebm', 'score_matching', 'denoising_one_level', noise_std=0.1).estimator
  assert run('gaussian', 'kl').estimator == 'fit'
  assert run('gaussian', 'kl', 'exact').estimator == 'exact'


@pytest.mark.parametrize(('objective', 'needs'), [
    ('score_matching', 'denoise and fixed_path (denoising)'),
    ('consistency', 'denoise and fixed_path (continuous)'),
    ('distillation', 'denoise and fixed_path (progressive)'),
    ('mean_flow', 'two_time (average velocity)')])
def test_a_learned_schedule_is_of_the_bound_alone(objective, needs):
  with pytest.raises(BadInput) as refusal:
    run('diffusion', objective, model_kw=LEARNED)
  needed, hint, provided, usable, _ = str(refusal.value).split('\n')
  assert hint.endswith('allowed here: a fixed model.schedule')
  assert f"'{objective}' on model 'diffusion'" in needed and needs in needed
  assert 'denoise, diffusion, elbo, sample, schedule_loss;' in provided
  assert 'fixed_path' not in provided and 'two_time' not in provided
  assert usable.endswith(': kl')
  assert [player.name for player in run('diffusion', 'kl', model_kw=LEARNED).objective.players] == [
      'model', 'schedule']


def test_a_learned_variance_is_denoised_in_its_own_steps_and_has_no_two_times():
  assert run('diffusion', 'score_matching', model_kw=VARIANCE).estimator == 'denoising'
  assert run('diffusion', 'score_matching', model_kw=VARIANCE, num_steps=4).estimator == 'denoising'
  with pytest.raises(BadInput, match='num_steps=5, .*is of 4 steps; allowed: None'):
    run('diffusion', 'score_matching', model_kw=VARIANCE, num_steps=5)
  with pytest.raises(BadInput, match=r'needs two_time \(average velocity\)'):
    run('diffusion', 'mean_flow', model_kw=VARIANCE)
