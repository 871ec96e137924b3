"""The flow map of the probability-flow ODE, x_t -> x_s, and its derivative along the ODE.

One DDIM step from t to s with some x_hat instead of E[x_0 | x_t] is

  x_s = r x_t + c x_hat,   r = sigma_s / sigma_t,   c = alpha_s - r alpha_t,

exact where x_hat is the mean of E[x_0 | x_u], u from t to s, over alpha_u / sigma_u. A network
that gives x_hat of (x_t, t, s) so gives a flow map with x_t at s = t by construction, on any path:
on the linear one x_hat = x_t - t u, with u the average velocity of 2505.13447; for s = 0 it is
the consistency function of 2303.01469, and with prediction 'v' that of 2410.11081. A flow map does
not change along the ODE: dx_s / dt = 0 there, which on the linear path is the MeanFlow identity.
"""

import jax

from genjax.numerics.path import Path, at
from genjax.numerics.samplers.grid import towards
from genjax.numerics.shapes import match


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


def velocity(path: Path, x_t, x_0, t) -> jax.Array:
  """dx_t / dt [B, ...] of the path through x_t that began at x_0, for sigma_t > 0.

  On the linear path (x_t - x_0) / t = eps - x_0; of E[x_0 | x_t] it is the ODE's.
  """
  h, k = _velocity_coefficients(path, x_t, t)
  return h * x_t + k * x_0


def by_velocity_error(path: Path, x_t, x_0, x_hat, t, s) -> jax.Array:
  """The part of dx_s / dt [B, ...] along `velocity` that is due to the network's velocity error.

  x_s, of `step`, is A x_t + B velocity(x_hat), and this is A (velocity(x_0) - velocity(x_hat)):
  what is left of dx_s / dt if the network is held constant along the way. At s = t it is all.
  """
  h, k = _velocity_coefficients(path, x_t, t)
  alpha_t, sigma_t, alpha_s, sigma_s = _scales(path, x_t, t, s)
  r = sigma_s / sigma_t
  return (r * k - (alpha_s - r * alpha_t) * h) * (x_0 - x_hat)


def _velocity_coefficients(path, x_t, t):
  """h, k of the velocity h x_t + k x_0, broadcast to x_t."""
  point = at(path, t)
  h = point.d_sigma / point.sigma
  return match(h, x_t), match(point.d_alpha - point.alpha * h, x_t)
