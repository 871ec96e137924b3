"""Every family under every objective on every kind of data: it trains, or the refusal teaches."""

import jax
import numpy as np
import pytest

from configs import defaults
from experiments import matrix
from genjax import compat, wiring
from genjax.models import FAMILIES
from genjax.objectives import OBJECTIVES
from genjax.train import init, step
from genjax.types import BadInput
from genjax.wiring import networks
from tests import networks as compiled

TINY = {  # as small as a full method can be
    'gaussian': {},
    'mixture': {'num_components': 3},
    'histogram': {},
    'kde': {'num_points': 64},
    'vae': {'latent_dim': 2},
    'ladder': {},
    'implicit': {},
    'flow': {'num_couplings': 2},
    'autoregressive_flow': {'num_layers': 2},
    'glow': {'num_layers': 1, 'num_scales': 1},
    'continuous_flow': {'num_steps': 1},
    'tarflow': {'num_layers': 1},
    'autoregressive': {},
    'ebm': {},
    'diffusion': {},
}
TINY_NETWORKS = {
    **dict.fromkeys(('posterior', 'decoder', 'generator', 'critic', 'energy', 'conditioner',
                     'masked', 'dequantiser'), {'features': (16,)}),
    'velocity': {'width': 16, 'num_blocks': 1},
    'patch_causal': {'width': 8, 'num_blocks': 1, 'num_heads': 2},
    'causal': {'width': 16, 'num_blocks': 2, 'num_heads': 2}, 'denoiser': {},
    'ladder': {'width': 8, 'num_layers': 1, 'latent_channels': 2, 'patch': 2, 'multipliers': (1,)},
}
DATA = {'continuous': ('three_modes', {'num_train': 512, 'num_validation': 64, 'num_test': 64}),
        'discrete': ('digits', {})}
SLOW = ('continuous_flow', 'tarflow')  # their steps compile for seconds
TRIPLES = matrix.legal_triples()


def config_of(family, objective, kind, estimator=None):
  config = defaults.get()
  config.unlock()
  config.data.name, config.data.kw = DATA[kind]
  config.model.family, config.model.kw = family, TINY[family]
  config.objective.name = objective
  config.objective.kw = {'estimator': estimator} if estimator else {}
  config.batch_size, config.steps = 16, 3
  for role in networks.of_run(family, config.model.kw, objective, estimator):
    config.networks[role].kw = TINY_NETWORKS[role]
  if family == 'glow':
    config.networks.conditioner.name = 'mlp'  # compiles faster than convolutions
  config.sampler.kw = {'num_steps': 3}
  config.init_from = 'a run'  # of which nothing is read before the first step
  return config


def tiers():
  """Every triple; the first of each objective and of each family stand in the fast tier."""
  seen = set()
  for triple in TRIPLES:
    family, objective, estimator, _ = triple
    fresh = {family, (objective, estimator)} - seen
    seen |= fresh
    fast = fresh and family not in SLOW
    yield pytest.param(*triple, id='-'.join(triple), marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize('family,objective,estimator,kind', tiers())
def test_each_legal_triple_trains_and_is_traced_once(family, objective, estimator, kind):
  config = config_of(family, objective, kind, estimator)
  run = wiring.run(config)
  assert run.estimator == estimator
  if run.objective.fit:
    params = wiring.fit(config, run)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    return
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  traces = []

  def counted(state, rows):
    traces.append(1)
    return run.step(state, rows)

  jitted = compiled.jit(counted)
  before = state.params
  for i in range(3):
    state, metrics = jitted(state, run.source[i])
  assert len(traces) == 1
  assert all(np.isfinite(v) for v in metrics.values()), metrics
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
  for player in run.objective.players:
    for path in player.trains:
      assert moved(step.get(before, path), step.get(state.params, path)), (
          f'{player.name} did not move {path}')


def moved(before, after) -> bool:
  """Whether any parameter is another; by numpy, as JAX would compile a program for every shape."""
  return not all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after)),
                                                      strict=True))


REFUSED = [(f, o, k) for f in FAMILIES for o in OBJECTIVES for k in DATA
           if not any((f, o, k) == (t[0], t[1], t[3]) for t in TRIPLES)]


@pytest.mark.parametrize('family,objective,kind', REFUSED, ids=['-'.join(t) for t in REFUSED])
def test_each_illegal_pair_is_refused_in_the_lines_that_teach(family, objective, kind):
  with pytest.raises(BadInput) as refusal:
    wiring.run(config_of(family, objective, kind))
  message = str(refusal.value)
  assert family in message
  if 'needs' in message and 'provided' in message:
    assert objective in message and 'usable here' in message and 'models that can' in message
    usable = message.split('usable here   : ')[1].split('\n')[0]
    expected = {t[1] for t in TRIPLES if (t[0], t[3]) == (family, kind)}
    assert set(usable.split(', ')) == (expected or {'none'})


def test_the_refusal_names_needs_capabilities_and_ways_out():
  with pytest.raises(BadInput) as refusal:
    wiring.run(config_of('implicit', 'kl', 'discrete'))
  lines = str(refusal.value).split('\n')
  assert lines[0].startswith("objective 'kl' on model 'implicit'")
  for need in ('log_prob (exact)', 'elbo (bound)', 'energy (contrastive divergence)', 'fit'):
    assert need in lines[0]
  assert 'rsample, sample' in lines[1]
  assert lines[2].endswith('adversarial, wasserstein')
  assert lines[3].endswith('autoregressive, autoregressive_flow, continuous_flow, diffusion, ebm, '
                           'flow, gaussian, glow, histogram, kde, ladder, mixture, tarflow, vae')


def test_a_capability_is_data():
  provided = compat.provides(wiring.family('implicit', matrix.KINDS['discrete'][0], {}))
  assert provided == {'sample', 'rsample'}
