"""Log densities and log masses in nats."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.numerics.shapes import match, sum_event
from genjax.prob.levels import grid, to_levels

LOG_2PI = float(np.log(2 * np.pi))
LEAST_SIGMA = 1e-6  # far below the width of a level, where the level is certain


def normal_log_prob(x, mean=0.0, std=1.0):
  """log N(x; mean, std^2) per element, in nats."""
  return -0.5 * ((x - mean) / std) ** 2 - jnp.log(std) - 0.5 * LOG_2PI


def normal_kl(mean_q, std_q, mean_p=0.0, std_p=1.0):
  """KL(N(mean_q, std_q^2) || N(mean_p, std_p^2)) per element, in nats."""
  var_ratio = (std_q / std_p) ** 2
  return 0.5 * (var_ratio + ((mean_q - mean_p) / std_p) ** 2 - 1.0 - jnp.log(var_ratio))


def log_mean_exp(x, axis=0):
  """log(mean(exp(x))) along an axis, without overflow."""
  return jax.nn.logsumexp(x, axis=axis) - jnp.log(x.shape[axis])


def logistic_cell_log_prob(x, mean, log_scale, levels: int):
  """Log-mass per element of the cell of x under a logistic; the outer cells take the tails.

  x, mean, log_scale: broadcastable, x on the grid. PixelCNN++ (1701.05517), Eq. 2.
  """
  half = 1.0 / (levels - 1)
  inv = jnp.exp(-log_scale)
  upper, lower = (x + half - mean) * inv, (x - half - mean) * inv
  first, last = x < -1.0 + half, x > 1.0 - half
  # log(s(b) - s(a)) = log s(b) + log s(-a) + log(1 - e^(a - b)): exact, and finite for all inputs
  width = 2.0 * half * inv
  middle = (jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower)
            + jnp.log(-jnp.expm1(-jnp.maximum(width, 1e-12))))
  return jnp.where(first, jax.nn.log_sigmoid(upper),
                   jnp.where(last, jax.nn.log_sigmoid(-lower), middle))


def logistic_mixture_log_prob(x, logits, means, log_scales, levels: int):
  """Log-mass [...] of the cell of x [...] under a mixture of logistics with parameters [..., K].

  PixelCNN++ (1701.05517), Eqs. 1 and 2, with weights softmax(logits).
  """
  log_p = logistic_cell_log_prob(x[..., None], means, log_scales, levels)
  return jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_p, -1)


def beta_binomial_log_prob(k, alpha, beta, n: int):
  """Log-mass [...] of k successes in n trials whose probability is Beta(alpha, beta).

  k: integers 0..n; alpha, beta > 0, broadcastable. Accurate to 1e-4 nats for every alpha and beta,
  where differences of log-gammas in float32 are not.
  """
  log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
  choices = log_factorial[n] - log_factorial - log_factorial[::-1]
  scale = alpha + beta + n  # divides every factor, and cancels: small terms keep their digits
  return (jnp.asarray(choices, jnp.float32)[k] + _log_rising(alpha, k, scale)
          + _log_rising(beta, n - k, scale) - _log_rising(alpha + beta, n, scale))


def _log_rising(a, k, scale):
  """log of a (a + 1) ... (a + k - 1) / scale^k, plus k: Stirling's series from a + 8 on."""
  z = a + 8.0
  y = z + k
  tail = lambda z: 1.0 / (12.0 * z) - 1.0 / (360.0 * z**3)
  below = sum(jnp.log((a + i) / (a + k + i)) for i in range(8))
  return below + (z - 0.5) * jnp.log1p(k / z) + k * jnp.log(y / scale) + tail(y) - tail(z)


def nucleus(logits, share: float):
  """The logits, with -inf for all but the likeliest values, as few as have this share of the mass.

  A share of 1 keeps all; equal logits stay or go together (1904.09751, Sec. 3).
  """
  if share == 1.0:
    return logits
  ordered = -jnp.sort(-logits, -1)
  p = jax.nn.softmax(ordered)
  within = jnp.cumsum(p, -1) - p < share  # what stands before has less than the share
  least = jnp.where(within, ordered, jnp.inf).min(-1, keepdims=True)
  return jnp.where(logits >= least, logits, -jnp.inf)


def level_logits(z, alpha, sigma, levels: int) -> jax.Array:
  """log q(z | x = level k) + const of z = alpha x + sigma eps: [B, ..., levels]; scales [B]."""
  a, s = match(alpha, z)[..., None], match(sigma, z)[..., None]
  return -0.5 * ((z[..., None] - a * grid(levels)) / jnp.maximum(s, LEAST_SIGMA)) ** 2


def level_log_prob(x, z, alpha, sigma, levels: int) -> jax.Array:
  """log P(x | z) [B] for x on the grid, with P(level | z) proportional to q(z | level).

  2107.00630, Eq. 14.
  """
  log_p = jax.nn.log_softmax(level_logits(z, alpha, sigma, levels))
  return sum_event(jnp.take_along_axis(log_p, to_levels(x, levels)[..., None], -1)[..., 0])
