"""Expectation maximisation: seeding and the loop, for any mixture. Arrays in, arrays out."""

import jax
import jax.numpy as jnp


def seed_rows(rng, x, num: int, num_trials: int = 4) -> jax.Array:
  """Rows of x [N, D] that seed `num` clusters: int32 [num], by greedy k-means++.

  Each next row is drawn with probability proportional to its squared distance to the nearest
  row so far; of num_trials draws the one that lowers the summed distance most is kept
  (Arthur and Vassilvitskii 2007). Costs O(num num_trials N D).
  """
  rng_first, rng_rest = jax.random.split(rng)
  first = jax.random.randint(rng_first, (), 0, x.shape[0])

  def distances(rows):  # explicit differences: the Gram form would lose the digits near 0
    return jax.lax.map(lambda i: ((x - x[i]) ** 2).sum(-1), rows)

  def next_row(nearest, rng):
    rng_draw, rng_any = jax.random.split(rng)
    log_weights = jnp.where(nearest > 0, jnp.log(jnp.where(nearest > 0, nearest, 1.0)), -jnp.inf)
    # fewer distinct rows than clusters: nothing is left to cover, any row will do
    log_weights = jnp.where((nearest > 0).any(), log_weights, jax.random.uniform(
        rng_any, nearest.shape))
    rows = jax.random.categorical(rng_draw, log_weights, shape=(num_trials,))
    shrunk = jnp.minimum(nearest, distances(rows))
    best = jnp.argmin(shrunk.sum(-1))
    return shrunk[best], rows[best]

  _, rows = jax.lax.scan(next_row, distances(first[None])[0], jax.random.split(rng_rest, num - 1))
  return jnp.concatenate([first[None], rows]).astype(jnp.int32)


def nearest_seed(x, seeds) -> jax.Array:
  """Hard responsibilities [N, K] float32 of x [N, D] for the nearest of seeds [K, D]."""
  distance = jax.lax.map(lambda seed: ((x - seed) ** 2).sum(-1), seeds)
  return jax.nn.one_hot(distance.argmin(0), seeds.shape[0])


def iterate(step, state, *, tolerance: float, max_steps: int):
  """Repeats state, objective = step(state) and returns the last state, objective and step count.

  objective [] is that of the state that went in; the loop stops when it grew by less than
  `tolerance` (in its own unit) from one step to the next, or after max_steps.
  """
  def unfinished(loop):
    _, previous, current, count = loop
    return (count < max_steps) & ((count < 2) | (current - previous >= tolerance))

  def body(loop):
    state, _, previous, count = loop
    state, current = step(state)
    return state, previous, current, count + 1

  start = (state, -jnp.inf, -jnp.inf, 0)
  state, _, objective, count = jax.lax.while_loop(unfinished, body, start)
  return state, objective, count


def best(fit, rng, num_restarts: int):
  """The state of the best of num_restarts fits; fit(rng) -> state, objective [], step count.

  A fit whose objective is NaN is taken only if all are.
  """
  fits = [fit(key) for key in jax.random.split(rng, num_restarts)]
  rank = lambda objective: -jnp.inf if jnp.isnan(objective) else float(objective)
  return max(fits, key=lambda result: rank(result[1]))[0]
