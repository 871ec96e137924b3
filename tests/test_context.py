"""Models that are conditioned on vectors: from the npz to samples, without a word about labels."""

import numpy as np
import pytest

from configs import folder
from genjax import data, runs, wiring
from genjax.evals import draw
from genjax.numerics import conditions
from genjax.runs import sampling
from genjax.types import BadInput, DataSpec, Model

NUM, SIZE = 400, 3
SPEC = DataSpec((2,), None, None, SIZE)


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
  path = tmp_path_factory.mktemp('pairs') / 'pairs.npz'
  rng = np.random.default_rng(0)
  np.savez(path, x=rng.normal(size=(NUM, 2)), context=rng.normal(size=(NUM, SIZE)))
  return path


def test_vectors_are_read_by_rows_with_their_examples(pairs):
  dataset = data.load('npz', path=str(pairs))
  assert dataset.spec == SPEC._replace(num_classes=None) and dataset.label_counts is None
  with np.load(pairs) as file:
    of_example = {tuple(np.float32(x)): np.float32(c)
                  for x, c in zip(file['x'], file['context'], strict=True)}
  train = dataset.splits['train']
  for x, vector in zip(train['x'][:20], train['cond'][:20], strict=True):
    np.testing.assert_array_equal(vector, of_example[tuple(np.asarray(x))])
  batch = data.prepare({k: v[:4] for k, v in train.items()}, dataset.spec)
  assert batch['cond'].dtype == np.float32 and batch['cond'].shape == (4, SIZE)


@pytest.mark.parametrize('keys, words', [
    ({'context': np.ones((5, 2))}, r'allowed: numbers \[7, C\]'),
    ({'context': np.ones(7)}, r'allowed: numbers \[7, C\]'),
    ({'context': np.full((7, 2), np.inf)}, 'not finite in float32'),
    ({'context': np.full((7, 2), 1e300)}, 'not finite in float32'),
    ({'context': np.full((7, 2), 'a')}, 'allowed: numbers'),
    ({'context': np.ones((7, 2)), 'y': np.ones(7, int)}, 'may be the labels; allowed: data.cond')])
def test_vectors_that_are_none_are_refused(tmp_path, keys, words):
  path = tmp_path / 'bad.npz'
  np.savez(path, x=np.ones((7, 2)), **keys)
  with pytest.raises(BadInput, match=words):
    data.load('npz', path=str(path))


def test_no_condition_is_a_row_of_nan_and_is_dropped_by_rows():
  import jax
  cond = np.ones((1000, SIZE), np.float32)
  dropped = np.asarray(conditions.drop(jax.random.key(0), cond, 0.3, SPEC))
  rows = np.isnan(dropped)
  assert (rows.all(1) == rows.any(1)).all() and abs(rows.any(1).mean() - 0.3) < 0.06


def test_samples_have_the_vectors_of_training_examples_or_the_one_that_is_asked_for():
  model = Model(None, sample=lambda params, rng, n, cond: (cond[:, :2], 1))
  contexts = np.arange(30.0).reshape(10, 3)
  make = lambda **kw: draw.make(model, SPEC, seed=0, conditional=True, **kw)({})(40)
  _, info = make(contexts=contexts)
  assert {tuple(row) for row in info['cond']} <= {tuple(row) for row in contexts}
  assert len({tuple(row) for row in info['cond']}) > 5
  assert info['labels'] == 'vectors of random training examples'
  x, info = make(cond=(1.0, 2.0, 3.0))
  np.testing.assert_array_equal(x, np.tile([1.0, 2.0], (40, 1)))
  for cond, words in (((1.0,), '1 numbers; allowed: 3'), (None, 'neither one nor those'),
                      ((np.nan,) * 3, 'this training never dropped one')):
    with pytest.raises(BadInput, match=words):
      make(cond=cond)


def trained(pairs, tmp_path, argument, **settings):
  config = folder.get_config(f'path={pairs},{argument},conditional=True')
  config.steps, config.batch_size, config.log.every, config.checkpoint.every = 20, 32, 20, 20
  config.steps_per_dispatch, config.select.metric, config.evals.names = 1, '', ()
  for name, value in settings.items():
    config.networks[name].kw = value
  runs.train(config, tmp_path / 'run')
  return tmp_path / 'run'


FAMILIES = {
    'flow': ('family=flow,objective=kl,model.num_couplings=2', {'conditioner': {'features': (8,)}}),
    'diffusion': ('family=diffusion,objective=score_matching,objective.label_dropout=0.2',
                  {'denoiser': {'width': 8, 'num_blocks': 1}}),
    'vae': ('family=vae,objective=kl', {'posterior': {'features': (8,)},
                                        'decoder': {'features': (8,)}}),
    'implicit': ('family=implicit,objective=adversarial', {'generator': {'features': (8,)},
                                                           'critic': {'features': (8,)}}),
    'ebm': ('family=ebm,objective=kl,model.sampler_steps=2', {'energy': {'features': (8,)}})}


@pytest.mark.slow
@pytest.mark.parametrize('family', ['flow', 'diffusion', 'vae', 'implicit', 'ebm'])
def test_families_train_and_sample_on_vectors(pairs, tmp_path, family):
  argument, networks = FAMILIES[family]
  workdir = trained(pairs, tmp_path, argument, **networks)
  drawn = sampling.sample(workdir, 8, cond='0.5,1,-1')
  assert np.isfinite(drawn.x).all()
  np.testing.assert_array_equal(drawn.cond, np.tile(np.float32([0.5, 1.0, -1.0]), (8, 1)))
  assert sampling.sample(workdir, 8).cond.shape == (8, SIZE)
  if family == 'diffusion':
    assert np.isnan(sampling.sample(workdir, 4, cond='none').cond).all()
  else:
    with pytest.raises(BadInput, match='never dropped one'):
      sampling.sample(workdir, 4, cond='none')
  with pytest.raises(BadInput, match='allowed: 3 finite numbers'):
    sampling.sample(workdir, 4, cond='cat')


def test_a_model_sees_no_condition_unless_the_config_says_so(pairs):
  config = folder.get_config(f'path={pairs},family=flow,objective=kl')
  run = wiring.run(config)
  assert 'cond' not in run.prepare(run.source[0])
