"""The times of a denoising loss: how t is drawn, and the weight of a draw in a mean over t.

Continuous times lie in [t_min, 1]; those of a T-step model are i / T, i = 1..T. A density is
relative to the uniform one there. The laws 'logit_normal' and 'edm' are part of the loss as
published; 'importance' changes what a draw costs, not what is minimised, and the loss is divided
by its density.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from genjax.numerics.path import Path, logsnr, time_of_logsnr

TIME_SAMPLINGS = ('stratified', 'uniform', 'logit_normal', 'edm', 'importance')
# mean and deviation of logit t (2403.03206, Sec. 3.1) and of log sigma (2206.00364, Table 1)
NORMAL = {'logit_normal': (0.0, 1.0), 'edm': (-1.2, 1.2)}
# laws of the steps of a T-step model; those in NORMAL are of continuous times
OF_STEPS = tuple(name for name in TIME_SAMPLINGS if name not in NORMAL)
NUM_PARTS = 100  # parts into which a law is divided
NUM_BINS = 100  # of the history of 'importance'
MEMORY = 10  # visits that a bin's average remembers (2102.09672, Sec. 3.3)
UNIFORM_SHARE = 1e-3  # of a draw by importance, so that no bin dies out (ibid.)


class Drawn(NamedTuple):
  """The times of a batch; a law has either `density` or `part`."""

  t: jax.Array  # [n]
  density: jax.Array | None = None  # [n], relative to the uniform one
  # (first, last) [n]: the ends of the part that t lies in, one of NUM_PARTS of equal probability.
  # Laws in NORMAL have it: their density falls to 0, and a mean of f / density needs draws that
  # never come
  part: tuple[jax.Array, jax.Array] | None = None
  bins: jax.Array | None = None  # [n], of the history of 'importance'


def stratified(rng, n: int) -> jax.Array:
  """u [n], each uniform in [0, 1), together evenly spread (2107.00630, App. I.1)."""
  return jnp.mod(jax.random.uniform(rng) + jnp.arange(n) / n, 1.0)


def draw(name: str, rng, n: int, path: Path, t_min: float, normal=(None, None)) -> Drawn:
  """Continuous times.

  'uniform': independent; 'stratified': one in each n-th part; 'logit_normal': logit t normal
  (2403.03206, Eq. 19); 'edm': log(sigma / alpha) normal (2206.00364, Table 1): these two with
  `normal` instead of the published mean and deviation, cut to the interval, and stratified.
  """
  if name in ('uniform', 'stratified'):
    u = jax.random.uniform(rng, (n,)) if name == 'uniform' else stratified(rng, n)
    return Drawn(t_min + (1.0 - t_min) * u, jnp.ones(n))
  mean, std = (here if given is None else given
               for given, here in zip(normal, NORMAL[name], strict=True))
  law = (_logit_normal if name == 'logit_normal' else _log_normal)(path, t_min, mean, std)
  u = stratified(rng, n)
  # float32 does not reach the ends of the interval
  ends = law(jnp.arange(NUM_PARTS + 1) / NUM_PARTS).at[0].set(t_min).at[-1].set(1.0)
  part = jnp.floor(u * NUM_PARTS).astype(jnp.int32)
  return Drawn(law(u), part=(ends[part], ends[part + 1]))


def _logit_normal(path: Path, t_min: float, mean, std):
  """u [n] -> t in [t_min, 1] with logit t normal."""
  del path
  low = norm.cdf((_logit(jnp.float32(t_min)) - mean) / std)

  def law(u):
    z = _quantile(low + (1.0 - low) * u)
    return jnp.clip(jax.nn.sigmoid(mean + std * z), t_min, 1.0)

  return law


def _log_normal(path: Path, t_min: float, mean, std):
  """u [n] -> t in [t_min, 1] with log(sigma / alpha) normal."""
  low, high = (norm.cdf((-0.5 * logsnr(*path(jnp.float32(end))) - mean) / std)
               for end in (t_min, 1.0))
  share = jnp.maximum(high - low, 1e-12)  # an interval may lie where the law has no mass

  def law(u):
    z = _quantile(low + share * u)
    return jnp.clip(time_of_logsnr(path, -2.0 * (mean + std * z)), t_min, 1.0)

  return law


def _logit(t):
  return jnp.log(t) - jnp.log1p(-t)


def _quantile(u):
  # float32 has no u nearer to 1 than 6e-8, which is 5.3 deviations
  return norm.ppf(jnp.clip(u, 1e-7, 1.0 - 1e-7))


def draw_steps(name: str, rng, n: int, num_steps: int) -> Drawn:
  """Times i / num_steps of a model of num_steps steps, i uniform over 1..num_steps (2006.11239).

  name: 'uniform': independent; 'stratified': of n = num_steps one each.
  """
  u = jax.random.uniform(rng, (n,)) if name == 'uniform' else stratified(rng, n)
  i = jnp.minimum(jnp.floor(u * num_steps) + 1.0, num_steps)
  return Drawn(i / num_steps, jnp.ones(n))


def no_history() -> dict:
  """The history of 'importance' before its first step: float32 [NUM_BINS] each."""
  return {'square': jnp.zeros(NUM_BINS), 'visits': jnp.zeros(NUM_BINS)}


def _density(history) -> jax.Array:
  """[NUM_BINS], of mean 1: the root of the mean squared loss (2102.09672, Eq. 18).

  Uniform until every bin has been visited MEMORY times.
  """
  root = jnp.sqrt(history['square'])
  known = (history['visits'].min() >= MEMORY) & (root.sum() > 0.0)
  root = jnp.where(known, root, 1.0)
  return UNIFORM_SHARE + (1.0 - UNIFORM_SHARE) * root / root.mean()


def draw_by_importance(rng, n: int, history: dict, t_min: float,
                       num_steps: int | None = None) -> Drawn:
  """Times in [t_min, 1], or i / num_steps: stratified draws from the history's density."""
  density = _density(history)
  edges = jnp.concatenate([jnp.zeros(1), jnp.cumsum(density / NUM_BINS)])
  u = stratified(rng, n) * edges[-1]
  chosen = jnp.clip(jnp.searchsorted(edges, u, side='right') - 1, 0, NUM_BINS - 1)
  within = jnp.clip((u - edges[chosen]) * NUM_BINS / density[chosen], 0.0, 1.0)
  share = (chosen + within) / NUM_BINS
  if num_steps is None:
    return Drawn(t_min + (1.0 - t_min) * share, density[chosen], bins=chosen)
  i = jnp.clip(jnp.ceil(share * num_steps), 1.0, num_steps)
  return Drawn(i / num_steps, _density_of_steps(density, i, num_steps), bins=chosen)


def _density_of_steps(density, i, num_steps: int) -> jax.Array:
  """[n]: the mean density of the times that become i / num_steps."""
  left, right = ((i - end)[:, None] / num_steps for end in (1.0, 0.0))
  bins = jnp.arange(NUM_BINS) / NUM_BINS
  overlap = jnp.minimum(right, bins + 1.0 / NUM_BINS) - jnp.maximum(left, bins)
  return num_steps * (jnp.maximum(overlap, 0.0) * density).sum(-1)


def remember(history: dict, chosen, losses) -> dict:
  """The history with the squares of these losses [n] of the bins `chosen` [n] averaged in."""
  count = jnp.zeros(NUM_BINS).at[chosen].add(1.0)
  square = jnp.zeros(NUM_BINS).at[chosen].add(losses**2) / jnp.maximum(count, 1.0)
  visits = history['visits'] + count
  rate = jnp.clip(count / jnp.clip(visits, 1.0, MEMORY), 0.0, 1.0)
  return {'square': history['square'] + rate * (square - history['square']), 'visits': visits}
