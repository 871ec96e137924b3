"""The laws of flows: inverse, log-determinant, mass of one, samples that know their density."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.types import BadInput, DataSpec
from tests.networks import family, initial, jit, moved

MLP = {'masked': {'features': (16, 16)}}
CONV = {'conditioner': ('conv', {'width': 8, 'num_blocks': 1})}
# name -> (family, shape of an example, networks, keywords)
FLOWS = {
    'couplings': ('flow', (6,), {'conditioner': {'features': (16, 16)}}, {'num_couplings': 2}),
    'maf_affine': ('autoregressive_flow', (5,), MLP, {'transform': 'affine'}),
    'maf_spline': ('autoregressive_flow', (5,), MLP, {'num_layers': 3, 'num_bins': 4}),
    'iaf_affine': ('autoregressive_flow', (5,), MLP,
                   {'transform': 'affine', 'direction': 'sampling'}),
    'iaf_spline': ('autoregressive_flow', (5,), MLP,
                   {'num_layers': 2, 'num_bins': 4, 'direction': 'sampling'}),
    'glow': ('glow', (4, 4, 1), CONV, {'num_layers': 2, 'num_scales': 2}),
    'ode': ('continuous_flow', (3,), {'velocity': {'width': 16, 'num_blocks': 1}},
            {'num_steps': 8}),
    'tarflow': ('tarflow', (4, 4, 1), {'patch_causal': {
        'width': 16, 'num_blocks': 1, 'num_heads': 2}}, {'num_layers': 2, 'patch': 2}),
    'glow_spline': ('glow', (4, 4, 1), CONV, {'num_layers': 1, 'transform': 'rational_quadratic'}),
}
FAST = ('maf_affine',)
ALL = [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in FLOWS]


@functools.cache
def built(name, shape=None, scale=0.05, num_classes=None):
  """(model, initial parameters with noise on each of them)."""
  of, own, networks, kw = FLOWS[name]
  kw = {key: value for key, value in kw.items() if key != 'patch' or len(shape or own) == 3}
  model = family(of, DataSpec(shape or own, None, num_classes), networks,
                 conditional=num_classes is not None, **kw)
  shape = shape or own
  batch = {'x': jnp.zeros((2, *shape)), 'cond': jnp.zeros((2,), jnp.int32)}
  params = initial(model, batch)
  return model, moved(params, scale) if scale else params


@functools.cache
def evaluated(name):
  """[(x, f^-1(f(x)), Jacobians, z, log_prob)] at initial parameters and those of `built`."""
  model, params = built(name)
  forward, inverse = model.bijection
  x = 1.5 * jax.random.normal(jax.random.key(3), (4, *FLOWS[name][1]))

  @jit
  def run(params, x):
    z = forward(params, x, None)
    jacobian = jax.vmap(jax.jacfwd(lambda x: forward(params, x[None], None)[0]))(x)
    return inverse(params, z, None), jacobian, z, model.log_prob(params, {'x': x}, None)

  return [(x, *run(each, x)) for each in (built(name, scale=0.0)[1], params)]


@pytest.mark.parametrize('name', ALL)
def test_the_inverse_leads_back(name):
  for x, back, *_ in evaluated(name):
    assert np.max(np.abs(back - x) / np.maximum(1.0, np.abs(x))) < 1e-5


@pytest.mark.parametrize('name', ALL)
def test_log_determinant_against_the_jacobian(name):
  for _, _, jacobian, z, log_p in evaluated(name):
    log_base = -0.5 * np.sum(z**2 + np.log(2 * np.pi), -1)
    exact = np.linalg.slogdet(np.asarray(jacobian, np.float64).reshape(*z.shape, -1))[1]
    np.testing.assert_allclose(log_p - log_base, exact, atol=1e-4)
  assert np.abs(exact).max() > 0.05  # at the last parameters


@pytest.mark.slow
@pytest.mark.parametrize('name', FLOWS)
def test_samples_know_their_density(name):
  model, params = built(name, num_classes=3)
  cond = jnp.arange(32) % 4

  @jax.jit
  def run(params):
    x, log_p = model.sample_and_log_prob(params, jax.random.key(2), 32, cond)
    return x, log_p, *(model.log_prob(params, {'x': x, 'cond': c}, None)
                       for c in (cond, (cond + 1) % 4))

  x, log_p, of_points, of_others = run(params)
  np.testing.assert_allclose(of_points, log_p, atol=2e-3)
  assert np.abs(of_others - log_p).max() > 0.01  # the condition matters


@pytest.mark.slow
@pytest.mark.parametrize('name, size', [
    (name, size) for name, (of, *_) in FLOWS.items() for size in (1, 2)
    if of != 'glow' and (name, size) != ('couplings', 1)])
def test_density_integrates_to_one(name, size):
  model, params = built(name, (size,))
  # a chart that spends its points where the mass is, and reaches far into the tails
  side = np.sinh(np.linspace(-4.5, 4.5, 300))
  step = np.gradient(side)
  x = np.stack(np.meshgrid(*[side] * size, indexing='ij'), -1).reshape(-1, size)
  volume = functools.reduce(np.multiply.outer, [step] * size).ravel()
  log_p = jax.jit(lambda x: model.log_prob(params, {'x': x}, None))(x.astype(np.float32))
  assert abs(np.sum(np.exp(np.asarray(log_p, np.float64)) * volume) - 1.0) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize('name', FLOWS)
def test_gradients_are_finite_both_ways(name):
  """At the bound of the splines and beyond it as well."""
  model, params = built(name)
  x = jnp.linspace(-6.0, 6.0, 7)[:, None] * jnp.ones(np.prod(FLOWS[name][1]))
  x = x.at[0].set(4.0).at[1].set(-4.0).reshape(7, *FLOWS[name][1])

  def loss(params, x):
    y, log_q = model.sample_and_log_prob(params, jax.random.key(1), 4, None)
    return -model.log_prob(params, {'x': x}, None).mean() + log_q.mean() + (y**2).mean()

  gradients = jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1)))(params, x))
  assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize('of, kw, named', [
    ('autoregressive_flow', {'direction': 'up'}, "'up'.*density, sampling"),
    ('autoregressive_flow', {'transform': 'cubic'}, "'cubic'.*affine"),
    ('tarflow', {'patch': 2}, 'patch = 2.*allowed: 1')])
def test_bad_input(of, kw, named):
  with pytest.raises(BadInput, match=named):
    family(of, DataSpec((2,), None, None), **kw)
