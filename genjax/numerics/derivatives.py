"""Derivatives of functions of a batch whose example i depends on x[i] alone.

Fields map x [B, ...] to [B, ...] of the same shape, scalars map x [B, ...] to [B].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.numerics.shapes import sum_event


def jvp(fn: Callable, x, v):
  """fn(x) and J v, by forward mode."""
  return jax.jvp(fn, (x,), (v,))


def vjp(fn: Callable, x, w):
  """fn(x) and J^T w, by reverse mode."""
  y, pullback = jax.vjp(fn, x)
  return y, pullback(w)[0]


def value_and_gradient(scalar: Callable, x):
  """scalar(x) [B] and its gradient with respect to x, [B, ...]; differentiable again."""
  y, pullback = jax.vjp(scalar, x)
  return y, pullback(jnp.ones_like(y))[0]


def gradient(scalar: Callable, x):
  """The gradient of each example's scalar with respect to x, [B, ...].

  Of a log density it is the score; of an energy the negative score.
  """
  return value_and_gradient(scalar, x)[1]


def gradient_of(scalar: Callable) -> Callable:
  """The field x -> gradient(scalar, x)."""
  return lambda x: gradient(scalar, x)


def norm(x):
  """Euclidean norm of each example, [B]; its gradient at zero is zero, not NaN."""
  square = sum_event(x**2)
  positive = square > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def divergence(field: Callable, x):
  """The field at x and the exact trace of its Jacobian, [B, ...] and [B].

  One forward-mode pass per dimension (vectorised). Of a score it is the Laplacian of log p.
  """
  dim = x[0].size
  basis = jnp.eye(dim, dtype=x.dtype).reshape(dim, 1, *x.shape[1:])
  y, push = jax.linearize(field, x)
  columns = jax.vmap(lambda e: sum_event(push(jnp.broadcast_to(e, x.shape)) * e))(basis)
  return y, columns.sum(0)


def hutchinson(field: Callable, rng, x, *, num_samples: int = 1, noise: str = 'rademacher'):
  """The field at x and an unbiased estimate of the trace of its Jacobian: E v . J v.

  noise: 'rademacher' (variance 2 sum_{i != j} sym(J)_ij^2) or 'normal'; the trace is averaged over
  num_samples draws. Returns [B, ...] and [B]. As in FFJORD (1810.01367).
  """
  draw = {'rademacher': jax.random.rademacher, 'normal': jax.random.normal}[noise]
  y, push = jax.linearize(field, x)

  def one(key):
    v = draw(key, x.shape, x.dtype)
    return sum_event(push(v) * v)

  return y, jax.vmap(one)(jax.random.split(rng, num_samples)).mean(0)


def explicit_score_matching(score: Callable, x):
  """s(x) and tr grad s(x) + |s(x)|^2 / 2 per example, [B] (Hyvarinen 2005, Eq. 4), exact trace."""
  s, trace = divergence(score, x)
  return s, trace + 0.5 * sum_event(s**2)


def sliced_score_matching(score: Callable, rng, x, *, num_projections: int = 1,
                          variance_reduced: bool = True):
  """s(x) and the sliced score matching loss per example, [B] (1905.07088).

  variance_reduced: v^T grad s v + |s|^2 / 2 (SSM-VR), v Rademacher; otherwise
  v^T grad s v + (v^T s)^2 / 2. Both have the mean of `explicit_score_matching` over v.
  """
  s, push = jax.linearize(score, x)

  def one(key):
    v = jax.random.rademacher(key, x.shape, x.dtype)
    half_square = 0.5 * (sum_event(s**2) if variance_reduced else sum_event(s * v) ** 2)
    return sum_event(push(v) * v) + half_square

  return s, jax.vmap(one)(jax.random.split(rng, num_projections)).mean(0)
