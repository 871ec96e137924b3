"""The train step: the one function that changes parameters, for every objective.

For each player and each of its updates: the gradient of its loss with respect to the subtrees that
it trains, on its own slice of the batch; then one exponential moving average of params['model'].
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from genjax import sharding
from genjax.numerics import streams
from genjax.types import Aux, Objective, Player, TrainState


def get(tree: Mapping, path: str):
  """The subtree at 'a/b/c'."""
  for name in path.split('/'):
    tree = tree[name]
  return tree


def put(tree: Mapping, path: str, value) -> dict:
  """A copy of the tree with another subtree at 'a/b/c'."""
  head, _, rest = path.partition('/')
  return {**tree, head: put(tree[head], rest, value) if rest else value}


def put_all(tree: Mapping, values: Mapping) -> dict:
  for path, value in values.items():
    tree = put(tree, path, value)
  return tree


def init_state(objective: Objective, optimizers: Mapping, params, carry, ema: float,
               nan_steps_allowed: int = 0) -> TrainState:
  """The state before the first step; traceable. The average starts at the parameters."""
  opt_state = {p.name: optimizers[p.name].init({path: get(params, path) for path in p.trains})
               for p in objective.players}
  average = jax.tree.map(jnp.copy, params['model']) if ema else ()
  skipped = jnp.zeros(2, jnp.int32) if nan_steps_allowed else ()
  return TrainState(jnp.zeros((), jnp.int32), params, opt_state, average, carry, skipped)


def make_step(objective: Objective, optimizers: Mapping, *, seed: int, ema: float,
              prepare: Callable, accumulate: int = 1, nan_steps_allowed: int = 0) -> Callable:
  """Returns step(state, batch) -> state, {metric: scalar}; pure, to be jitted by the caller.

  batch: {'x': [R, ...], ...} with R = batch_size x (sum of num_updates) raw rows; row r belongs to
    slice r mod (sum of num_updates).
  optimizers: {player name: optax transformation}.
  seed: random draws come from the stream TRAINING [step, slice].
  ema: decay of the average of params['model']; 0: none.
  prepare: (raw batch, rng) -> batch.
  accumulate: number k of parts of each slice whose gradients are averaged. Row r is in part
    r mod k, and the key of a part is fold_in(the slice's key, part).
  nan_steps_allowed: if above 0, a step with a non-finite loss or gradient of any player changes
    only `step` and `skipped`; the metrics then hold 'skipped' (0 or 1) and 'skipped_in_a_row'.

  The name of a metric is PLAYER/NAME; it is the mean over the player's updates in this step.
  """
  num_slices = sum(p.num_updates for p in objective.players)

  def slice_of(batch, i):
    # reshape(-1, k)[:, i] keeps rows on their device; reshape(k, -1)[i] would gather the batch
    return jax.tree.map(lambda a: a.reshape(-1, num_slices, *a.shape[1:])[:, i], batch)

  def step(state: TrainState, batch):
    step_rng = streams.stream(seed, streams.Purpose.TRAINING, state.step)
    batch = prepare(batch, jax.random.fold_in(step_rng, num_slices))
    params, carry = state.params, state.carry
    opt_state, metrics, i = dict(state.opt_state), {}, 0
    for player in objective.players:
      reported = []
      for _ in range(player.num_updates):
        params, carry, opt_state[player.name], terms = _update(
            player, optimizers[player.name], params, carry, opt_state[player.name],
            slice_of(batch, i), jax.random.fold_in(step_rng, i), state.step, accumulate)
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
    new = TrainState(state.step + 1, params, opt_state, average, carry, state.skipped)
    return _skip_not_finite(state, new, metrics) if nan_steps_allowed else (new, metrics)

  return step


def _skip_not_finite(old: TrainState, new: TrainState, metrics: dict):
  """The new state; with a non-finite loss or gradient the old one, but for step and skipped."""
  finite = jnp.all(jnp.stack([jnp.isfinite(value) for name, value in metrics.items()
                              if name.endswith(('/loss', '/grad_norm'))]))
  total, in_a_row = old.skipped
  skipped = jnp.stack([total + ~finite, jnp.where(finite, 0, in_a_row + 1)])
  kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
  return (kept._replace(step=new.step, skipped=skipped),
          {**metrics, 'skipped': 1 - finite.astype(jnp.int32), 'skipped_in_a_row': skipped[1]})


def _update(player: Player, optimizer, params, carry, opt_state, batch, rng, step, accumulate):
  """One update of one player: the gradient of its subtrees, everything else constant."""
  trained = {path: get(params, path) for path in player.trains}

  def loss(trained, carry, batch, rng):
    return player.loss(put_all(params, trained), carry, batch, rng, step)

  gradient = jax.value_and_grad(loss, has_aux=True)
  if accumulate > 1:
    gradient = _mean_of_parts(gradient, accumulate)
  (value, aux), grads = gradient(trained, carry, batch, rng)
  updates, opt_state = optimizer.update(grads, opt_state, trained)
  params = put_all(put_all(params, optax.apply_updates(trained, updates)), aux.writes)
  terms = {**aux.metrics, 'loss': value, 'grad_norm': optax.global_norm(grads)}
  return params, aux.carry, opt_state, terms


def _mean_of_parts(gradient: Callable, k: int) -> Callable:
  """The function `gradient` as a mean over k parts of the batch, computed one after the other.

  The rows of the carry are cut like the batch; its rest passes from part to part.
  """
  def cut(rows):  # [B, ...] -> [k, B / k, ...], every row on its device
    return jax.tree.map(lambda a: a.reshape(-1, k, *a.shape[1:]).swapaxes(0, 1), rows)

  def join(parts):
    return jax.tree.map(lambda a: a.swapaxes(0, 1).reshape(-1, *a.shape[2:]), parts)

  def mean(trained, carry, batch, rng):
    has_rows = isinstance(carry, dict) and 'rows' in carry

    def of_part(rest, inputs):
      batch, rows, key = inputs
      batch, rows = jax.tree.map(sharding.constrain_batch, (batch, rows))
      part_carry = {'rows': rows, 'rest': rest} if has_rows else rest
      return gradient(trained, part_carry, batch, key)

    def part(running, inputs):
      rest, total, _ = running
      (value, aux), grads = of_part(rest, inputs)
      rest, rows = (aux.carry['rest'], aux.carry['rows']) if has_rows else (aux.carry, ())
      total = jax.tree.map(jnp.add, total, grads)
      return (rest, total, aux.writes), (value, rows, aux.metrics)

    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(k))
    rest, rows = (carry['rest'], carry['rows']) if has_rows else (carry, ())
    inputs = cut(batch), cut(rows), keys
    # writes pass from part to part, like the gradients: stacked, they could be k whole teachers
    writes = jax.eval_shape(of_part, rest, jax.tree.map(lambda a: a[0], inputs))[0][1].writes
    start = rest, *jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (trained, writes))
    (rest, total, writes), (values, rows, metrics) = jax.lax.scan(part, start, inputs)
    metrics = jax.tree.map(lambda a: a.mean(0), metrics)
    carry = {'rows': join(rows), 'rest': rest} if has_rows else rest
    return ((values.mean(), Aux(metrics, carry, writes)),
            jax.tree.map(lambda g: g / k, total))

  return mean


def repeat(step: Callable, k: int) -> Callable:
  """k steps in one dispatch: (state, batches [k, R, ...]) -> state, {metric: [k]}."""
  def steps(state, batches):
    return jax.lax.scan(step, state, batches, length=k)

  return steps


def lower_step(step: Callable, k: int, mesh, state, rows):
  """The dispatch of k steps, lowered for the mesh; the state is donated, sharded in and out.

  state, rows: shapes of the state and of the raw rows of one step. Traces once and allocates
  nothing; the devices of the mesh need not exist.
  """
  function = step if k == 1 else repeat(step, k)
  if k > 1:
    rows = jax.tree.map(lambda a: jax.ShapeDtypeStruct((k, *a.shape), a.dtype), rows)
  if mesh.size == 1:
    return jax.jit(function, donate_argnums=0).lower(state, rows)
  of_state = sharding.state_sharding(mesh, state)
  of_rows = sharding.batch_sharding(mesh, leading_axes=int(k > 1))
  jitted = jax.jit(function, donate_argnums=0, in_shardings=(of_state, of_rows),
                   out_shardings=(of_state, sharding.replicated(mesh)))
  with jax.set_mesh(mesh):
    return jitted.lower(state, rows)


def compile_step(step: Callable, k: int, mesh, state, rows,
                 remedies: Callable | None = None) -> Callable:
  """Returns the compiled (state, rows) -> state, metrics of k steps; see `lower_step`.

  Raises BadInput, with the text of remedies(need, has), if it needs more memory than a device has.

  With convolutions on a CPU it is k programs of one step, one after the other: gradients of their
  gradients, as of WGAN-GP, get the form that XLA's library takes only outside of loops (first
  gradients have it anywhere: `nn.conv.convolve`).
  """
  lowered = lower_step(step, k, mesh, state, rows)
  if k > 1 and mesh.size == 1 and sharding.convolves_on_cpu(lowered):
    return one_by_one(sharding.compiled(lower_step(step, 1, mesh, state, rows), 'a train step',
                                        remedies), k)
  return sharding.compiled(lowered, 'a train step', remedies)


def one_by_one(dispatch: Callable, k: int) -> Callable:
  """The same function as `repeat`, by k calls of the dispatch of one step."""
  def steps(state, batches):
    metrics = []
    for i in range(k):
      state, of_step = dispatch(state, jax.tree.map(lambda a: a[i], batches))
      metrics.append(of_step)
    return state, jax.tree.map(lambda *values: jnp.stack(values), *metrics)

  return steps
