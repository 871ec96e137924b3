import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from genjax import prob
from genjax.numerics import f_divergence
from genjax.types import BadInput

NAMES = sorted(f_divergence.F_DIVERGENCES)
U = np.logspace(-3, 3, 61).astype(np.float32)
GRID = np.linspace(-30.0, 30.0, 60001).astype(np.float32)
CELL = 0.001


@pytest.mark.parametrize('name', NAMES)
def test_conjugate_at_the_derivative(name):
  f = f_divergence.get(name)
  scale = np.abs(U * f.df(U)) + np.abs(f.f(U)) + 1.0
  error = (f.conjugate(f.df(U)) - (U * f.df(U) - f.f(U))) / scale
  # t = f'(u) stored in float32 near the edge of dom f*: (1 + u) 1e-7 of relative error in u
  assert np.abs(error).max() < (1e-4 if name in ('js', 'gan', 'squared_hellinger') else 2e-6)


@pytest.mark.parametrize('name', NAMES)
def test_df_is_the_derivative_of_f_and_the_inverse_of_the_conjugates(name):
  f = f_divergence.get(name)
  grad = jax.vmap(jax.grad(f.f))(U)
  np.testing.assert_allclose(grad, f.df(U), rtol=1e-4, atol=2e-5)
  u = U[(U > 0.05) & (U < 20)]
  np.testing.assert_allclose(jax.vmap(jax.grad(f.conjugate))(f.df(u)), u, rtol=2e-4)


