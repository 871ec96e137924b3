"""The contract: what a family, an objective and a training state are. Tuples of pure functions.

A field that is None is a capability that is absent. `DESIGN` in one line: capability is data.
Log-probabilities are in nats; x is float32 on the grid of `DataSpec.levels` (see `genjax.prob`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class BadInput(ValueError):
  """A user's mistake. The message names the offending value and the allowed ones."""


class DataSpec(NamedTuple):
  """What every make(...) knows of the data; static."""

  shape: tuple[int, ...]  # of one example, e.g. (8, 8, 1)
  levels: int | None  # L: x lies on the grid 2 k / (L - 1) - 1, k = 0..L-1; None: continuous x
  num_classes: int | None  # cond: int32 [B] in 0..num_classes-1; num_classes itself is "no label"


class TwoTimes(NamedTuple):
  """A denoiser that is also told the time to go to; its parameters are of its own kind."""

  # as that of the Model
  init: Callable
  # (params, x_t, t [B], s [B], cond, rng) -> what one DDIM step takes for x_0 to lead from x_t to
  # x_s, s <= t, float32; at s = t it is E[x_0 | x_t]
  denoise: Callable


class Model(NamedTuple):
  """A family: what can be computed with its parameters. None means that it cannot."""

  # (rng, batch) -> params; traceable: eval_shape(init) allocates nothing
  init: Callable
  # (params, rng, n, cond) -> x [n, ...], number of network evaluations, of all or of each [n]; any
  # cost. Draws have the n samples as their leading axis (see numerics/streams.py: of_rows)
  sample: Callable | None = None
  # (params, rng, n, cond) -> x [n, ...]; one pass, differentiable in params
  rsample: Callable | None = None
  # (params, batch, rng) -> [B] nats, exact
  log_prob: Callable | None = None
  # (params, batch, rng) -> {term: [B] nats}; their sum is a lower bound on log p(x)
  elbo: Callable | None = None
  # (params, batch, rng) -> [B] nats with E exp(.) = p(x): IWAE, AIS
  log_weight: Callable | None = None
  # (params, rng, n, cond) -> x, [n] nats; pathwise differentiable
  sample_and_log_prob: Callable | None = None
  # (params, x, cond) -> [B] nats, -log p(x) + const
  energy: Callable | None = None
  # (params, x_t, t [B], cond, rng) -> E[x_0 | x_t], float32; rng None: dropout off
  denoise: Callable | None = None
  # (params, x_t, t [B], cond, rng) -> E[x_0 | x_t], v [B, ...] in [0, 1]: a learned variance of the
  # reverse step, of which the logarithm is v of the way from the posterior's to the upper one
  reverse: Callable | None = None
  # (params, batch, rng) -> [B]: what params['schedule'] minimises, for the rest of them as it is
  schedule_loss: Callable | None = None
  # (params, t [B]) -> alpha [B], sigma [B] of q(x_t | x_0); fixed paths ignore params
  path: Callable | None = None
  # (params, x_t, t [B], s [B], cond) -> x_s: consistency, MeanFlow, distilled students
  flow_map: Callable | None = None
  # the same network told two times: what an objective may train a flow map with
  two_times: TwoTimes | None = None
  # (params, coder) -> push(x), pop(); integer frequency tables only
  codec: Callable | None = None
  # (rng, x_train) -> params in closed form or by EM
  fit: Callable | None = None
  # no capability: the cond that means "no label", where the model may be asked without one, for it
  # takes no labels or its training dropped some; see `compat.null_label`
  null_label: int | None = None
  # no capability: (name, kw) of the sampler that the objective trained it for
  sampler: tuple | None = None


class Critic(NamedTuple):
  """What wiring hands to an adversarial objective."""

  init: Callable  # (rng, x, cond) -> params
  apply: Callable  # (params, x, cond, rng) -> [B], {path: new value of a running statistic}


class Aux(NamedTuple):
  """What a loss returns beside its scalar."""

  metrics: dict  # name -> mean of a [B]
  carry: Any = ()
  # {path: new value} of parameters that no player trains: running statistics, spectral vectors,
  # target networks
  writes: dict = {}


class Player(NamedTuple):
  """One loss, and the subtrees of the parameters that it alone may change."""

  name: str
  loss: Callable  # (params, carry, batch, rng, step) -> scalar, Aux
  trains: tuple[str, ...]  # disjoint between players: ('model',), ('critic',), ('model/schedule',)
  num_updates: int = 1  # per train step, each on its own slice of the batch


class Objective(NamedTuple):
  """A divergence made ready for one model: who plays, for what, and what stays meaningful."""

  init: Callable  # (rng, batch) -> {'model': params, 'critic': ..., ...}, carry
  players: tuple[Player, ...]
  model: Model  # the fields that this objective leaves meaningless are None
  fit: Callable | None = None  # in place of players: (rng, x_train) -> params
  # what makes the loss of a batch more than a mean over its examples ('' if nothing does)
  couples: str = ''


class TrainState(NamedTuple):
  """All that training changes. No rng: seed, step and slice give it."""

  step: Any  # int32 scalar
  params: dict  # {'model': ..., 'critic': ..., ...}
  opt_state: dict  # {player name: optax state over its subtrees}
  ema: Any  # like params['model'], or () when there is no average
  carry: Any  # what only the objective needs between steps: () or {'rows': ..., 'rest': ...}
  # int32 [2]: steps skipped for a loss or gradient that was not finite, in all and in a row up to
  # now; () where none may be
  skipped: Any = ()
