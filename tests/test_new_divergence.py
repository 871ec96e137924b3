"""A divergence added by its reader: one file, one line in a table, and no other file is touched."""

import importlib.util

import jax
import numpy as np
import pytest

from experiments import matrix
from genjax import compat, wiring
from genjax.models import FAMILIES
from genjax.objectives import OBJECTIVES
from genjax.train import init
from genjax.types import BadInput
from tests import networks
from tests.test_contract import TINY, config_of, moved

FILE = '''"""Energy distance E|x - y| - E|x - x'| / 2 - E|y - y'| / 2 of data x and samples y."""

import jax
import jax.numpy as jnp

from genjax import prob
from genjax.types import Aux, Estimator, Objective, Player


def pathwise(model, *, spec, weight: float = 1.0):
  """The distance between a minibatch and as many samples (Szekely and Rizzo, 2013)."""

  def mean_distance(x, y):
    squared = jnp.sum((x[:, None] - y[None]) ** 2, -1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0).mean()

  def loss(params, carry, batch, rng, step):
    rng_cell, rng_y = jax.random.split(rng)
    x = prob.cell_noise(rng_cell, batch['x'], spec.levels)
    y = model.rsample(params['model'], rng_y, x.shape[0], batch.get('cond'))
    x, y = (a.reshape(a.shape[0], -1) for a in (x, y))
    value = mean_distance(x, y) - mean_distance(x, x) / 2 - mean_distance(y, y) / 2
    return weight * value, Aux({'energy_distance': value}, carry)

  return Objective(lambda rng, batch: ({'model': model.init(rng, batch)}, ()),
                   (Player('model', loss, ('model',)),), model)


ESTIMATORS = {'pathwise': Estimator(('rsample',), pathwise)}
'''


@pytest.fixture
def added(tmp_path, monkeypatch):
  """The one file, and the one line."""
  path = tmp_path / 'energy_distance.py'
  path.write_text(FILE)
  spec = importlib.util.spec_from_file_location('energy_distance', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  monkeypatch.setitem(OBJECTIVES, 'energy_distance', module)


def able(kind):
  """The families that provide what its estimator needs, found without the code under test."""
  spec = matrix.KINDS[kind][0]
  made = {}
  for name in FAMILIES:
    try:
      made[name] = wiring.family(name, spec, TINY[name])
    except BadInput:  # no such family on this kind of data
      continue
  return [name for name, model in made.items() if model.rsample is not None]


def test_its_capabilities_are_shared_by_most_families():
  assert {'gaussian', 'vae', 'implicit', 'flow'} <= set(able('discrete')) & set(able('continuous'))


@pytest.mark.parametrize('kind', ['continuous', 'discrete'])
def test_it_is_in_the_matrix(added, kind):
  triples = [t for t in matrix.legal_triples() if t[1] == 'energy_distance' and t[3] == kind]
  assert triples == [(family, 'energy_distance', 'pathwise', kind) for family in able(kind)]
  assert 'energy_distance' in matrix.markdown().split('\n')[0]


@pytest.mark.parametrize('family,kind', [
    pytest.param(f, k, marks=[pytest.mark.slow] * ((f, k) == ('flow', 'discrete')))
    for k in ('continuous', 'discrete') for f in able(k)])
def test_it_trains_with_every_family_that_can(added, family, kind):
  config = config_of(family, 'energy_distance', kind)
  config.objective.kw = {'weight': 2.0}
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  step, before = networks.jit(run.step), state.params
  for i in range(2):
    state, metrics = step(state, run.source[i])
  assert set(metrics) == {'model/energy_distance', 'model/loss', 'model/grad_norm'}
  np.testing.assert_allclose(metrics['model/loss'], 2 * metrics['model/energy_distance'], rtol=1e-6)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
  assert moved(before, state.params)


def test_it_approaches_the_data(added):
  config = config_of('gaussian', 'energy_distance', 'continuous')
  config.data.name = 'gaussian'  # whose minimiser is the data's distribution itself
  config.model.kw = {'init_mean': (2.0, -2.0)}
  config.batch_size, config.optim.lr, config.steps = 128, 0.05, 150
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  step, values = jax.jit(run.step), []
  for i in range(config.steps):
    state, metrics = step(state, run.source[i])
    values.append(float(metrics['model/energy_distance']))
  # what is left is the noise of a minibatch: pairs of a point with itself, about E|x - x'| / B
  assert np.mean(values[-20:]) < 0.1 < 0.5 < np.mean(values[:5])


@pytest.mark.parametrize('kind', ['continuous', 'discrete'])
def test_it_is_refused_elsewhere_in_the_lines_that_teach(added, kind):
  others = [name for name in wiring.provided(matrix.KINDS[kind][0]) if name not in able(kind)]
  assert 'ebm' in others and 'diffusion' in others
  for family in others:
    with pytest.raises(BadInput) as refusal:
      wiring.run(config_of(family, 'energy_distance', kind))
    lines = str(refusal.value).split('\n')
    assert f"objective 'energy_distance' on model {family!r}" in lines[0]
    assert 'needs rsample (pathwise)' in lines[0]
    assert lines[3].split(': ')[1].split(', ') == sorted(able(kind))


def test_its_kw_are_checked_and_its_name_is_offered(added):
  config = config_of('flow', 'energy_distance', 'continuous')
  config.objective.kw = {'wieght': 2.0}
  with pytest.raises(BadInput, match="'wieght' .did you mean 'weight'.*it takes: weight"):
    wiring.run(config)
  config.objective.kw = {'weight': 'heavy'}
  with pytest.raises(BadInput, match="weight='heavy' is of type str; allowed: float"):
    wiring.run(config)
  with pytest.raises(BadInput, match='usable here   : .*energy_distance'):
    wiring.run(config_of('implicit', 'kl', 'continuous'))
  estimators = OBJECTIVES['energy_distance'].ESTIMATORS
  assert compat.legal(estimators, frozenset({'rsample'})) == ('pathwise',)
