"""f-divergences D_f(P || Q) = E_q f(p / q): generators, conjugates and variational outputs.

P is the data and Q the model. The variational bound (Nguyen et al.; f-GAN, 1606.00709, Eq. 4) is
  D_f(P || Q) >= E_p g_f(v) - E_q f*(g_f(v))
for any function v, with g_f the activation of Table 6 there, whose range lies in dom f*; tight
at v* = g_f^{-1}(f'(p / q)). Definitions that differ between papers are fixed here:
  js                 f-GAN's: KL(p || m) + KL(q || m), m = (p + q) / 2, that is twice the
                     Jensen-Shannon divergence; at most 2 log 2
  gan                2 JSD - log 4: the same divergence shifted, the game of 1406.2661
  squared_hellinger  int (sqrt p - sqrt q)^2 = 2 - 2 BC
  pearson            int (p - q)^2 / q; f*(t) = t^2 / 4 + t where t >= -2, and -1 below, is the
                     supremum over u >= 0. f-GAN's table has the parabola for all t, under which a
                     model gains without limit from samples where v is far below -2
  jeffreys           KL(p || q) + KL(q || p)

Where they take an exponential, activation and conjugate clip v alike, to where |log u| <= LIMIT:
any function of x gives a bound, so the clipped one does too, and both stay finite. It is loose
where the density ratio leaves e^+-20. Gradients pass the clip as if v stood at its edge, so that a
critic or a model beyond it is not left without one. An estimate from a batch has the bound as
its expectation, and may itself lie above the divergence.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.types import BadInput

LIMIT = 20.0
LOG_2 = 0.6931471805599453


class FDivergence(NamedTuple):
  """One row of the table; every function is elementwise."""

  f: Callable  # u > 0 -> f(u): convex, f(1) = 0 (gan: -log 4)
  df: Callable  # u > 0 -> f'(u), the optimal t
  conjugate: Callable  # t in dom f* -> f*(t), without a clip
  activation: Callable  # v -> t = g_f(v) in dom f*
  conjugate_activation: Callable  # v -> f*(g_f(v)), without the cancellation of the composition
  output: Callable  # log u -> the v with g_f(v) = f'(u), the optimal v at log u = log p / q
  integrand: Callable  # log p, log q -> q f(p / q), finite wherever the quotient overflows


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def clipped(v, low: float, high: float):
  """v clipped to [low, high]; the derivative is 1 everywhere."""
  return jnp.clip(v, low, high)


@clipped.defjvp
def _clipped_jvp(low, high, primals, tangents):
  return clipped(primals[0], low, high), tangents[0]


def _of_clipped(function: Callable, low: float = -float('inf'), high: float = float('inf')):
  return lambda v: function(clipped(v, low, high))


@jax.custom_jvp
def jeffreys_log_ratio(t):
  """The y = log u with f'(u) = 1 + y - exp(-y) = t, that is y = -log W(exp(1 - t)).

  Lambert's W without forming exp(1 - t): Newton on the concave y - exp(-y) = t - 1 from a point
  left of the root (log(1 + x) >= W(x)), hence monotone; exact to float32 for all t.
  """
  s = t - 1.0
  y = jnp.where(s > 15.0, s, -jnp.log(jax.nn.softplus(-jnp.minimum(s, 15.0))))
  for _ in range(5):
    w = jnp.exp(-y)
    y = y + (s - y + w) / (1.0 + w)
  return y


@jeffreys_log_ratio.defjvp
def _jeffreys_log_ratio_jvp(primals, tangents):
  y = jeffreys_log_ratio(*primals)
  return y, jax.nn.sigmoid(y) * tangents[0]  # dy / dt = 1 / (1 + exp(-y))


def _jeffreys_conjugate(t):
  # u f'(u) - f(u) = u - 1 + log u; in Lambert's terms W + 1 / W + t - 2 with W = W(exp(1 - t))
  y = jeffreys_log_ratio(t)
  return jnp.exp(y) - 1.0 + y


def _pearson_conjugate(t):
  return jnp.maximum(t / 2.0 + 1.0, 0.0) ** 2 - 1.0


def _below(t, bound, value):
  """value(t) where t < bound and +inf elsewhere, with gradients that are not NaN."""
  inside = t < bound
  return jnp.where(inside, value(jnp.where(inside, t, bound - 1.0)), jnp.inf)


def _times(log_w, value):
  """exp(log_w) value, and 0 where the weight is zero."""
  empty = jnp.isneginf(log_w)
  return jnp.where(empty, 0.0, jnp.exp(log_w) * jnp.where(empty, 0.0, value))


def _kl(log_p, log_q):
  return _times(log_p, log_p - log_q)


def _square_over(log_p, log_q):
  """p^2 / q, and 0 where p is zero."""
  empty = jnp.isneginf(log_p)
  log_p, log_q = (jnp.where(empty, 0.0, log) for log in (log_p, log_q))
  return jnp.where(empty, 0.0, jnp.exp(2.0 * log_p - log_q))


def _gan(log_p, log_q):
  log_sum = jnp.logaddexp(log_p, log_q)
  return _kl(log_p, log_sum) + _kl(log_q, log_sum)


F_DIVERGENCES = {
    'kl': FDivergence(
        f=lambda u: u * jnp.log(u),
        df=lambda u: 1.0 + jnp.log(u),
        conjugate=lambda t: jnp.exp(t - 1.0),
        activation=_of_clipped(lambda v: v, high=1.0 + LIMIT),
        conjugate_activation=_of_clipped(lambda v: jnp.exp(v - 1.0), high=1.0 + LIMIT),
        output=lambda log_u: 1.0 + log_u,
        integrand=_kl),
    'reverse_kl': FDivergence(
        f=lambda u: -jnp.log(u),
        df=lambda u: -1.0 / u,
        conjugate=lambda t: _below(t, 0.0, lambda t: -1.0 - jnp.log(-t)),
        activation=_of_clipped(lambda v: -jnp.exp(-v), low=-LIMIT),
        conjugate_activation=_of_clipped(lambda v: v - 1.0, low=-LIMIT),
        output=lambda log_u: log_u,
        integrand=lambda log_p, log_q: _kl(log_q, log_p)),
    'js': FDivergence(
        f=lambda u: u * jnp.log(u) - (u + 1.0) * jnp.log((u + 1.0) / 2.0),
        df=lambda u: jnp.log(2.0 * u / (1.0 + u)),
        conjugate=lambda t: _below(t, LOG_2, lambda t: -LOG_2 - jnp.log(-jnp.expm1(t - LOG_2))),
        activation=lambda v: LOG_2 - jax.nn.softplus(-v),
        conjugate_activation=lambda v: jax.nn.softplus(v) - LOG_2,
        output=lambda log_u: log_u,
        integrand=lambda log_p, log_q: (
            _gan(log_p, log_q) + LOG_2 * (jnp.exp(log_p) + jnp.exp(log_q)))),
    'gan': FDivergence(
        f=lambda u: u * jnp.log(u) - (u + 1.0) * jnp.log(u + 1.0),
        df=lambda u: jnp.log(u / (1.0 + u)),
        conjugate=lambda t: _below(t, 0.0, lambda t: -jnp.log(-jnp.expm1(t))),
        activation=lambda v: -jax.nn.softplus(-v),
        conjugate_activation=jax.nn.softplus,
        output=lambda log_u: log_u,
        integrand=_gan),
    'pearson': FDivergence(
        f=lambda u: (u - 1.0) ** 2,
        df=lambda u: 2.0 * (u - 1.0),
        conjugate=_pearson_conjugate,
        activation=lambda v: v,
        conjugate_activation=_pearson_conjugate,
        output=lambda log_u: 2.0 * jnp.expm1(log_u),
        integrand=lambda log_p, log_q: (
            _square_over(log_p, log_q) - 2.0 * jnp.exp(log_p) + jnp.exp(log_q))),
    'squared_hellinger': FDivergence(
        f=lambda u: (jnp.sqrt(u) - 1.0) ** 2,
        df=lambda u: 1.0 - 1.0 / jnp.sqrt(u),
        conjugate=lambda t: _below(t, 1.0, lambda t: t / (1.0 - t)),
        activation=_of_clipped(lambda v: -jnp.expm1(-v), -LIMIT / 2.0, LIMIT / 2.0),
        conjugate_activation=_of_clipped(jnp.expm1, -LIMIT / 2.0, LIMIT / 2.0),
        output=lambda log_u: 0.5 * log_u,
        integrand=lambda log_p, log_q: (jnp.exp(0.5 * log_p) - jnp.exp(0.5 * log_q)) ** 2),
    'jeffreys': FDivergence(
        f=lambda u: (u - 1.0) * jnp.log(u),
        df=lambda u: 1.0 + jnp.log(u) - 1.0 / u,
        conjugate=_jeffreys_conjugate,
        activation=_of_clipped(lambda v: v, high=1.0 + LIMIT),
        conjugate_activation=_of_clipped(_jeffreys_conjugate, high=1.0 + LIMIT),
        output=lambda log_u: 1.0 + log_u - jnp.exp(-log_u),
        integrand=lambda log_p, log_q: _kl(log_p, log_q) + _kl(log_q, log_p)),
}


def get(name: str) -> FDivergence:
  """The row of the table called `name`. Raises BadInput with the names that exist."""
  if name not in F_DIVERGENCES:
    raise BadInput(f'no f-divergence {name!r}; there are: {", ".join(sorted(F_DIVERGENCES))}')
  return F_DIVERGENCES[name]


def divergence(name: str, log_p, log_q, weight):
  """D_f(P || Q) in nats by quadrature: sum of weight q f(p / q) over the nodes.

  log_p, log_q: log densities at the nodes [N]; weight: the nodes' volumes, scalar or [N].
  """
  return (weight * get(name).integrand(log_p, log_q)).sum()
