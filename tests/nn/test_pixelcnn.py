"""The gated PixelCNN: what a token sees, a cache that changes nothing, switches, refusals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import wiring
from genjax.nn.pixelcnn import PixelCNN
from genjax.types import BadInput, DataSpec
from tests.networks import family, initial, jit, moved

TINY = {'width': 8, 'num_blocks': 2, 'dropout': 0.0}


@functools.cache
def made(shape, **kw):
  """A network on images of this shape with 5 levels, and its parameters; each of them speaks."""
  net = PixelCNN(shape, 5, **{**TINY, **kw})
  return net, moved(initial(net, jnp.zeros((1, int(np.prod(shape))), jnp.int32)), 0.3)


def tokens_of(shape, size=4):
  rng = np.random.default_rng(1)
  return rng.integers(0, 5, (size, int(np.prod(shape))), np.int32)


def run(function, *args):
  """The results as numpy arrays: JAX would compile each further operation."""
  return jax.tree.map(np.asarray, jit(function)(*args))


def reach(shape, num_blocks, kernel_size):
  """[D, D]: whether token i may see token j: an earlier one within the reach of the blocks.

  The first inputs reach one row up and one pixel to the left, each block kernel_size // 2 more; in
  the rows above it reaches as far to either side.
  """
  side = num_blocks * (kernel_size // 2)
  seen = np.zeros((*shape, *shape), bool)
  for (r, w, c), (y, x, d) in itertools.product(np.ndindex(*shape), repeat=2):
    above = 1 <= r - y <= 1 + side and abs(w - x) <= side
    left = r == y and 1 <= w - x <= 1 + side
    seen[r, w, c, y, x, d] = above or left or (r == y and w == x and d < c)
  return seen.reshape(int(np.prod(shape)), -1)


@pytest.mark.parametrize('shape', [(4, 5, 1), (3, 4, 3)])
def test_all_earlier_tokens_are_seen_and_no_other(shape):
  """The Jacobian, since without a table tokens may be real numbers; zeros are exact."""
  net, params = made(shape, num_blocks=4, table=False)
  x = tokens_of(shape, 1).astype(np.float32)
  jacobian = run(jax.jacfwd(lambda x: net.apply(params, x)[0].sum(-1)), x)[:, 0]
  earlier = np.tril(np.ones(jacobian.shape, bool), -1)
  assert (np.asarray(reach(shape, 4, 3)) == earlier).all()  # four blocks reach all of this image
  assert (jacobian[~earlier] == 0.0).all()
  assert (np.abs(jacobian[earlier]) > 1e-8).all()


@pytest.mark.parametrize(('num_blocks', 'kernel_size'), [(1, 3), (1, 5), (2, 3), (1, 1)])
def test_blocks_reach_as_far_as_their_kernels(num_blocks, kernel_size):
  shape = (6, 7, 1)
  net, params = made(shape, num_blocks=num_blocks, kernel_size=kernel_size, table=False)
  x = tokens_of(shape, 1).astype(np.float32)
  jacobian = run(jax.jacfwd(lambda x: net.apply(params, x)[0].sum(-1)), x)[:, 0]
  expected = reach(shape, num_blocks, kernel_size)
  assert ((np.abs(jacobian) > 1e-9) == expected).all()


@pytest.mark.parametrize('shape', [(3, 4, 1), (3, 4, 3)])
def test_by_their_table_too_tokens_are_seen_by_later_ones_alone(shape):
  net, params = made(shape, num_blocks=4)
  tokens = tokens_of(shape, 1)[0]
  size = tokens.shape[0]
  changed = np.where(np.eye(size, dtype=bool), (tokens + 1) % 5, tokens)  # row j moves token j
  out = run(net.apply, params, np.vstack([tokens, changed]))
  change = np.abs(out[1:] - out[0]).max(-1)  # [what moved, where it is seen]
  later = np.triu(np.ones((size, size), bool), 1)
  assert (change[~later] < 1e-6).all() and (change[later] > 1e-7).all()


@pytest.mark.slow
@pytest.mark.parametrize(('shape', 'kernel_size'), [((4, 5, 1), 3), ((3, 4, 3), 5), ((3, 3, 2), 1)])
def test_cached_steps_give_the_parallel_output(shape, kernel_size):
  net, params = made(shape, num_classes=3, kernel_size=kernel_size, out=7)
  tokens, cond = tokens_of(shape), np.arange(4)

  def stepped(params):
    def body(carry, inputs):
      i, token = inputs
      out, cache = net.apply(params, carry[1], carry[0], i, method='step')
      return (token, cache), out

    first = jnp.full(4, 3), net.apply(params, cond, 4, method='start')  # no token is before it
    steps = jnp.arange(tokens.shape[1]), tokens.T
    return jax.lax.scan(body, first, steps)[1].swapaxes(0, 1)

  parallel = run(net.apply, params, tokens, cond)
  assert parallel.shape == (*tokens.shape, 7) and np.std(parallel) > 0.3
  np.testing.assert_allclose(run(stepped, params), parallel, atol=1e-5)


def test_a_step_computes_a_row_of_the_vertical_stack_under_a_condition_alone():
  """Outside the branches of `cond` no convolution of a step has more than one position."""
  net, params = made((4, 16, 1))

  def step(params, token, i):
    cache = net.apply(params, None, 4, method='start')
    return net.apply(params, cache, token, i, method='step')[0]

  jaxpr = jax.make_jaxpr(step)(params, jnp.zeros(4, jnp.int32), 0).jaxpr
  sizes = {'always': [], 'rows': []}
  is_jaxpr = lambda value: hasattr(getattr(value, 'jaxpr', value), 'eqns')

  def walk(jaxpr, where):
    for equation in jaxpr.eqns:
      inner = 'rows' if equation.primitive.name == 'cond' else where
      if equation.primitive.name == 'conv_general_dilated':
        sizes[where].append(equation.outvars[0].aval.shape[1:3])
      for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
        if is_jaxpr(value):
          walk(getattr(value, 'jaxpr', value), inner)

  walk(jaxpr, 'always')
  assert set(sizes['always']) == {(1, 1)} and set(sizes['rows']) == {(1, 16)}


@pytest.mark.parametrize('likelihood', ['categorical', 'logistic_mixture'])
def test_the_masses_of_all_images_sum_to_one(likelihood):
  spec = DataSpec((3, 4, 1), 2, None)
  model = family('autoregressive', spec, {'causal': ('pixelcnn', TINY)}, likelihood=likelihood)
  params = moved(initial(model, None), 0.3)
  states = np.array(list(itertools.product([-1.0, 1.0], repeat=12))).reshape(-1, 3, 4, 1)
  log_p = run(lambda x: model.log_prob(params, {'x': x}, None), states)
  assert np.std(log_p) > 0.5
  np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(), 1.0, atol=1e-5)


@pytest.mark.parametrize(('told', 'cond', 'none'), [
    ({'num_classes': 3}, np.array([0, 1, 2]), np.full(3, 3)),
    ({'context': 2}, np.float32([[1, 0], [0, 1], [2, 2]]), np.full((3, 2), np.nan, np.float32))])
def test_each_condition_is_heard_and_none_is_none(told, cond, none):
  tokens = tokens_of((3, 4, 3), 3)
  net, params = made((3, 4, 3), num_blocks=1, **told)
  out, other, nothing = np.split(run(
      net.apply, params, np.tile(tokens, (3, 1)), np.concatenate([cond, cond[::-1], none])), 3)
  assert (np.abs(other - out)[0].max(-1) > 1e-4).all()  # by the first token too
  without = run(net.apply, params, tokens, None)
  assert np.isfinite(without).all() and np.abs(without - out).max() > 1e-3
  np.testing.assert_allclose(nothing, without, atol=1e-5)


@pytest.mark.slow
def test_every_parameter_has_a_gradient_and_rematerialisation_changes_no_number():
  shape, kw = (3, 4, 3), {'num_blocks': 1, 'dropout': 0.5, 'num_classes': 3}
  plain, params = made(shape, **kw)
  remat = PixelCNN(shape, 5, **{**TINY, **kw, 'remat': True})
  tokens, cond, rngs = tokens_of(shape), np.arange(4), {'dropout': jax.random.key(1)}
  loss = lambda net: lambda p: (net.apply(p, tokens, cond, False, rngs=rngs) ** 2).sum()
  # with the derivative of the gradient along itself
  one, twice = run(lambda p: jax.jvp(jax.grad(loss(plain)), (p,), (p,)), params)
  other = run(jax.grad(loss(remat)), params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(twice))
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other),
                          strict=True):
    assert np.abs(a).max() > 1e-6, jax.tree_util.keystr(path)
    np.testing.assert_allclose(a, b, atol=1e-4 * max(1.0, np.abs(a).max()))
  assert 'remat' in str(jax.make_jaxpr(jax.grad(loss(remat)))(params))
  noisy, still = run(lambda p: (plain.apply(p, tokens, cond, False, rngs=rngs),
                                plain.apply(p, tokens, cond)), params)
  assert (np.abs(noisy - still).max((1, 2)) > 1e-3).all()


def test_bfloat16_is_of_the_products_alone():
  net, params = made((3, 4, 3))
  assert 'cond' not in params['params']  # nothing is told
  half = PixelCNN((3, 4, 3), 5, **TINY, dtype=jnp.bfloat16)
  tokens = tokens_of((3, 4, 3))
  expected = run(net.apply, params, tokens)
  out, kept = jit(lambda p: half.apply(p, tokens, capture_intermediates=True))(params)
  kept = kept['intermediates']
  assert kept['blocks_0']['above']['__call__'][0].dtype == jnp.bfloat16
  assert {a.dtype for a in kept['blocks_1']['__call__'][0]} == {jnp.dtype('float32')}
  assert out.dtype == jnp.float32
  error = np.sqrt(((np.asarray(out) - expected) ** 2).mean() / (expected**2).mean())
  assert 1e-5 < error < 0.03
  cache = jax.eval_shape(lambda p: half.apply(p, None, 4, method='start'), params)
  _, after = jax.eval_shape(lambda p, cache: half.apply(p, cache, tokens[:, 0], 0, method='step'),
                            params, cache)
  assert after == cache  # as a loop needs it


def test_refusals_name_the_value():
  with pytest.raises(BadInput, match=r'needs images.*\(12,\)'):
    made((12,))
  with pytest.raises(BadInput, match='kernel_size = 4'):
    made((3, 4, 1), kernel_size=4)
  with pytest.raises(BadInput, match=r'needs images, not shape \(12,\); allowed: transformer'):
    wiring.family('autoregressive', DataSpec((12,), 5, None), {},
                  {'causal': {'name': 'pixelcnn', 'kw': {}}})
