"""Keys of different purposes do not meet, and no key of a program serves two."""

import ast
import itertools
import pathlib
from unittest import mock

import jax
import numpy as np
import pytest

from genjax import compat, data, wiring
from genjax.evals import likelihood, over_split
from genjax.numerics import streams
from genjax.numerics.streams import Purpose, stream
from tests import keys
from tests.evals import asked
from tests.test_contract import TRIPLES, config_of

ROOT = pathlib.Path(__file__).parent.parent.parent
HOME = ROOT / 'genjax' / 'numerics' / 'streams.py'
FAST = {('vae', 'kl', 'bound', 'discrete'), ('implicit', 'adversarial', 'critic', 'discrete'),
        ('diffusion', 'score_matching', 'denoising', 'continuous')}


def test_nobody_else_makes_a_key_of_a_seed():
  makers = {'key', 'PRNGKey', 'wrap_key_data'}
  files = itertools.chain((ROOT / 'genjax').rglob('*.py'), (ROOT / 'experiments').rglob('*.py'))
  for path in files:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Call)]
    lines = [f.lineno for f in calls if isinstance(f, ast.Attribute) and f.attr in makers
             and ast.unparse(f.value) in ('jax.random', 'random', 'jr')]
    assert bool(lines) == (path == HOME), f'{path}:{lines}: use genjax.numerics.streams'


def test_keys_of_all_purposes_and_their_children_are_distinct():
  assert len({int(p) for p in Purpose}) == len(Purpose)
  found = []
  for seed, purpose in itertools.product((0, 1), Purpose):
    for indices in ((), (0,), (1,), (0, 0), (0, 1), (1, 0)):
      key = stream(seed, purpose, *indices)
      if len(indices) == 2:  # below it a key is split or folded by whoever got it
        found.append(jax.random.key_data(jax.random.split(key, 4)))
      else:
        found.append(jax.random.key_data(key)[None])
  found = np.concatenate(found)
  # (purpose), (purpose, i), and splits of (purpose, i, j), i and j in {0, 1}
  assert len(np.unique(found, axis=0)) == len(found) == 2 * len(Purpose) * (1 + 2 + 3 * 4)


def test_equal_splits_are_one_and_their_draws_are_counted_together():
  key = stream(0, Purpose.INIT)
  part = lambda key, i: jax.random.split(key)[i]
  apart = lambda key: jax.random.normal(part(key, 0)) + jax.random.normal(part(key, 1))
  twice = lambda key: jax.random.normal(part(key, 0)) + jax.random.normal(part(key, 0))
  unlike = lambda key: jax.random.normal(part(key, 0)) + jax.random.normal(
      jax.random.split(key, 3)[1])
  assert keys.served_twice(apart, key) == []
  assert "'draw': 2" in keys.served_twice(twice, key)[0]
  assert "'split (3,)': 1" in keys.served_twice(unlike, key)[0]


def test_a_key_that_is_split_and_folded_is_found():
  def program(key):
    a, b = jax.random.split(key)
    return jax.random.normal(a) + jax.random.normal(jax.random.fold_in(key, 0)), b

  [line] = keys.served_twice(program, stream(0, Purpose.INIT))
  assert "'split (2,)': 1" in line and "'fold': 1" in line
  # and this is why it must not be: one number is both draws
  key = stream(0, Purpose.INIT)
  assert jax.random.normal(jax.random.split(key)[0]) == jax.random.normal(
      jax.random.fold_in(key, 0))


def served_twice(family, objective, estimator, kind):
  """Keys that serve two purposes in a run's initialisation, step, samples and likelihoods."""
  config = config_of(family, objective, kind, estimator)
  config.seed = 7
  run = wiring.run(config)
  state, rows = wiring.abstract_state(config, run), wiring.abstract_rows(config, run)
  key, params = stream(7, Purpose.TEST_DRAWS, 0), state.params['model']
  lines = keys.served_twice(run.init, key, rows)
  lines += keys.served_twice(run.step, state, rows) if run.step else []
  if run.model.sample:
    lines += keys.served_twice(lambda p, key: run.model.sample(p, key, 4, None)[0], params, key)
  settings = {'importance_weighted': {'num_weights': 2}, 'ode': {'num_steps': 2, 'num_probes': 1}}
  batch = {'x': rows['x'], 'mask': jax.ShapeDtypeStruct(rows['x'].shape[:1], bool)}
  task = asked.task(run.dataset)
  of_batch = lambda model, task, name, terms, *args, **kw: over_split.per_example(
      terms, task.prepare)
  for estimator in compat.legal(likelihood.ESTIMATORS, compat.provides(
      run.model, data.properties(run.dataset))):
    with mock.patch.object(likelihood, '_evaluator', of_batch):
      terms = likelihood.ESTIMATORS[estimator].make(run.model, task, **settings.get(estimator, {}))
    found = keys.served_twice(terms, params, batch, key, key)
    if estimator == 'ode':  # half the steps are compared under the same probes
      assert len(found) == 1 and "'draw': 2" in found[0]
    else:
      lines += found
  # ott seeds a default of its own, from which it draws nothing that reaches a result
  return [line for line in lines if 'random_seed' not in line or '(7,' in line]


@pytest.mark.parametrize('family,objective,estimator,kind', [
    pytest.param(*triple, marks=() if triple in FAST else pytest.mark.slow)
    for triple in map(tuple, TRIPLES)])
def test_no_key_of_a_run_serves_two_purposes(family, objective, estimator, kind):
  assert served_twice(family, objective, estimator, kind) == []


def test_splits_have_their_own_noise():
  drawn = [jax.random.key_data(stream(3, Purpose.LIKELIHOOD, streams.SPLITS.index(s), 0, 0))
           for s in streams.SPLITS]
  assert len(np.unique(drawn, axis=0)) == 3