@pytest.mark.parametrize('name', NAMES)
def test_conjugate_is_the_supremum(name):
  f = f_divergence.get(name)
  t = f.activation(np.linspace(-3.0, 3.0, 13, dtype=np.float32))
  u = np.logspace(-6, 6, 200001)
  lines = u[None] * np.float64(t)[:, None] - np.stack([np.float64(f.f(np.float32(u)))] * len(t))
  np.testing.assert_allclose(f.conjugate(t), lines.max(1), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize('name', NAMES)
def test_activation_lies_in_the_domain_and_the_fused_form_is_the_composition(name):
  f = f_divergence.get(name)
  v = np.linspace(-9.0, 9.0, 181, dtype=np.float32)
  composed = f.conjugate(f.activation(v))
  assert np.isfinite(composed).all()
  np.testing.assert_allclose(f.conjugate_activation(v), composed, rtol=2e-3, atol=1e-4)
  np.testing.assert_allclose(f.activation(f.output(np.log(U))), f.df(U), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['reverse_kl', 'js', 'gan', 'squared_hellinger'])
def test_conjugate_is_infinite_outside_its_domain(name):
  conjugate = f_divergence.get(name).conjugate
  assert conjugate(jnp.float32(1.5)) == np.inf
  assert not np.isnan(jax.grad(conjugate)(1.5))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('v', [-1e4, -60.0, 60.0, 1e4])
def test_far_outputs_stay_finite_and_keep_their_gradient(name, v):
  f = f_divergence.get(name)
  for fn in (f.activation, f.conjugate_activation):
    value, slope = jax.value_and_grad(fn)(v)
    assert np.isfinite(value) and np.isfinite(slope)
  # the bound pulls a real output up, or a fake one down, wherever it is far on the wrong side
  assert jax.grad(f.activation)(-abs(v)) > 0.5
  assert jax.grad(f.conjugate_activation)(abs(v)) > 0.5


def test_jeffreys_conjugate_is_the_one_by_lambert_w():
  t = np.linspace(-600.0, 18.0, 400)
  w = special.lambertw(np.exp(1.0 - t)).real
  t, w = t[np.isfinite(w) & (w > 0)], w[np.isfinite(w) & (w > 0)]
  conjugate = f_divergence.get('jeffreys').conjugate
  np.testing.assert_allclose(conjugate(np.float32(t)), w + 1.0 / w + t - 2.0, rtol=2e-5, atol=2e-5)
  slope = jax.vmap(jax.grad(conjugate))
  np.testing.assert_allclose(slope(np.float32(t)), 1.0 / w, rtol=2e-5)  # f*' = u = 1 / W
  # second order, as a gradient penalty asks for: d u / d t = u / (1 + 1 / u)
  curvature = jax.vmap(jax.grad(jax.grad(conjugate)))(np.float32(t))
  np.testing.assert_allclose(curvature, 1.0 / (w * (1.0 + w)), rtol=1e-4)


def test_jeffreys_log_ratio_solves_its_equation_for_every_float():
  t = np.float32([-1e30, -1e5, -300, -20, -1, 0, 0.5, 1, 2, 15, 16, 17, 90, 1e6])
  y = np.float64(f_divergence.jeffreys_log_ratio(t))
  np.testing.assert_allclose(1.0 + y - np.exp(-y), t, rtol=2e-5, atol=1e-6)


def gaussian_divergences(m, s):
  """Closed forms of D(N(0, 1) || N(m, s^2))."""
  kl = np.log(s) + (1 + m**2) / (2 * s**2) - 0.5
  reverse = -np.log(s) + (s**2 + m**2) / 2 - 0.5
  affinity = np.sqrt(2 * s / (1 + s**2)) * np.exp(-(m**2) / (4 * (1 + s**2)))
  # int p^2 / q for p narrower than sqrt(2) s
  r = 2 * s**2 - 1
  pearson = s**2 / np.sqrt(r) * np.exp(m**2 / r) - 1
  return {'kl': kl, 'reverse_kl': reverse, 'jeffreys': kl + reverse,
          'squared_hellinger': 2 - 2 * affinity, 'pearson': pearson}


@pytest.mark.parametrize('m, s', [(0.5, 1.2), (-1.0, 0.9), (2.0, 2.0)])
def test_quadrature_gives_the_closed_forms_between_gaussians(m, s):
  log_p, log_q = prob.normal_log_prob(GRID), prob.normal_log_prob(GRID, m, s)
  for name, expected in gaussian_divergences(m, s).items():
    value = f_divergence.divergence(name, log_p, log_q, CELL)
    np.testing.assert_allclose(value, expected, rtol=2e-4, err_msg=name)
  # js against its definition by an independent route, gan against js
  p, q = (np.exp(np.float64(x)) for x in (log_p, log_q))
  js = CELL * (special.rel_entr(p, (p + q) / 2) + special.rel_entr(q, (p + q) / 2)).sum()
  np.testing.assert_allclose(f_divergence.divergence('js', log_p, log_q, CELL), js, rtol=2e-4)
  np.testing.assert_allclose(
      f_divergence.divergence('gan', log_p, log_q, CELL), js - np.log(4), rtol=2e-4)


@pytest.mark.parametrize('name', NAMES)
def test_integrand_is_q_times_f_of_the_ratio(name):
  f = f_divergence.get(name)
  log_q = -1.7
  log_p = np.log(U) + log_q
  np.testing.assert_allclose(
      f.integrand(log_p, log_q), np.exp(log_q) * f.f(U), rtol=2e-4, atol=2e-5)


def test_far_apart_gaussians_are_at_the_maximum_of_js_without_overflow():
  log_p, log_q = prob.normal_log_prob(GRID, -10.0, 0.5), prob.normal_log_prob(GRID, 10.0, 0.5)
  value = f_divergence.divergence('js', log_p, log_q, CELL)
  np.testing.assert_allclose(value, 2 * np.log(2), rtol=1e-4)
  for name in ('kl', 'reverse_kl', 'jeffreys', 'squared_hellinger'):
    assert np.isfinite(f_divergence.divergence(name, log_p, log_q, CELL))


@pytest.mark.parametrize('name', NAMES)
def test_every_critic_gives_a_bound_however_high(name):
  """P = N(0, 1), Q = N(8, 1): no step between two heights is above the divergence."""
  f = f_divergence.get(name)
  p, q = (np.exp(-0.5 * (np.float64(GRID) - m) ** 2) / np.sqrt(2 * np.pi) * CELL for m in (0, 8))
  exact = {'kl': 32.0, 'reverse_kl': 32.0, 'jeffreys': 64.0, 'js': 2 * np.log(2), 'gan': 0.0,
           'squared_hellinger': 2.0, 'pearson': np.exp(64.0)}[name]
  heights = (-1000.0, -3.0, 3.0, 1000.0)
  bounds = []
  for left, right, place in itertools.product(heights, heights, (0.5, 4.0, 7.5)):
    v = jnp.where(place > GRID, left, right)
    bounds.append((p * f.activation(v) - q * f.conjugate_activation(v)).sum())
  assert np.all(np.isfinite(bounds)) and max(bounds) <= exact
  # and the best critic reaches it, where the ratio stays within the clip
  near = prob.normal_log_prob(GRID) - prob.normal_log_prob(GRID, 2.0)
  v, q = f.output(near), np.exp(np.float64(prob.normal_log_prob(GRID, 2.0))) * CELL
  if name != 'pearson':  # whose optimal output overflows at this width
    tight = (p * f.activation(v) - q * f.conjugate_activation(v)).sum()
    value = f_divergence.divergence(name, prob.normal_log_prob(GRID),
                                    prob.normal_log_prob(GRID, 2.0), CELL)
    np.testing.assert_allclose(tight, value, rtol=1e-3)


def test_a_step_of_height_1000_is_below_the_kl_of_32():
  f = f_divergence.get('kl')
  p, q = (np.exp(-0.5 * (np.float64(GRID) - m) ** 2) / np.sqrt(2 * np.pi) * CELL for m in (0, 8))
  v = jnp.where(GRID < 0.5, 1000.0, -1000.0)  # Q has a mass of 3e-14 there: 383 unclipped
  assert (p * f.activation(v) - q * f.conjugate_activation(v)).sum() < 32.0
  # beyond the clip a critic and a model keep their gradients: as at the edge
  assert jax.grad(f.activation)(1000.0) == 1.0
  np.testing.assert_allclose(jax.grad(f.conjugate_activation)(1000.0), np.exp(20.0), rtol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_where_both_densities_vanish_the_integrand_does(name):
  value = f_divergence.get(name).integrand(jnp.float32(-jnp.inf), jnp.float32(-jnp.inf))
  assert value == 0.0
  assert np.isfinite(f_divergence.get(name).integrand(-500.0, -600.0))


def test_unknown_name_lists_the_known():
  with pytest.raises(BadInput, match='renyi.*jeffreys.*squared_hellinger'):
    f_divergence.get('renyi')
