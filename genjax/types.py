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
  # cond: int32 [B] in 0..num_classes-1; num_classes itself is "no label"
  num_classes: int | None = None
  # cond: float32 [B, context], a row of NaN is "no condition"; at most one of the two is set
  context: int | None = None


class Denoised(NamedTuple):
  """What a denoiser says of x_t."""

  x_0: Any  # E[x_0 | x_t], float32 [B, ...]
  # [B, ...] in [0, 1]: how far log variance of the reverse step is from the posterior's to the
  # upper one, where it is learned (2102.09672, Eq. 15)
  variance_share: Any = None


class TwoTimes(NamedTuple):
  """A denoiser that is also told the time to go to; its parameters are of its own kind."""

  # as that of the Model
  init: Callable
  # (params, x_t, t [B], s [B], cond, rng) -> what one DDIM step takes for x_0 to lead from x_t to
  # x_s, s <= t, float32; at s = t it is E[x_0 | x_t]
  denoise: Callable


class Diffusion(NamedTuple):
  """Everything that only a Gaussian path has. None: a capability that is absent."""

  # (params, t [B]) -> alpha [B], sigma [B] of q(x_t | x_0); fixed paths ignore params
  path: Callable
  # (params, x_t, t [B], cond, rng) -> Denoised; rng None: dropout off. None: after training for
  # few steps alone
  denoise: Callable | None
  # the same network with a target time, which an objective may train a flow map with
  two_time: TwoTimes | None = None
  # (params, batch, rng) -> [B]: what params['schedule'] minimises, for the rest of them as it is
  schedule_loss: Callable | None = None
  # T of the reverse chain whose variances the network learns (`Denoised.variance_share`)
  learned_variance_steps: int | None = None


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
  # (params, batch, rng) -> [B] nats with E exp(.) = p(x): IWAE, AIS over latents
  log_weight: Callable | None = None
  # (params, rng, n, cond) -> x, [n] nats; pathwise differentiable
  sample_and_log_prob: Callable | None = None
  # (params, x, cond) -> [B] nats, -log p(x) + const
  energy: Callable | None = None
  diffusion: Diffusion | None = None
  # (params, x_t, t [B], s [B], cond) -> x_s: consistency, MeanFlow, distilled students
  flow_map: Callable | None = None
  # (rng, x_train) -> params in closed form or by EM
  fit: Callable | None = None
  # n -> cond that means "no condition", where the model may be asked without one, for it takes none
  # or its training dropped some; see `compat.null_cond`
  null_cond: Callable | None = None


class Network(NamedTuple):
  """What wiring hands to who names a role: a network whose sizes are set (see `genjax.nn`).

  The inputs are those of its kind: x, cond, or x_t, t, cond of a denoiser; cond may be None.
  """

  init: Callable  # (rng, *inputs) -> params; of the inputs the shapes alone matter
  # (params, *inputs, rng=None, train=False) -> output, {path: new value} of running statistics and
  # spectral vectors, where train; rng: of dropout, None: off
  apply: Callable
  # of a causal network: (params, cond, batch_size) -> cache, and (params, cache, token [B], i) ->
  # output [B, out] for token i given that of i - 1, cache; dropout is off
  start: Callable | None = None
  step: Callable | None = None


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


class Estimator(NamedTuple):
  """One way to compute an objective or an evaluator."""

  # capabilities, 'field' or 'field|alternative' of `compat.provides`: all of them are needed
  needs: tuple[str, ...]
  # (model, *, spec, its own keyword arguments) -> Objective; of an evaluator: see `genjax.evals`
  make: Callable
  # what an evaluator sees: a 'model', or 'samples', whoever made them
  of: str = 'model'


class Objective(NamedTuple):
  """A divergence made ready for one model: who plays, for what, and what stays meaningful."""

  init: Callable  # (rng, batch) -> {'model': params, 'critic': ..., ...}, carry
  players: tuple[Player, ...]
  model: Model  # the fields that this objective leaves meaningless are None
  fit: Callable | None = None  # in place of players: (rng, x_train) -> params
  # what makes the loss of a batch more than a mean over its examples ('' if nothing does)
  couples: str = ''
  sampler: tuple | None = None  # (name, keyword arguments) that it trained the model for


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
