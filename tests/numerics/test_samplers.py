"""Samplers with the exact denoiser of a Gaussian: law of the samples, order, counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import path as paths
from genjax.numerics.samplers import SAMPLERS
from genjax.types import BadInput

MEAN = jnp.array([0.7, -0.4])
COV = jnp.array([[0.8, 0.3], [0.3, 0.4]])
PATH = paths.cosine(-10.0, 10.0)


def denoise(x_t, t, cond, rng):
  """mu + a S (a^2 S + s^2 I)^-1 (x_t - a mu)."""
  alpha, sigma = PATH(t)

  def one(x, a, s):
    return MEAN + a * COV @ jnp.linalg.solve(a**2 * COV + s**2 * jnp.eye(2), x - a * MEAN)

  return jax.vmap(one)(x_t, alpha, sigma)


def draw(name, n=8192, seed=0, path=PATH, **kw):
  rng_T, rng = jax.random.split(jax.random.key(seed))
  x_T = jax.random.normal(rng_T, (n, 2))
  x_0, nfe = jax.jit(lambda x: SAMPLERS[name](denoise, path, rng, x, None, **kw))(x_T)
  assert int(nfe) == kw['num_steps']
  return x_T, x_0


@pytest.mark.parametrize(('name', 'kw'), [
    ('ddpm', {'variance': 'posterior'}), ('ddpm', {'variance': 'upper'}), ('ddim', {}),
    ('ddim', {'eta': 0.5, 'spacing': 'logsnr'})])
def test_samples_follow_the_data_law(name, kw):
  _, x_0 = draw(name, num_steps=200, **kw)
  np.testing.assert_allclose(x_0.mean(0), MEAN, atol=0.04)  # standard error 0.01
  np.testing.assert_allclose(jnp.cov(x_0.T), COV, atol=0.05)


def test_coarse_variances_bracket_that_of_the_data():
  """For data of variance below 1 the reverse variance lies between beta tilde and beta."""
  small, large = (jnp.trace(jnp.cov(draw('ddpm', num_steps=10, variance=v)[1].T))
                  for v in ('posterior', 'upper'))
  assert small < jnp.trace(COV) - 0.1
  assert large > small + 0.2


def ode_map(x_T):
  """Probability-flow map of the Gaussian from t = 1 to t_min, then the posterior mean."""
  values, vectors = jnp.linalg.eigh(COV)
  (a_1, s_1), (a_0, s_0) = PATH(jnp.ones(1)), PATH(jnp.full(1, 1e-3))
  scale = jnp.sqrt((a_0**2 * values + s_0**2) / (a_1**2 * values + s_1**2))
  z = ((x_T - a_1 * MEAN) @ vectors) * scale  # in the eigenbasis, at t_min
  return MEAN + (z * a_0 * values / (a_0**2 * values + s_0**2)) @ vectors.T


def test_ddim_is_of_order_one():
  errors = []
  for num_steps in (20, 40, 80, 160):
    x_T, x_0 = draw('ddim', n=256, num_steps=num_steps)
    errors.append(float(jnp.abs(x_0 - ode_map(x_T)).mean()))
  slopes = np.diff(np.log2(errors))
  assert (slopes[1:] < -0.85).all() and (slopes[1:] > -1.15).all(), (errors, slopes)


def test_ddim_with_eta_one_is_ddpm():
  _, a = draw('ddpm', n=64, num_steps=20)
  _, b = draw('ddim', n=64, num_steps=20, eta=1.0)
  np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_point_mass_is_reached_in_one_step_and_clip_bounds():
  point = lambda x_t, t, cond, rng: jnp.full_like(x_t, 2.0)
  for name in SAMPLERS:
    x_0, nfe = SAMPLERS[name](point, PATH, jax.random.key(0), jnp.ones((3, 2)), None, num_steps=1)
    assert nfe == 1
    np.testing.assert_allclose(x_0, 2.0, atol=1e-6)
    x_0, _ = SAMPLERS[name](point, PATH, jax.random.key(0), jnp.ones((3, 2)), None, num_steps=5,
                            clip=1.0)
    np.testing.assert_allclose(x_0, 1.0, atol=1e-6)


def test_the_count_is_the_number_of_denoiser_calls():
  calls = []

  def counted(x_t, t, cond, rng):
    jax.debug.callback(lambda t: calls.append(float(t)), t[0])
    return x_t

  _, nfe = SAMPLERS['ddpm'](counted, PATH, jax.random.key(0), jnp.ones((2, 2)), None, num_steps=7)
  jax.effects_barrier()
  assert len(calls) == nfe == 7
  assert max(calls) == 1.0 and min(calls) == pytest.approx(1e-3)


@pytest.mark.parametrize(('name', 'kw', 'word'), [
    ('ddpm', {'variance': 'learned'}, 'posterior'), ('ddim', {'eta': 2.0}, '2.0'),
    ('ddim', {'num_steps': 0}, '0'), ('ddpm', {'spacing': 'cubic'}, 'logsnr'),
    ('ddim', {'t_min': 1.0}, 't_min')])
def test_refusals(name, kw, word):
  with pytest.raises(BadInput, match=word):
    SAMPLERS[name](denoise, PATH, jax.random.key(0), jnp.ones((2, 2)), None, **kw)
