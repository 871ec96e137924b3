"""Samples by their index: the same in any parts, with the labels and the cost that are said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import toy2d
from genjax import data, wiring
from genjax.evals import cost, draw, two_sample
from genjax.numerics import streams
from genjax.numerics.samplers import DENOISING, FLOW_MAP
from genjax.types import BadInput, DataSpec, Model
from tests.evals import asked
from tests.test_contract import config_of

SPEC = DataSpec((16,), None, None)
LABELLED = DataSpec((2,), None, 3)
NAMES = {'gaussian': 'kl', 'mixture': 'kl', 'histogram': 'kl', 'kde': 'kl', 'vae': 'kl',
         'implicit': 'adversarial', 'flow': 'kl', 'autoregressive': 'kl', 'ebm': 'kl',
         'diffusion': 'score_matching'}


def normal(shape=SPEC.shape):
  """x ~ N(0, I) through keys that are split, scanned over and drawn from twice."""
  def sample(params, rng, n, cond):
    rng_start, rng_chain = jax.random.split(rng)
    x = jax.random.normal(rng_start, (n, *shape))
    step = lambda x, key: ((x + jax.random.normal(key, x.shape)) / np.sqrt(2), None)
    x, _ = jax.lax.scan(step, x, jax.random.split(rng_chain, 3))
    return x, 4

  return Model(init=None, sample=sample)


@pytest.mark.slow
def test_samples_do_not_depend_on_how_many_are_drawn_at_once():
  whole, _ = draw.make(normal(), SPEC, seed=1)({})(64)
  assert abs(whole.mean()) < 0.12 and abs(whole.std() - 1) < 0.1
  assert abs(np.corrcoef(whole[:-1].ravel(), whole[1:].ravel())[0, 1]) < 0.12
  for chunk in (1, 7):
    few, _ = draw.make(normal(), SPEC, seed=1, chunk=chunk)({})(16)
    np.testing.assert_allclose(few, whole[:16], rtol=1e-5)
  # other seeds and validation: a mean of products has a deviation of 1 / 32
  for x in (draw.make(normal(), SPEC, seed=2)({})(64)[0], draw.make(
      normal(), SPEC, seed=1, purpose=streams.Purpose.VALIDATION_DRAWS)({})(64)[0]):
    assert abs((x * whole).mean()) < 0.12


def test_one_sample_computes_one_and_many_a_chunk_at_a_time():
  sizes = []

  def sample(params, rng, n, cond):
    sizes.append(n)
    return jnp.zeros((n, 16)), 1

  model = Model(init=None, sample=sample)
  draw.make(model, SPEC, seed=0)({})(1)
  assert sizes == [1]
  draw.make(model, SPEC, seed=0)({})(1000)
  assert sizes == [1, 256]  # compiled once, run four times
  draw.make(model, SPEC, seed=0, chunk=5)({})(12)
  assert sizes == [1, 256, 5, 2]
  with pytest.raises(BadInput, match='chunk=0'):
    draw.make(model, SPEC, seed=0, chunk=0)


def test_a_draw_without_the_samples_in_front_is_refused():
  model = Model(init=None, sample=lambda p, rng, n, cond: (
      jax.random.normal(rng) * jnp.ones((n, 16)), 1))
  with pytest.raises(ValueError, match='leading axis'):
    draw.make(model, SPEC, seed=0)({})(1)


def drawn_in_parts(config, scale=0.1):
  """x of 6 samples at once, and two at a time, as [6, D], by an untrained model."""
  run = wiring.run(config)
  params = jax.jit(run.init)(streams.stream(0, streams.Purpose.INIT),
                             wiring.first_rows(config, run)).params['model']
  params = jax.tree.map(lambda a: a + scale * np.random.default_rng(0).standard_normal(
      a.shape).astype(a.dtype), params)
  return [np.asarray(wiring.drawer(config, run, 3, chunk=chunk)(params)(6)[0],
                     np.float64).reshape(6, -1) for chunk in (8, 2)]


@pytest.mark.parametrize('family', [
    pytest.param(name, marks=() if name == 'vae' else pytest.mark.slow)
    for name in NAMES])
def test_every_family_draws_the_same_in_parts(family):
  config = config_of(family, NAMES[family], 'discrete')
  if family == 'ebm':
    config.model.kw.sampler_steps = 5
  whole, parts = drawn_in_parts(config)
  assert len(np.unique(whole, axis=0)) > 1
  assert np.mean(whole != parts) < 0.01  # a rounding at the edge of a level


@pytest.mark.slow
@pytest.mark.parametrize('sampler', [*DENOISING, *FLOW_MAP])
def test_every_sampler_draws_the_same_in_parts(sampler):
  few_steps = sampler in FLOW_MAP
  config = toy2d.get_config('family=diffusion,objective='
                            + ('mean_flow' if few_steps else 'score_matching'))
  config.unlock()
  config.data.kw = {'num_train': 512, 'num_validation': 64, 'num_test': 64}
  config.sampler.name = sampler
  config.sampler.kw = {'rtol': 1e-5, 'atol': 1e-5} if sampler == 'ode' else {'num_steps': 3}
  # of a rough network a rounding changes which steps are rejected
  whole, parts = drawn_in_parts(config, scale=0.01 if sampler == 'ode' else 0.1)
  assert whole.std(0).min() > 1e-3
  np.testing.assert_allclose(parts, whole, atol=1e-2 if sampler == 'ode' else 1e-4)


def test_evaluations_are_the_mean_of_the_samples_that_were_drawn():
  """Sample i costs as much as its first number says: of 120 the mean, not that of the first."""
  def sample(params, rng, n, cond):
    cost = jax.random.randint(rng, (n,), 0, 100)
    return cost[:, None].astype(jnp.float32) * jnp.ones(16), cost

  x, info = draw.make(Model(init=None, sample=sample), SPEC, seed=0, chunk=40)({})(120)
  assert info['nfe'] == x[:, 0].mean() and 40 < info['nfe'] < 60
  run = asked.of_model(cost, 'sample', None, asked.task(data.load('digits'), 120))
  value = run({}, draw.make(Model(init=None, sample=sample), SPEC, seed=0)({}))['nfe']
  assert value.value == x[:, 0].mean()


def labelled(**kw):
  """Frequencies of 4000 labels, and info."""
  def sample(params, rng, n, cond):
    return jnp.stack([cond, cond], 1).astype(jnp.float32), 1

  model = Model(init=None, sample=sample, null_cond=lambda n: jnp.full(n, 3))
  x, info = draw.make(model, LABELLED, seed=0, conditional=True, **kw)({})(4000)
  np.testing.assert_array_equal(x[:, 0], info['cond'])
  return np.bincount(info['cond'], minlength=4) / 4000, info['labels']


def test_labels_are_drawn_as_often_as_in_the_training_split():
  share, words = labelled(label_counts=(70, 0, 30))
  # four standard deviations
  np.testing.assert_allclose(share, [0.7, 0.0, 0.3, 0.0], atol=0.03)
  assert share[1] == share[3] == 0.0 and words == 'frequencies of the training split'
  share, words = labelled()
  np.testing.assert_allclose(share, [1 / 3, 1 / 3, 1 / 3, 0.0], atol=0.03)
  assert words == 'uniform'
  assert labelled(cond=2) == (pytest.approx([0, 0, 1, 0]), 'all 2')
  assert labelled(cond=3)[1] == 'none'
  with pytest.raises(BadInput, match='cond=4; allowed: 0..2, or 3'):
    labelled(cond=4)


def test_the_config_chooses_the_labels_and_the_cards_say_which():
  config = config_of('vae', 'kl', 'discrete')
  config.conditional = True
  dataset = data.load('digits')
  assert dataset.label_counts == tuple(np.bincount(dataset.splits['train']['cond']))
  assert sum(dataset.label_counts) == 1197 and len(set(dataset.label_counts)) > 1
  run = wiring.run(config)
  run = run._replace(dataset=dataset._replace(label_counts=(1, *[0] * 9)))
  model = Model(init=None, sample=lambda p, rng, n, cond: (
      jnp.zeros((n, 8, 8, 1)) + cond[:, None, None, None], 1))
  for labels, only in (('data', True), ('uniform', False)):
    config.evals.labels = labels
    _, info = wiring.drawer(config, run, 0, model=model)({})(50)
    assert (set(info['cond']) == {0}) is only
    assert two_sample.sampled(info)['labels'].startswith('freq' if only else 'uniform')
  config.evals.labels = 'equal'
  with pytest.raises(BadInput, match="evals.labels='equal'; allowed: data, uniform"):
    wiring.run(config)
  _, info = draw.make(normal(), SPEC, seed=0)({})(1)
  assert 'labels' not in two_sample.sampled(info)  # unconditional: there is nothing to say
