"""The times of a denoising loss: how t is drawn in [t_min, 1], and with what density.

A density is relative to the uniform one on [t_min, 1]. That of 'logit_normal' and 'edm' is part of
the loss as published; 'importance' changes what a draw costs, not what is minimised, and the loss
is divided by its density.
"""

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from genjax.numerics.path import Path, at, d_logsnr, logsnr, time_of_logsnr

TIME_SAMPLINGS = ('stratified', 'uniform', 'logit_normal', 'edm', 'importance')
# mean and deviation of logit t (2403.03206, Sec. 3.1) and of log sigma (2206.00364, Table 1)
NORMAL = {'logit_normal': (0.0, 1.0), 'edm': (-1.2, 1.2)}
NUM_BINS = 100  # of the history of 'importance'
MEMORY = 10  # visits that a bin's average remembers (2102.09672, Sec. 3.3)
UNIFORM_SHARE = 1e-3  # of a draw by importance, so that no bin dies out (ibid.)


def stratified(rng, n: int) -> jax.Array:
  """u [n], each uniform in [0, 1), together evenly spread (2107.00630, App. I.1)."""
  return jnp.mod(jax.random.uniform(rng) + jnp.arange(n) / n, 1.0)


def draw(name: str, rng, n: int, path: Path, t_min: float, normal=(None, None)):
  """t [n] in [t_min, 1] and its density [n].

  'uniform': independent; 'stratified': one in each n-th part; 'logit_normal': logit t normal
  (2403.03206, Eq. 19); 'edm': log(sigma / alpha) normal (2206.00364, Table 1): these two with
  `normal` in place of the published mean and deviation, cut to the interval, and stratified.
  """
  if name in ('uniform', 'stratified'):
    u = jax.random.uniform(rng, (n,)) if name == 'uniform' else stratified(rng, n)
    return t_min + (1.0 - t_min) * u, jnp.ones(n)
  mean, std = (here if given is None else given
               for given, here in zip(normal, NORMAL[name], strict=True))
  u = stratified(rng, n)
  if name == 'logit_normal':
    low = norm.cdf((_logit(jnp.float32(t_min)) - mean) / std)
    z = _quantile(low + (1.0 - low) * u)
    t = jnp.clip(jax.nn.sigmoid(mean + std * z), t_min, 1.0)
    density = norm.pdf(z) / (std * t * (1.0 - t)) / (1.0 - low)
  else:
    low, high = (norm.cdf((-0.5 * logsnr(*path(jnp.float32(end))) - mean) / std)
                 for end in (t_min, 1.0))
    share = jnp.maximum(high - low, 1e-12)  # an interval may lie where the law has no mass
    z = _quantile(low + share * u)
    t = jnp.clip(time_of_logsnr(path, -2.0 * (mean + std * z)), t_min, 1.0)
    density = norm.pdf(z) / std * -0.5 * d_logsnr(at(path, t)) / share
  return t, density * (1.0 - t_min)


def _logit(t):
  return jnp.log(t) - jnp.log1p(-t)


def _quantile(u):
  # float32 has no u nearer to 1 than 6e-8, which is 5.3 deviations
  return norm.ppf(jnp.clip(u, 1e-7, 1.0 - 1e-7))


def no_history() -> dict:
  """What 'importance' remembers before its first step: float32 [NUM_BINS] each."""
  return {'square': jnp.zeros(NUM_BINS), 'visits': jnp.zeros(NUM_BINS)}


def _density(history) -> jax.Array:
  """[NUM_BINS], of mean 1: the root of the mean squared loss (2102.09672, Eq. 18).

  Uniform until every bin has been visited MEMORY times.
  """
  root = jnp.sqrt(history['square'])
  known = (history['visits'].min() >= MEMORY) & (root.sum() > 0.0)
  root = jnp.where(known, root, 1.0)
  return UNIFORM_SHARE + (1.0 - UNIFORM_SHARE) * root / root.mean()


def draw_by_importance(rng, n: int, history: dict, t_min: float):
  """t [n], its density [n], and the bin of each: stratified draws from the history's density."""
  density = _density(history)
  edges = jnp.concatenate([jnp.zeros(1), jnp.cumsum(density / NUM_BINS)])
  u = stratified(rng, n) * edges[-1]
  chosen = jnp.clip(jnp.searchsorted(edges, u, side='right') - 1, 0, NUM_BINS - 1)
  within = jnp.clip((u - edges[chosen]) * NUM_BINS / density[chosen], 0.0, 1.0)
  t = t_min + (1.0 - t_min) * (chosen + within) / NUM_BINS
  return t, density[chosen], chosen


def remember(history: dict, chosen, losses) -> dict:
  """The history with the squares of these losses [n] of the bins `chosen` [n] averaged in."""
  count = jnp.zeros(NUM_BINS).at[chosen].add(1.0)
  square = jnp.zeros(NUM_BINS).at[chosen].add(losses**2) / jnp.maximum(count, 1.0)
  visits = history['visits'] + count
  rate = jnp.clip(count / jnp.clip(visits, 1.0, MEMORY), 0.0, 1.0)
  return {'square': history['square'] + rate * (square - history['square']), 'visits': visits}
