"""The convolution: its values and derivatives, and the form that is fast in loops."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import sharding
from genjax.nn.conv import convolve
from tests.networks import jit

X = jax.random.normal(jax.random.key(0), (3, 6, 4, 2))
KERNEL = jax.random.normal(jax.random.key(1), (3, 3, 2, 5))


def reference(x, kernel, padding='SAME'):
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding,
                                      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def results(f, kernel):
  """Value, gradients, forward derivative, and gradients of the length of a gradient."""
  loss = lambda x, kernel: (jnp.tanh(f(x, kernel)) ** 2).sum()
  slope = lambda x, kernel: (jax.grad(loss)(x, kernel) ** 2).sum()
  _, forward = jax.jvp(f, (X, kernel), (jnp.cos(X), jnp.sin(kernel)))
  batched = jax.vmap(jax.grad(loss), (0, None))(X[:, None], kernel)
  return (f(X, kernel), *jax.grad(loss, (0, 1))(X, kernel), forward,
          *jax.grad(slope, (0, 1))(X, kernel), batched)


@pytest.mark.parametrize(('sides', 'padding'), [
    ((3, 3), None), ((2, 3), ((1, 0), (1, 1))), ((1, 4), ((0, 0), (3, 1))),
    ((3, 1), ((0, 0), (0, 0)))])
def test_values_and_derivatives_are_those_of_the_native_convolution(sides, padding):
  kernel = KERNEL if sides == (3, 3) else jax.random.normal(jax.random.key(2), (*sides, 2, 5))
  ours = jit(lambda: results(lambda x, kernel: convolve(x, kernel, padding), kernel))()
  native = jit(lambda: results(
      lambda x, kernel: reference(x, kernel, padding or 'SAME'), kernel))()
  for a, b in zip(ours, native, strict=True):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * jnp.abs(b).max())


def labels(f):
  """The dimension labels of the convolutions of a loop over f."""
  loop = lambda x, kernel: jax.lax.fori_loop(0, 3, lambda _, pair: f(*pair), (x, kernel))
  text = sharding.compiled(jax.jit(loop).lower(X, KERNEL)).as_text()
  return re.findall(r'dim_labels=([^,]+)', text)


def test_in_loops_gradients_keep_the_form_of_the_library():
  def descent(f):
    loss = lambda x, kernel: (jnp.tanh(f(x, kernel)) ** 2).sum()
    return lambda x, kernel: tuple(
        a - 0.1 * g for a, g in zip((x, kernel), jax.grad(loss, (0, 1))(x, kernel), strict=True))

  assert labels(descent(convolve)) == ['b01f_01io->b01f'] * 3
  assert len(set(labels(descent(reference)))) == 3  # XLA still does not bring them into one form


@pytest.mark.parametrize('function', [jnp.log, jnp.log1p, jnp.expm1, jnp.tanh])
def test_a_program_with_a_convolution_has_a_function_twice(function):
  """With elementwise fusions of its library, jaxlib 0.10.2 computes log(a / 2) - log(a) as 0."""
  image, kernel = jnp.ones((64, 8, 8, 1)), jnp.ones((3, 3, 1, 4))
  a = jax.random.uniform(jax.random.key(0), (64, 784), minval=0.1, maxval=0.9)
  low = jax.jit(lambda a: (convolve(image, kernel), function(0.5 * a) - function(a))).lower(a)
  assert sharding.convolves_on_cpu(low)
  np.testing.assert_allclose(sharding.compiled(low)(a)[1], function(0.5 * a) - function(a),
                             atol=1e-5)
