"""The flow map of the probability-flow ODE, x_t -> x_s, and what its slope in t asks of a network.

One DDIM step from t to s with some x_hat in place of E[x_0 | x_t] is

  x_s = r x_t + c x_hat,   r = sigma_s / sigma_t,   c = alpha_s - r alpha_t,

exact where x_hat is the mean of E[x_0 | x_u], u from t to s, over alpha_u / sigma_u. A network
that gives x_hat of (x_t, t, s) so gives a flow map with x_t at s = t by construction, on any path:
on the linear one x_hat = x_t - t u, with u the average velocity of 2505.13447; for s = 0 it is
the consistency function of 2303.01469, and with prediction 'v' that of 2410.11081.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.numerics.path import Path, at, match
from genjax.numerics.samplers.grid import towards


def step(path: Path, x_t, x_hat, t, s) -> jax.Array:
  """x_s [B, ...] of x_t, x_hat [B, ...], for times [B] with s <= t and sigma_t > 0."""
  return towards(x_t, x_hat, *_scales(path, x_t, t, s))


def implied(path: Path, x_t, x_s, t, s) -> jax.Array:
  """The x_hat with which `step` leads from x_t to x_s, for s < t (2202.00512, App. G)."""
  alpha_t, sigma_t, alpha_s, sigma_s = _scales(path, x_t, t, s)
  r = sigma_s / sigma_t
  return (x_s - r * x_t) / (alpha_s - r * alpha_t)


def _scales(path, x_t, t, s):
  return tuple(match(a, x_t) for a in (*path(t), *path(s)))


def velocity_coefficients(path: Path, t):
  """h, k [B] of the velocity h x_t + k x_0 of the path at t, sigma_t > 0; k is below 0."""
  point = at(path, t)
  h = point.d_sigma / point.sigma
  return h, point.d_alpha - point.alpha * h


def moved(path: Path, x_hat, t, by) -> jax.Array:
  """Velocity that x_hat [B, ...] gives at t, less itself plus `by`, which two are held constant.

  In value it is -by; its square pulls the velocity by `by`, which may depend on x_hat.
  """
  k = match(velocity_coefficients(path, t)[1], x_hat)
  return k * (x_hat - jax.lax.stop_gradient(x_hat)) - jax.lax.stop_gradient(by)


def slope(denoise: Callable, path: Path, x_t, x_0, t, s, share=1.0):
  """x_hat [B, ...] at (x_t, t, s), and how x_s changes along dx_t / dt, which is 0 for a flow map.

  denoise(x_t, t, s) -> x_hat; x_0 [B, ...] says what dx_t / dt is: its mean given x_t makes it
  the ODE's, and the result is affine in it, so that an example of the data is an unbiased choice.
  At s = t the slope is the error of the velocity. share in [0, 1]: of the part that is the slope
  of the network (2410.11081 multiplies it by a share that grows in training).
  """
  h, k = (match(a, x_t) for a in velocity_coefficients(path, t))

  def arrive(x_t, t):
    x_hat = denoise(x_t, t, s)
    return step(path, x_t, x_hat, t, s), x_hat

  (_, x_hat), (d_x_s, _) = jax.jvp(arrive, (x_t, t), (h * x_t + k * x_0, jnp.ones_like(t)))
  # x_s = A x_t + B velocity, and the slope is A times the velocity's error, plus the rest
  alpha_t, sigma_t, alpha_s, sigma_s = _scales(path, x_t, t, s)
  r = sigma_s / sigma_t
  of_error = (r * k - (alpha_s - r * alpha_t) * h) * (x_0 - x_hat)
  return x_hat, of_error + share * (d_x_s - of_error)
