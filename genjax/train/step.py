"""The train step: the one function that changes parameters, for every objective.

For each player and each of its updates: the gradient of its loss with respect to the subtrees that
it trains, on its own slice of the batch; then one exponential moving average of params['model'].
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from genjax import sharding
from genjax.types import Objective, Player, TrainState


def get(tree: Mapping, path: str):
  """The subtree at 'a/b/c'."""
  for name in path.split('/'):
    tree = tree[name]
  return tree


def put(tree: Mapping, path: str, value) -> dict:
  """The tree with the subtree at 'a/b/c' replaced."""
  head, _, rest = path.partition('/')
  return {**tree, head: put(tree[head], rest, value) if rest else value}


def put_all(tree: Mapping, values: Mapping) -> dict:
  for path, value in values.items():
    tree = put(tree, path, value)
  return tree


def init_state(objective: Objective, optimizers: Mapping, params, carry, ema: float) -> TrainState:
  """The state before the first step; traceable. The average starts at the parameters."""
  opt_state = {p.name: optimizers[p.name].init({path: get(params, path) for path in p.trains})
               for p in objective.players}
  average = jax.tree.map(jnp.copy, params['model']) if ema else ()
  return TrainState(jnp.zeros((), jnp.int32), params, opt_state, average, carry)


def make_step(objective: Objective, optimizers: Mapping, *, seed: int, ema: float,
              prepare: Callable) -> Callable:
  """Returns step(state, batch) -> state, {metric: scalar}; pure, to be jitted by the caller.

  batch: {'x': [R, ...], ...} with R = batch_size x (sum of num_updates) raw rows; row r belongs to
  slice r mod (sum of num_updates). Random draws: fold_in(seed, step, slice). Every metric is
  '<player>/<name>', the mean over the player's updates in this step.
  """
  num_slices = sum(p.num_updates for p in objective.players)
  rng = jax.random.key(seed)

  def slice_of(batch, i):
    # reshape(-1, k)[:, i] keeps rows on their device; reshape(k, -1)[i] would gather the batch
    return jax.tree.map(lambda a: a.reshape(-1, num_slices, *a.shape[1:])[:, i], batch)

  def step(state: TrainState, batch):
    step_rng = jax.random.fold_in(rng, state.step)
    batch = prepare(batch, jax.random.fold_in(step_rng, num_slices))
    params, carry = state.params, state.carry
    opt_state, metrics, i = dict(state.opt_state), {}, 0
    for player in objective.players:
      reported = []
      for _ in range(player.num_updates):
        params, carry, opt_state[player.name], terms = _update(
            player, optimizers[player.name], params, carry, opt_state[player.name],
            slice_of(batch, i), jax.random.fold_in(step_rng, i), state.step)
        reported.append(terms)
        i += 1
      means = jax.tree.map(lambda *values: jnp.mean(jnp.stack(values)), *reported)
      metrics.update({f'{player.name}/{name}': value for name, value in means.items()})
    average = state.ema
    if ema:
      # warm-up: the average forgets its initial value faster while it is young
      n = state.step.astype(jnp.float32)
      decay = jnp.minimum(ema, (1 + n) / (10 + n))
      average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params['model'])
    return TrainState(state.step + 1, params, opt_state, average, carry), metrics

  return step


def _update(player: Player, optimizer, params, carry, opt_state, batch, rng, step):
  """One update of one player: gradient of its subtrees alone, everything else constant."""
  trained = {path: get(params, path) for path in player.trains}

  def loss(trained):
    return player.loss(put_all(params, trained), carry, batch, rng, step)

  (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(trained)
  updates, opt_state = optimizer.update(grads, opt_state, trained)
  params = put_all(put_all(params, optax.apply_updates(trained, updates)), aux.writes)
  terms = {**aux.metrics, 'loss': value, 'grad_norm': optax.global_norm(grads)}
  return params, aux.carry, opt_state, terms


def repeat(step: Callable, k: int) -> Callable:
  """k steps in one dispatch: (state, batches [k, R, ...]) -> state, {metric: [k]}."""
  def steps(state, batches):
    return jax.lax.scan(step, state, batches, length=k)

  return steps


def compile_step(step: Callable, k: int, mesh, like) -> Callable:
  """The jitted dispatch of k steps with the state donated and, on several devices, sharded.

  like: the state's shapes. The returned function is traced once: (state, rows) -> state, {metric}.
  """
  function = step if k == 1 else repeat(step, k)
  if mesh.size == 1:
    return jax.jit(function, donate_argnums=0)
  of_state = sharding.state_sharding(mesh, like)
  of_rows = sharding.batch_sharding(mesh, leading_axes=int(k > 1))
  jitted = jax.jit(function, donate_argnums=0, in_shardings=(of_state, of_rows),
                   out_shardings=(of_state, sharding.replicated(mesh)))

  def dispatch(state, rows):
    with jax.set_mesh(mesh):
      return jitted(jax.device_put(state, of_state), rows)

  return dispatch
