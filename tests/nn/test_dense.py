"""Dense equals linen's layer; MLP's switches do what they say."""

import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.dense import Dense, product_dtype
from genjax.nn.mlp import MLP
from genjax.types import BadInput


def test_dense_equals_linen_on_leading_axes():
  x = jax.random.normal(jax.random.key(0), (3, 4, 5))
  ours, theirs = Dense(7), nn.Dense(7)
  params = theirs.init(jax.random.key(1), x)
  params = jax.tree.map(lambda p: p + 0.1, params)  # a bias that is not zero
  np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), rtol=1e-5, atol=1e-6)
  assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(
      jnp.shape, params)


def test_dense_gradient_has_one_contracting_axis():
  x = jnp.ones((3, 4, 5))
  params = Dense(7).init(jax.random.key(0), x)
  text = str(jax.make_jaxpr(jax.grad(lambda p: Dense(7).apply(p, x).sum()))(params))
  contracted = [part.split(')')[0] for part in text.split('dimension_numbers=((')[1:]]
  assert contracted
  assert all(part.count('[') == 2 and part.count(',') == 1 for part in contracted), contracted


MESH = '''
import jax, jax.numpy as jnp, numpy as np
from genjax import sharding
from genjax.nn.mlp import MLP
net = MLP((16,), 1, norm=True)
rows = jax.random.normal(jax.random.key(0), (16, 3))
params = jax.jit(net.init)(jax.random.key(1), rows)

def penalty(params, x):  # of a gradient's norm, as WGAN-GP has it
  return (jax.grad(lambda x: net.apply(params, x).sum())(x) ** 2).sum()

def numbers(params, rows):
  y, along = jax.jvp(lambda x: net.apply(params, x), (rows,), (jnp.cos(rows),))
  many = jax.vmap(lambda a: net.apply(params, a * rows))(jnp.arange(3.0))
  return jax.grad(penalty)(params, rows), y, along, many

expected = jax.jit(numbers)(params, rows)
mesh = sharding.make_mesh(4)
across, whole = sharding.batch_sharding(mesh), sharding.replicated(mesh)
with jax.set_mesh(mesh):
  jitted = jax.jit(numbers, in_shardings=(whole, across))
  assert 'sharding_constraint' in str(jax.make_jaxpr(numbers)(params, rows))
  found = jitted(params, jax.device_put(rows, across))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
assert found[1].sharding.is_equivalent_to(across, 2), found[1].sharding
'''


@pytest.mark.slow
def test_examples_stay_split_under_every_transformation_and_numbers_stay():
  flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'
  env = {**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run([sys.executable, '-c', MESH], env=env, capture_output=True, text=True,
                        cwd=Path(__file__).parents[2])
  assert done.returncode == 0, done.stderr


def test_dtypes_have_names():
  assert product_dtype(None) is None and product_dtype('bfloat16') is jnp.bfloat16
  with pytest.raises(BadInput, match="'half'.*float32, bfloat16"):
    product_dtype('half')


def test_mlp_residual_of_zero_layers_is_its_first_layer_through_the_last():
  x = jax.random.normal(jax.random.key(0), (6, 8))
  net = MLP((8, 8), 3, activation='tanh', residual=True)
  params = jax.jit(net.init)(jax.random.key(1), x)['params']
  params['hidden_1'] = jax.tree.map(jnp.zeros_like, params['hidden_1'])
  first = jnp.tanh(x @ params['hidden_0']['kernel'])
  np.testing.assert_allclose(net.apply({'params': params}, x), first @ params['out']['kernel'],
                             rtol=1e-5, atol=1e-6)


def test_mlp_dropout_and_zero_out():
  x = jnp.ones((4, 8))
  net = MLP((64,), 3, dropout=0.5)
  params = jax.jit(net.init)(jax.random.key(0), x)
  off = net.apply(params, x)
  on = net.apply(params, x, None, False, rngs={'dropout': jax.random.key(1)})
  assert not np.allclose(off, on)
  zero = MLP((64,), 3, zero_out=True)
  assert not np.any(zero.apply(zero.init(jax.random.key(0), x), x))


def test_mlp_takes_gradients_of_gradients():
  net = MLP((16,), 1, norm=True)
  x = jax.random.normal(jax.random.key(0), (4, 3))
  params = jax.jit(net.init)(jax.random.key(1), x)

  def penalty(params):
    slope = jax.grad(lambda x: net.apply(params, x).sum())(x)
    return jnp.sum(slope ** 2)

  grads = jax.tree.leaves(jax.jit(jax.grad(penalty))(params))
  assert all(np.isfinite(g).all() for g in grads) and any(np.any(g) for g in grads)


def test_unknown_activation_is_refused():
  with pytest.raises(BadInput, match="'sine'.*silu"):
    MLP((4,), 1, activation='sine').init(jax.random.key(0), jnp.ones((1, 2)))
