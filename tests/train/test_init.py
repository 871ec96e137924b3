"""Initialisation on the host gives what the compiled one gives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import wiring
from genjax.train import init
from genjax.types import BadInput
from tests import test_contract

R = jax.random
BATCH = {'x': jnp.arange(12.0).reshape(4, 3)}


class Net(nn.Module):

  @nn.compact
  def __call__(self, x):
    for i in range(3):
      x = nn.silu(nn.LayerNorm()(nn.Dense(16)(x)))
      x = x * self.param(f'gain_{i}', nn.initializers.truncated_normal(0.02), (16,))
    return nn.Dense(2, kernel_init=nn.initializers.glorot_uniform())(x)


def state(rng, batch):
  """Like a training state: parameters, moments, an average, persistent chains of the batch."""
  params = Net().init(rng, batch['x'])['params']
  chains = R.uniform(R.fold_in(rng, 7), batch['x'].shape, minval=-1.0)
  return {'params': params, 'mu': jax.tree.map(jnp.zeros_like, params), 'ema': params,
          'carry': {'rows': chains, 'rest': ()}, 'step': jnp.zeros((), jnp.int32)}


def unit(rng, _):
  u = R.normal(rng, (16,))
  return u / (jnp.linalg.norm(u) + 1e-6)


HOST = {
    'state': state,
    'normal': lambda k, _: R.normal(k, (40000, 2)),  # more than a chunk, and both tails
    'truncated': lambda k, _: R.truncated_normal(k, -2, 2, (5000,)),
    'bits': lambda k, _: [R.bits(k, (9, 111)), R.bits(k, (7,), 'uint8'), R.bits(k, (9,), 'uint16')],
    'split': lambda k, _: [R.bits(q, (3,)) for q in R.split(R.fold_in(k, jnp.int32(-3)), 3)],
    'vmap': lambda k, _: jax.vmap(lambda q: R.normal(q, (6, 2)))(R.split(k, 4)),
    'bfloat16': lambda k, _: R.normal(k, (64,), jnp.bfloat16),
    'bernoulli': lambda k, _: R.bernoulli(k, 0.3, (64,)),
    'randint': lambda k, _: R.randint(k, (64,), 0, 17),
    'constants': lambda *_: [jnp.eye(3), jnp.linspace(0, 1, 5), jnp.ones(2, jnp.bfloat16)],
    'unit': unit,
    'batch': lambda k, b: b['x'].astype(jnp.float32) * 2 + R.normal(k, (4, 3)),
    'remat': lambda k, b: jax.checkpoint(lambda q, x: (R.normal(q, (3,)), x @ x.T))(k, b['x'])[0],
}
COMPILED = {
    'orthogonal': lambda k, _: nn.initializers.orthogonal()(k, (4, 4)),
    'scan': lambda k, _: jax.lax.scan(lambda c, q: (c, R.normal(q, (3,))), 0.0, R.split(k, 3))[1],
    'key': lambda k, _: R.key_data(R.fold_in(k, R.categorical(k, jnp.zeros(4)))),
}


def compare(make, rng=None, batch=BATCH):
  rng = R.key(5) if rng is None else rng
  ours, compiled = init.initialise(make, rng, batch), jax.jit(make)(rng, batch)
  assert jax.tree.structure(ours) == jax.tree.structure(compiled)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(compiled), strict=True):
    assert a.dtype == b.dtype and a.shape == b.shape and isinstance(a, jax.Array)
    if a.dtype == jnp.float32:
      np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-7)
    else:
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('name', HOST)
def test_equals_the_compiled_one_without_compiling(name, monkeypatch):
  compare(HOST[name])
  monkeypatch.setattr(init.jax, 'jit', None)
  init.initialise(HOST[name], R.key(0), BATCH)


@pytest.mark.parametrize('name', COMPILED)
def test_what_numpy_does_not_know_is_compiled(name):
  compare(COMPILED[name])


def test_what_is_large_is_compiled(monkeypatch):
  size = sum(leaf.size * 4 for leaf in jax.tree.leaves(jax.eval_shape(state, R.key(0), BATCH)))
  compiled, jit = [], jax.jit
  monkeypatch.setattr(init.jax, 'jit', lambda *a, **k: compiled.append(a) or jit(*a, **k))
  for limit, count in ((size, 1), (size - 1, 2)):  # the comparison compiles once itself
    compiled.clear()
    monkeypatch.setattr(init, '_LARGE', limit)
    compare(state)
    assert len(compiled) == count


@pytest.mark.slow
def test_other_keys():
  compare(state, rng=R.PRNGKey(3))
  compare(state, rng=R.key(3, impl='rbg'))


def test_shapes_suffice_until_a_value_is_needed():
  shapes = jax.eval_shape(lambda: BATCH)
  a, b = (init.initialise(state, R.key(1), batch) for batch in (BATCH, shapes))
  assert jax.tree.all(jax.tree.map(lambda x, y: (x == y).all(), a, b))
  with pytest.raises(BadInput, match=r'shape \(4, 3\)'):
    init.initialise(HOST['batch'], R.key(0), shapes)


def test_one_draw_of_two_leaves_survives_donation():
  made = init.initialise(state, R.key(1), BATCH)
  kept = jax.tree.map(lambda x: np.array(x, copy=True), made['ema'])
  step = jax.jit(lambda s: {**s, 'params': jax.tree.map(jnp.negative, s['params'])},
                 donate_argnums=0)
  made = step(made)
  for a, b, p in zip(*map(jax.tree.leaves, (made['ema'], kept, made['params'])), strict=True):
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(p, -b)


def test_shardings_do_not_change_the_numbers():
  everywhere = jax.NamedSharding(jax.make_mesh((jax.device_count(),), ('data',)), jax.P())
  shardings = jax.tree.map(lambda _: everywhere, jax.eval_shape(state, R.key(0), BATCH))
  a = init.initialise(state, R.key(1), BATCH, shardings)
  b = init.initialise(state, R.key(1), BATCH)
  assert jax.tree.leaves(a)[0].sharding == everywhere
  assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


@pytest.mark.parametrize('family', sorted(test_contract.TINY))
def test_parameters_have_the_type_that_a_step_returns(family):
  """A weakly typed leaf comes back strongly typed from the first step, which is traced again."""
  [(objective, estimator, kind), *_] = [triple[1:] for triple in test_contract.TRIPLES
                                        if triple[0] == family]
  config = test_contract.config_of(family, objective, kind, estimator)
  run = wiring.run(config)
  like = jax.eval_shape(run.init, R.key(0), wiring.abstract_rows(config, run))
  assert [jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(like)
          if leaf.weak_type] == []
