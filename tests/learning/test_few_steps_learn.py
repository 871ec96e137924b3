"""One and two evaluations in the plane: trained maps beside ddim of a denoiser of the same size.

The figure is the sliced 2-Wasserstein distance of 4000 samples to as many exact draws; two sets of
exact draws are about 0.05 apart.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import sharding, wiring
from genjax.evals.sliced_w2 import sliced_w2
from genjax.train import init
from genjax.wiring import parts
from tests.learning import running

DATA = ('data=three_modes,data.std=1.0,data.num_train=20000,family=diffusion,denoiser.width=64,'
        'denoiser.num_blocks=2,objective=')
SETTINGS = {'batch_size': 256, 'steps_per_dispatch': 100, 'ema': 0.99, 'optim__lr': 3e-3}


def figure(run, params, num_steps, name=''):
  """Sliced W2 by that many evaluations."""
  chosen = parts.suited(run.objective.sampler, name, {'num_steps': num_steps})
  model = parts.with_sampler(run.model._replace(sample=None), run.dataset.spec, *chosen)
  x, nfe = jax.jit(lambda rng: model.sample(params, rng, 4000, None))(jax.random.key(2))
  assert nfe == num_steps
  exact = np.asarray(run.dataset.sample(jax.random.key(1), 4000), np.float64)
  return sliced_w2(np.asarray(x, np.float64), exact, 64)


@pytest.fixture(scope='module')
def teacher():
  """A denoiser, and its figure by ddim at 1, 2, 4 and 64 evaluations."""
  run, params, _ = running.train(running.config_of(f'{DATA}score_matching', steps=1000, **SETTINGS))
  figures = {n: figure(run, params, n) for n in (1, 2, 4, 64)}
  print('ddim', figures)
  assert figures[64] < 0.25 < figures[4] < figures[1]
  return params, figures


@pytest.mark.slow
@pytest.mark.parametrize(('words', 'reached'), [
    ('mean_flow', {1: 0.2, 2: 0.2}), ('consistency,objective.warmup=500', {1: 0.5, 2: 0.4})])
def test_a_trained_map_needs_one_or_two(teacher, words, reached):
  run, params, _ = running.train(running.config_of(f'{DATA}{words}', steps=1000, **SETTINGS))
  found = {n: figure(run, params, n) for n in reached}
  print(words, found)
  for n, bound in reached.items():
    assert found[n] < bound < teacher[1][n]


@pytest.mark.slow
@pytest.mark.parametrize('last_steps', [4, 1])
def test_a_distilled_student_takes_few_of_its_teacher_s_steps(teacher, last_steps):
  given, figures = teacher
  config = running.config_of(
      f'{DATA}distillation,objective.last_steps={last_steps},objective.stage_steps=300',
      steps=1800, init_from='the fixture', **{**SETTINGS, 'optim__lr': 1e-3})
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  copy = lambda: jax.tree.map(jnp.copy, given)
  state = state._replace(ema=copy(), params={
      'model': copy(), 'teacher': {**state.params['teacher'], 'model': copy()}})
  dispatch = wiring.compiled_step(config, run, sharding.make_mesh())
  for rows in itertools.islice(wiring.batches(run.source, 0, 100), config.steps // 100):
    state, metrics = dispatch(state, rows)
  found = figure(run, state.ema, last_steps)
  print('distilled', last_steps, found)
  assert metrics['model/num_steps'][-1] == last_steps
  assert found < 0.3 < figures[last_steps]
