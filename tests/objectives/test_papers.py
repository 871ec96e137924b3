"""Losses of few-step papers against their algorithms, transcribed on the path of each paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import path as paths
from genjax.objectives import consistency, mean_flow
from genjax.types import DataSpec, Denoised, Diffusion, Model, TwoTimes

SPEC = DataSpec((3,), None)
STEP = 40


def network(params, x, *times):
  """A small network of x [B, 3] and times [B], smooth in both."""
  inputs = jnp.concatenate([x, *(t[:, None] for t in times)], -1)
  return jnp.tanh(inputs @ params['in']) @ params['out']


def parameters(num_times):
  rng = np.random.default_rng(0)
  return {'in': rng.normal(size=(3 + num_times, 8)), 'out': rng.normal(size=(8, 3))}


def loss_and_gradient(objective, params, x):
  [player] = objective.players
  return jax.value_and_grad(lambda params: player.loss(
      {'model': params}, (), {'x': x}, jax.random.key(1), STEP)[0])(params)


@pytest.mark.parametrize('power', (0.0, 1.0))
def test_mean_flow_is_its_algorithm(power, monkeypatch):
  """2505.13447, Alg. 1: z = (1 - t) x + t e, the network gives u(z, r, t)."""
  with jax.enable_x64(True):
    params, x = parameters(2), np.random.default_rng(2).normal(size=(16, 3))
    t, r = np.linspace(0.2, 0.9, 16), np.linspace(0.2, 0.1, 16)
    e = np.random.default_rng(3).normal(size=(16, 3))
    monkeypatch.setattr(mean_flow, '_two_times', lambda *args: (jnp.asarray(t), jnp.asarray(r)))
    monkeypatch.setattr(jax.random, 'normal', lambda *args: jnp.asarray(e))

    def denoise(params, x_t, t, s, cond, rng):  # x_hat of `numerics.flow_map` on the linear path
      return x_t - t[:, None] * network(params, x_t, s, t)

    path = paths.schedule('linear', -10.0, 10.0)
    model = Model(None, diffusion=Diffusion(lambda params, t: path(t), None,
                                            TwoTimes(None, denoise)))
    objective = mean_flow.average_velocity(model, spec=SPEC, weight_power=power)

    def algorithm(params):
      z = (1 - t)[:, None] * x + t[:, None] * e
      v = e - x
      u, dudt = jax.jvp(lambda z, r, t: network(params, z, r, t), (z, r, t),
                        (v, jnp.zeros(16), jnp.ones(16)))
      u_tgt = v - (t - r)[:, None] * dudt
      square = ((u - jax.lax.stop_gradient(u_tgt)) ** 2).sum(-1)
      return (square * jax.lax.stop_gradient(square + 1e-3) ** -power).mean()

    found, expected = loss_and_gradient(objective, params, x), jax.value_and_grad(algorithm)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_consistency_is_its_algorithm(monkeypatch):
  """2410.11081, Alg. 1 without the learned weight: TrigFlow, sigma_d = 1, r = step / H."""
  with jax.enable_x64(True):
    params, x = parameters(1), np.random.default_rng(2).normal(size=(16, 3))
    z = np.random.default_rng(3).normal(size=(16, 3))
    t = np.linspace(0.1, 0.95, 16)  # of ours in [0, 1]; the paper's is pi / 2 times it
    monkeypatch.setattr(jax.random, 'normal', lambda *args: jnp.asarray(z))
    monkeypatch.setattr(consistency.times, 'draw',
                        lambda *args: consistency.times.Drawn(jnp.asarray(t), None, None, None))

    def path(t):
      return jnp.cos(0.5 * jnp.pi * t), jnp.sin(0.5 * jnp.pi * t)

    def denoise(params, x_t, t, cond, rng):
      angle = 0.5 * jnp.pi * t
      f = jnp.cos(angle)[:, None] * x_t - jnp.sin(angle)[:, None] * network(params, x_t, angle)
      return Denoised(f)

    model = Model(None, diffusion=Diffusion(lambda params, t: path(t), denoise))
    # t_min: f is the identity at 0 in the paper
    objective = consistency.continuous(model, t_min=1e-12, warmup=100, tangent_floor=0.1)

    def algorithm(params):
      angle, r = 0.5 * jnp.pi * t, STEP / 100
      cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
      x_t = cos * x + sin * z
      dxdt = cos * z - sin * x
      tangents = (dxdt, jnp.ones(16))
      F, dF = jax.jvp(lambda x, t: network(params, x, t), (x_t, angle), tangents)
      fixed = jax.lax.stop_gradient(F)
      g = -(cos**2) * (fixed - dxdt) - r * cos * sin * (x_t + jax.lax.stop_gradient(dF))
      g = g / (jnp.linalg.norm(g, axis=-1, keepdims=True) + 0.1)
      return ((F - fixed - g) ** 2).sum(-1).mean()

    found, expected = loss_and_gradient(objective, params, x), jax.value_and_grad(algorithm)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
