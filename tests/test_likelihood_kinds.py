"""On digits each family reports the kind of likelihood that it has; a table keeps them apart."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import disk, wiring
from genjax.data import Dataset
from genjax.evals import likelihood
from genjax.types import DataSpec, Model
from tests import programs
from tests.evals import asked
from tests.programs import refused
from tests.test_contract import config_of

KINDS = {'autoregressive': ('kl', 'exact'), 'mixture': ('kl', 'exact'),
         'histogram': ('kl', 'exact'), 'kde': ('kl', 'bound'), 'vae': ('kl', 'bound'),
         'flow': ('kl', 'bound'), 'autoregressive_flow': ('kl', 'bound'), 'glow': ('kl', 'bound'),
         'tarflow': ('kl', 'bound'), 'continuous_flow': ('kl', 'estimate'),
         'diffusion': ('score_matching', 'bound')}
FAST = ('autoregressive', 'mixture', 'histogram', 'kde', 'vae')
TABLE = '''
sizes = {'tiny': {'seeds': 1}}
def sweep(add, size):
  add('exact one', 'configs/digits.py:family=autoregressive')
  add('bound one', 'configs/digits.py:family=vae')
def metrics():
  from configs import columns
  return [columns.column('nll_exact_bpd', 'exact'), columns.column('nll_bound_bpd', 'bound')]
def note():
  return ''
'''


def untrained(family, objective):
  """A tiny model with a hundredth of the test digits, and its parameters."""
  config = config_of(family, objective, 'discrete')
  config.evals.kw = {'likelihood': {'batch_size': 8}}
  run = wiring.run(config)
  few = {k: v[:4] for k, v in run.dataset.splits['test'].items()}
  run = run._replace(dataset=run.dataset._replace(splits={**run.dataset.splits, 'test': few}))
  params = jax.jit(run.init)(jax.random.key(0), wiring.first_rows(config, run)).params['model']
  return config, run, params


@pytest.mark.parametrize('family', [
    pytest.param(family, marks=[pytest.mark.slow] * (family not in FAST)) for family in KINDS])
def test_kind_of_each_family(family):
  objective, kind = KINDS[family]
  config, run, params = untrained(family, objective)
  names = ('likelihood',)
  evaluate = wiring.evaluators(config, run.dataset, run.model, 'test', names)['likelihood']
  found = evaluate(params, None)
  assert set(found) == {f'nll_{kind}_bpd'}
  value = found[f'nll_{kind}_bpd']
  assert value.card['kind'] == kind and value.card['metric'] == f'nll_{kind}_bpd'
  assert np.isfinite(value.value) and value.value > 1.7  # below it would be a bug
  if run.model.bijection is not None:
    assert value.card['detail']['inverse_error'] < 1e-4


def uniform(levels, shape, n=11):
  """Images with every level equally likely, and a model that knows it."""
  x = np.random.default_rng(0).integers(0, levels, (n, *shape)).astype(np.uint8)
  nats = -np.prod(shape) * np.log(levels)
  model = Model(init=None, log_prob=lambda p, b, r: jnp.full(b['x'].shape[0], nats, jnp.float32))
  return Dataset('uniform', DataSpec(shape, levels, None), {'test': {'x': x}}, {}), model


@pytest.mark.parametrize('levels', [17, 2, 256])
def test_uniform_data_cost_log2_of_the_levels(levels):
  dataset, model = uniform(levels, (8, 8, 1))
  evaluate = asked.of_model(likelihood, 'exact', model, asked.task(dataset))
  value = evaluate({}, None)['nll_exact_bpd'].value
  assert abs(value - np.log2(levels)) < 1e-6  # a rounding of float32


@pytest.mark.slow
def test_an_untrained_uniform_autoregressive_model_costs_log2_17():
  config, run, params = untrained('autoregressive', 'kl')
  flat = jax.tree.map(jnp.zeros_like, params)  # all logits are equal
  names = ('likelihood',)
  evaluate = wiring.evaluators(config, run.dataset, run.model, 'test', names)['likelihood']
  assert abs(evaluate(flat, None)['nll_exact_bpd'].value - np.log2(17)) < 1e-6


def finish(cell, kind, number):
  card = {'metric': f'nll_{kind}_bpd', 'kind': kind, 'split': 'test', 'unit': 'bits per dimension'}
  workdir = pathlib.Path(cell.workdir)
  workdir.mkdir(parents=True)
  disk.write_record(workdir / 'eval.json', {
      'metrics': {card['metric']: {'value': number, 'low': None, 'high': None, 'card': card}},
      'provenance': {'commit': 'c', 'config_hash': cell.config_hash}})


@pytest.mark.parametrize('column', ['nll_bpd', 'nll_exact_bpd+nll_bound_bpd'])
def test_one_column_over_both_kinds_is_refused(tmp_path, column):
  from experiments import table_config
  path, out = tmp_path / 'mine.py', tmp_path / 'out'
  path.write_text(TABLE)
  for cell, kind in zip(table_config.read(str(path), 'tiny', str(out)).cells, ('exact', 'bound'),
                        strict=True):
    finish(cell, kind, 1.9)
  flags = ('collect', f'--table={path}', '--size=tiny', f'--out={out}')
  assert programs.run('experiments.table', *flags).code == 0
  before = programs.content(out)
  done = programs.run('experiments.table', *flags, f'--columns={column}')
  refused(done, f"'{column}'", 'nll_exact', 'nll_bound', 'Allowed: one column for each kind')
  assert programs.content(out) == before
