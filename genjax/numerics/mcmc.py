"""Markov chains on an energy: arrays in, arrays out, each chain set one `lax.scan`.

An energy is a function x [B, ...] -> [B] in nats; the target density is exp(-E(x)) / Z, one
independent chain per row.
"""

import jax
import jax.numpy as jnp

from genjax.numerics.shapes import sum_event


def langevin(energy, rng, x, *, num_steps: int, step_size, noise_scale=1.0, clip=None):
  """Returns x [B, ...] after num_steps unadjusted Langevin steps on the energy x -> [B] (nats).

  x <- x - (step_size / 2) grad E(x) + noise_scale sqrt(step_size) z,  z ~ N(0, I)   (1903.12370)
  noise_scale 1 targets exp(-E) up to a bias of order step_size; noise_scale^2 is a temperature.
  clip: largest absolute value of each gradient component (None: not clipped; clipping and
  noise_scale other than 1 change the stationary law). Costs num_steps gradients of E.
  No gradient flows through the chain. step_size and noise_scale may be traced.
  """
  x = jax.lax.stop_gradient(x)
  scale = noise_scale * jnp.sqrt(step_size)

  def step(x, rng):
    force = gradient(energy, x)
    if clip is not None:
      force = jnp.clip(force, -clip, clip)
    z = jax.random.normal(rng, x.shape, x.dtype)
    return (x - 0.5 * step_size * force + scale * z).astype(x.dtype), None

  x, _ = jax.lax.scan(step, x, jax.random.split(rng, num_steps))
  return jax.lax.stop_gradient(x)


def gradient(energy, x):
  """dE/dx [B, ...] of each row's own energy; energy: x [B, ...] -> [B]."""
  return jax.grad(lambda x: energy(x).sum())(x)


def mala(energy, rng, x, *, num_steps: int, step_size):
  """Returns x [B, ...] after num_steps Metropolis-adjusted Langevin steps, and each row's
  acceptance rate [B].

  The proposal is one `langevin` step, q(y | x) = N(x - (step_size / 2) grad E(x), step_size I),
  accepted with probability min(1, exp(E(x) - E(y)) q(x | y) / q(y | x)): exact for exp(-E)
  (Roberts and Tweedie 1996). A proposal whose energy is not finite is rejected.
  """
  value_and_grad = lambda x: _value_and_grad(energy, x)

  def log_q(y, x, grad_x):
    return -sum_event((y - x + 0.5 * step_size * grad_x) ** 2) / (2.0 * step_size)

  def step(state, rng):
    x, e_x, grad_x = state
    rng_z, rng_u = jax.random.split(rng)
    y = x - 0.5 * step_size * grad_x + jnp.sqrt(step_size) * jax.random.normal(
        rng_z, x.shape, x.dtype)
    e_y, grad_y = value_and_grad(y)
    log_ratio = e_x - e_y + log_q(x, y, grad_y) - log_q(y, x, grad_x)
    # a comparison with NaN is false, so a proposal outside the support is never taken
    accept = jnp.log(jax.random.uniform(rng_u, e_x.shape)) < log_ratio
    keep = lambda new, old: jnp.where(
        accept.reshape(accept.shape + (1,) * (new.ndim - 1)), new, old)
    return (keep(y, x), keep(e_y, e_x), keep(grad_y, grad_x)), accept

  x = jax.lax.stop_gradient(x)
  (x, _, _), accepted = jax.lax.scan(
      step, (x, *value_and_grad(x)), jax.random.split(rng, num_steps))
  return jax.lax.stop_gradient(x), accepted.mean(0)


def _value_and_grad(energy, x):
  values, pull = jax.vjp(energy, x)
  return values, pull(jnp.ones_like(values))[0]
