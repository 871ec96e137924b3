"""Langevin chains on N(0, 1), where the stationary laws are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import mcmc

RNG = jax.random.key(0)


def normal_energy(x):
  return 0.5 * (x**2).reshape(x.shape[0], -1).sum(-1)


@pytest.mark.parametrize('e', [0.1, 0.5, 1.0])
def test_unadjusted_variance_on_a_normal(e):
  """x <- (1 - e) x + sqrt(2 e) z has the stationary variance 1 / (1 - e/2)."""
  x = jax.random.normal(RNG, (40_000, 1))
  x = mcmc.langevin(normal_energy, jax.random.key(1), x, num_steps=60, step_size=2 * e)
  # a variance from n draws has the relative standard error sqrt(2 / n) = 0.7 %
  assert float(x.var()) == pytest.approx(1 / (1 - e / 2), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize('e', [0.5, 1.0])
def test_adjustment_removes_the_bias(e):
  x = 3.0 * jax.random.normal(RNG, (40_000, 1))
  x, accepted = mcmc.mala(normal_energy, jax.random.key(1), x, num_steps=150, step_size=2 * e)
  assert float(x.var()) == pytest.approx(1.0, rel=0.03)
  assert float((x**4).mean()) == pytest.approx(3.0, rel=0.06)
  assert accepted.shape == (40_000,) and 0.3 < float(accepted.mean()) < 1.0


@pytest.mark.slow
def test_noise_scale_is_a_temperature():
  x = jax.random.normal(RNG, (40_000, 1))
  x = mcmc.langevin(normal_energy, jax.random.key(1), x, num_steps=200, step_size=0.1,
                    noise_scale=2.0)
  assert float(x.var()) == pytest.approx(4.0 / (1 - 0.025), rel=0.03)


def test_without_noise_it_descends_the_gradient_and_clips_each_component():
  x = jnp.array([[[4.0], [-0.5]]])
  step = lambda **kw: mcmc.langevin(normal_energy, RNG, x, num_steps=1, step_size=0.2,
                                    noise_scale=0.0, **kw)
  np.testing.assert_allclose(step(), 0.9 * x)
  np.testing.assert_allclose(step(clip=1.0), [[[3.9], [-0.45]]], rtol=1e-6)


def test_rows_are_independent_chains_of_their_own_energy():
  """Row b of a coupled batch energy feels its own energy alone."""
  stiffness = jnp.array([1.0, 4.0])
  x = jnp.ones((2, 3))
  energy = lambda x: 0.5 * stiffness * (x**2).sum(-1)
  got = mcmc.langevin(energy, RNG, x, num_steps=1, step_size=0.2, noise_scale=0.0)
  np.testing.assert_allclose(got, (1 - 0.1 * stiffness)[:, None] * x, rtol=1e-6)


def test_no_gradient_flows_through_the_chain():
  slope = jax.grad(lambda s: mcmc.langevin(
      lambda x: s * normal_energy(x), RNG, jnp.ones((4, 2)), num_steps=3, step_size=0.1).sum())(1.0)
  assert float(slope) == 0.0


@pytest.mark.slow
def test_a_proposal_outside_the_support_is_rejected():
  """A half-normal: the energy is infinite below 0."""
  energy = lambda x: jnp.where(x[:, 0] > 0, 0.5 * x[:, 0] ** 2, jnp.inf)
  x = jnp.ones((20_000, 1))
  x, _ = mcmc.mala(energy, RNG, x, num_steps=200, step_size=0.5)
  assert float(x.min()) > 0.0
  assert float(x.mean()) == pytest.approx(np.sqrt(2 / np.pi), rel=0.03)
