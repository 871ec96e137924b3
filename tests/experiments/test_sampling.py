"""experiments.sample: any sampler and guidance on one checkpoint, by flag."""

import re

import numpy as np
import pytest

from genjax import configs
from genjax.numerics.samplers import DENOISING
from genjax.types import Model, Objective
from genjax.wiring import evaluation
from tests import programs
from tests.programs import refused

DIGITS = ('configs/digits.py:family=diffusion,objective=score_matching,denoiser=dit,'
          'denoiser.width=16,denoiser.num_blocks=1,denoiser.num_heads=2,conditional=True,'
          'objective.label_dropout=0.1')
TINY = ('--config.steps=4', '--config.steps_per_dispatch=2', '--config.checkpoint.every=2',
        '--config.select.metric=', '--config.batch_size=8', '--config.evals.names=cost',
        '--config.evals.num_samples=1', '--config.sampler.kw.num_steps=2')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  path = tmp_path_factory.mktemp('sampling') / 'run'
  done = programs.run('experiments.train', f'--config={DIGITS}', f'--workdir={path}', *TINY)
  assert done.code == 0, done.stderr
  return path


def sample(run, *flags):
  """The samples, and the evaluations that the program reports."""
  out = run.parent / 'x.npz'
  done = programs.run('experiments.sample', f'--workdir={run}', f'--out={out}', '--num=4', *flags)
  assert done.code == 0 and done.stderr == '', done.stderr
  return np.load(out)['x'], int(re.search(r'(\d+) network evaluations', done.stdout)[1])


@pytest.mark.slow
def test_weight_zero_is_no_label_one_is_the_label_and_two_costs_two(run):
  unlabelled, nfe = sample(run, '--cond=10')
  assert nfe == 2  # of the config
  zero, nfe = sample(run, '--cond=3', '--guidance=0')
  np.testing.assert_array_equal(zero, unlabelled)
  assert nfe == 2
  assert sample(run, '--cond=3', '--guidance=2', '--num_steps=5')[1] == 10
  # sigma / alpha is infinite or near it at the first of three times, and small at the last
  assert sample(run, '--cond=3', '--guidance=2', '--num_steps=3',
                '--guidance_interval=0.2,5')[1] == 4


@pytest.mark.slow
def test_a_guide_that_is_the_model_changes_nothing_but_the_cost(run):
  plain, _ = sample(run, '--cond=3', '--sampler=unipc', '--num_steps=4')
  guided, nfe = sample(run, '--cond=3', '--sampler=unipc', '--num_steps=4', '--guidance=3',
                       f'--autoguidance={run}')
  assert nfe == 8 and np.mean(plain != guided) < 0.02  # a rounding at the edge of a level


@pytest.mark.slow
@pytest.mark.parametrize('name', DENOISING)
def test_every_sampler_by_name(run, name):
  steps = ('--sampler_kw={"rtol": 0.1}',) if name == 'ode' else ('--num_steps=4',)
  x, nfe = sample(run, f'--sampler={name}', *steps)
  assert len(np.unique(x)) > 2 and nfe >= 4


@pytest.mark.slow
@pytest.mark.parametrize(('flags', 'words'), [
    (('--sampler=ode', '--num_steps=4'), ("'ode'", "'num_steps'", 'rtol')),
    (('--sampler=heun', '--eta=1'), ("'heun'", "'eta'", 'churn')),
    (('--churn=3',), ("'ddim'", "'churn'", 'eta')),
    (('--num_steps=3', '--sampler_kw={"num_steps": 4}'), ('num_steps', 'once')),
    (('--guidance_interval=1,2',), ('1,2', '--guidance')),
    (('--guidance=2', '--guidance_interval=2,1'), ('2,1', 'LOW,HIGH')),
    (('--guidance=2', '--guidance_interval=a,b'), ('a,b', 'LOW,HIGH')),
    (('--guidance=-1',), ('-1',)),
    (('--guidance=2', '--autoguidance=nowhere'), ('nowhere',)),
    (('--sampler=ode', '--guidance=2', '--guidance_interval=0.1,2'), ("'ode'", 'interval'))])
def test_what_a_sampler_does_not_take_is_refused(run, flags, words):
  refused(programs.run('experiments.sample', f'--workdir={run}', f'--out={run.parent}/x.npz',
                       *flags), *words)


@pytest.mark.slow
def test_a_run_that_never_dropped_a_label_is_not_asked_without_one(tmp_path):
  never = DIGITS.replace(',objective.label_dropout=0.1', '')
  flags = f'--config={never}', f'--workdir={tmp_path}/run', *TINY
  refused(programs.run('experiments.train', *flags, '--config.sampler.guidance.weight=2'),
          'guidance weight = 2.0', 'objective.label_dropout=0.1')
  assert programs.run('experiments.train', *flags).code == 0
  asked = 'experiments.sample', f'--workdir={tmp_path}/run', f'--out={tmp_path}/x.npz', '--num=2'
  for own, word in ((('--guidance=2',), '--autoguidance'), (('--guidance=0',), 'weight = 0.0'),
                    (('--cond=10',), '0..9')):
    refused(programs.run(*asked, *own), word, 'objective.label_dropout=0.1')
  guided = programs.run(*asked, '--cond=9', '--guidance=2', f'--autoguidance={tmp_path}/run')
  assert guided.code == 0, guided.stderr


def test_the_card_names_every_argument():
  config = configs.load(DIGITS)
  with config.unlocked():
    config.sampler.name, config.sampler.kw = 'heun', {'churn': 2.0}
    config.sampler.guidance.weight, config.sampler.guidance.interval = 2.0, (0.2, 5.0)
  assert evaluation.sampler_of(config, Objective(None, (), Model(init=None))) == (
      'heun(churn=2.0, churn_max=inf, churn_min=0.0, churn_noise=1.0, num_steps=18, rho=7.0, '
      'spacing=edm, t_min=0.001), guidance(weight=2.0, interval=(0.2, 5.0))')
  with config.unlocked():
    config.sampler.name, config.sampler.kw = 'ddim', {'num_steps': 7}
    config.sampler.guidance.weight = 1.0
  assert evaluation.sampler_of(config, Objective(None, (), Model(init=None))) == (
      'ddim(eta=0.0, num_steps=7, rho=7.0, spacing=time, t_min=0.001)')
