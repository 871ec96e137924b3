"""The flow map by one step, its slope and its inverse, against the exact map of a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import flow_map as maps
from genjax.numerics.samplers import FLOW_MAP
from genjax.types import BadInput
from tests.numerics import known_denoisers as known

VALUES, VECTORS = np.linalg.eigh(known.COV)
T = np.array([0.08, 0.3, 0.55, 0.8, 0.97, 0.6, 0.6, 0.9])
S = np.array([0.02, 0.3, 0.10, 0.3, 0.01, 0.59, 0.6, 0.0101])  # two of them at t itself


def exact_map(path, x_t, t, s):
  """x_s of the probability-flow ODE of N(MEAN, COV): mean and deviations are those of q(x_s)."""
  (a_t, s_t), (a_s, s_s) = ((a[:, None] for a in path(u)) for u in (t, s))
  scale = jnp.sqrt((a_s**2 * VALUES + s_s**2) / (a_t**2 * VALUES + s_t**2))
  return a_s * known.MEAN + ((x_t - a_t * known.MEAN) @ VECTORS * scale) @ VECTORS.T


def exact_x_hat(path, x_t, t, s):
  """What `step` needs to be the exact map; at s = t, E[x_0 | x_t]."""
  apart = s < t
  s_apart = jnp.where(apart, s, 0.5 * t)
  x_hat = maps.implied(path, x_t, exact_map(path, x_t, t, s_apart), t, s_apart)
  return jnp.where(apart[:, None], x_hat, known.gaussian(path)(x_t, t))


def derivative(denoise, path, x_t, x_0, t, s):
  """x_hat, and dx_s / dt along the velocity that x_0 gives, of the flow map by a network."""
  def x_s(x_t, t):
    x_hat = denoise(x_t, t, s)
    return maps.step(path, x_t, x_hat, t, s), x_hat

  (_, x_hat), (d_x_s, _) = jax.jvp(
      x_s, (x_t, t), (maps.velocity(path, x_t, x_0, t), jnp.ones_like(t)))
  return x_hat, d_x_s


def points(path):
  x_0 = np.random.default_rng(0).multivariate_normal(known.MEAN, known.COV, len(T))
  alpha, sigma = (a[:, None] for a in path(jnp.asarray(T)))
  return alpha * x_0 + sigma * np.random.default_rng(1).standard_normal(x_0.shape)


@pytest.mark.slow
@pytest.mark.parametrize('name', known.PATHS)
def test_the_exact_flow_map_stands_still_along_the_ode(name):
  """Identity 17: f is constant along the ODE, whatever t, s and path; and so in expectation of x_0
  given x_t, since the slope is affine in it."""
  with jax.enable_x64(True):
    path, t, s = known.PATHS[name], jnp.asarray(T), jnp.asarray(S)
    x_t = points(path)
    x_0 = known.gaussian(path)(x_t, t)
    x_hat = lambda x_t, t, s: exact_x_hat(path, x_t, t, s)
    slope = lambda x_0: derivative(x_hat, path, x_t, x_0, t, s)[1]
    of_x_0 = maps.velocity(path, x_t, x_0, t) - maps.velocity(path, x_t, jnp.zeros_like(x_0), t)
    scale = np.abs(of_x_0).max(-1, keepdims=True)
    np.testing.assert_allclose(slope(x_0) / scale, 0.0, atol=1e-9)
    off = np.array([1.0, -2.0])
    np.testing.assert_allclose((slope(x_0 + off) + slope(x_0 - off)) / scale, 0.0, atol=1e-9)
    assert (np.abs(slope(x_0 + off) / scale).max(-1) > 1e-6).all()
    # another map moves
    other = derivative(lambda *a: 1.1 * x_hat(*a), path, x_t, x_0, t, s)[1]
    assert (np.abs(other / scale).max(-1) > 1e-6).all()  # of paths that fall far, it is little


@pytest.mark.parametrize('name', known.PATHS)
def test_at_s_equal_t_the_map_is_the_identity_and_the_slope_the_velocity_s_error(name):
  with jax.enable_x64(True):
    path, t = known.PATHS[name], jnp.asarray(T)
    x_t, x_0 = points(path), np.random.default_rng(3).standard_normal((len(T), 2))
    any_x_hat = lambda x_t, t, s: jnp.sin(3.0 * x_t) * t[:, None] + s[:, None]
    np.testing.assert_array_equal(maps.step(path, x_t, any_x_hat(x_t, t, t), t, t), x_t)
    x_hat, slope = derivative(any_x_hat, path, x_t, x_0, t, t)
    error = maps.velocity(path, x_t, x_0, t) - maps.velocity(path, x_t, x_hat, t)
    np.testing.assert_allclose(slope, error, rtol=1e-9, atol=1e-9)
    held = maps.by_velocity_error(path, x_t, x_0, x_hat, t, t)
    np.testing.assert_allclose(held, error, rtol=1e-9, atol=1e-9)


def test_on_the_linear_path_the_target_is_that_of_the_average_velocity():
  """u = v - (t - s) du/dt, du/dt by differences of the exact map along the exact velocity."""
  with jax.enable_x64(True):
    path, h = known.linear, 1e-5
    apart = S < T
    t, s, x_t = jnp.asarray(T[apart]), jnp.asarray(S[apart]), points(path)[apart]
    average = lambda x, t: (x - exact_map(path, x, t, s)) / (t - s)[:, None]
    v = (x_t - known.gaussian(path)(x_t, t)) / t[:, None]
    u = average(x_t, t)
    ahead, behind = (exact_map(path, x_t, t, t + e) for e in (h, -h))
    d_u = (average(ahead, t + h) - average(behind, t - h)) / (2 * h)
    np.testing.assert_allclose(u, v - (t - s)[:, None] * d_u, rtol=1e-6, atol=1e-8)
    # the same target, from any network: here one that knows nothing
    wrong = lambda x, t, s: x * (1.0 + s[:, None]) + t[:, None] ** 2
    u_of = lambda x, t: (x - wrong(x, t, s)) / t[:, None]
    x_0 = known.gaussian(path)(x_t, t)
    x_hat, slope = derivative(wrong, path, x_t, x_0, t, s)
    du = jax.jvp(u_of, (x_t, t), (v, jnp.ones_like(t)))[1]
    target = v - (t - s)[:, None] * du
    np.testing.assert_allclose((x_t - x_hat) / t[:, None] + slope, target, rtol=1e-9)
    # without the network's own slope it is v - u
    without = maps.by_velocity_error(path, x_t, x_0, x_hat, t, s)
    np.testing.assert_allclose(without, v - (x_t - x_hat) / t[:, None], rtol=1e-9)


@pytest.mark.parametrize('name', known.PATHS)
def test_the_sampler_of_the_exact_map_is_exact_in_any_number_of_steps(name):
  with jax.enable_x64(True):
    path = known.PATHS[name]
    x_T = path(jnp.ones(1))[1] * jax.random.normal(jax.random.key(0), (64, 2), jnp.float64)
    flow = lambda x_t, t, s, cond: exact_map(path, x_t, t, s)

    expected = exact_map(path, x_T, jnp.ones(64), jnp.zeros(64))
    for kw, nfe in (({'num_steps': 1}, 1), ({}, 4), ({'times': (0.8, 0.21)}, 3)):
      x, count = FLOW_MAP['flow_map'](flow, path, jax.random.key(1), x_T, None, **kw)
      np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)
      assert count == nfe


@pytest.mark.parametrize('name', ('vp', pytest.param('linear', marks=pytest.mark.slow)))
def test_renoising_keeps_the_law(name):
  """2303.01469, Alg. 1: what comes back from noise has the law of the data again."""
  path, n = known.PATHS[name], 40_000
  sigma = path(jnp.ones(1))[1]
  x_T = sigma * jax.random.normal(jax.random.key(0), (n, 2))
  flow = lambda x_t, t, s, cond: exact_map(path, x_t, t, s)
  once, _ = FLOW_MAP['flow_map'](flow, path, jax.random.key(1), x_T, None, num_steps=1)
  x, nfe = FLOW_MAP['flow_map'](flow, path, jax.random.key(1), x_T, None, num_steps=3,
                                renoise=True)
  assert nfe == 3 and abs(np.corrcoef(once[:, 0], x[:, 0])[0, 1]) < 0.95  # other samples
  np.testing.assert_allclose(x.mean(0), known.MEAN, atol=0.02)
  np.testing.assert_allclose(np.cov(np.asarray(x).T), known.COV, atol=0.03)


@pytest.mark.parametrize(('kw', 'words'), [
    ({'num_steps': 0}, 'num_steps = 0'), ({'num_steps': 2, 'times': (0.5,)}, 'one of them'),
    ({'times': (0.2, 0.5)}, 'must fall'), ({'times': (1.0,)}, 'must fall')])
def test_times_that_are_none_are_refused(kw, words):
  with pytest.raises(BadInput, match=words):
    FLOW_MAP['flow_map'](None, known.vp, jax.random.key(0), jnp.ones((2, 2)), None, **kw)
