"""The contract: families, objectives and training states, as tuples of pure functions.

A field that is None is a capability that is absent: capability is data. Log-probabilities are in
nats; x is float32 on the grid of `DataSpec.levels` (see `genjax.prob`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class BadInput(ValueError):
  """A user's mistake. The message names the offending value and the allowed ones."""


class DataSpec(NamedTuple):
  """What every make(...) knows about the data; static."""

  shape: tuple[int, ...]  # of one example, e.g. (8, 8, 1)
  levels: int | None  # L: x lies on the grid 2 k / (L - 1) - 1, k = 0..L-1; None: continuous x
  # cond: int32 [B] in 0..num_classes-1; num_classes itself is "no label"
  num_classes: int | None = None
  # cond: float32 [B, context], a row of NaN is "no condition"; at most one of the two is set
  context: int | None = None


class Denoised(NamedTuple):
  """The output of a denoiser at x_t."""

  x_0: Any  # E[x_0 | x_t], float32 [B, ...]
  # [B, ...] in [0, 1], if the variance of the reverse step is learned: where its logarithm lies
  # between that of the posterior's variance (0) and of the upper one (1) (2102.09672, Eq. 15)
  variance_share: Any = None


class TwoTimes(NamedTuple):
  """A denoiser conditioned on a target time too; it has parameters of its own."""

  # (rng, batch) -> params
  init: Callable
  # (params, x_t, t [B], s [B], cond, rng) -> float32 x_hat with which one DDIM step leads from x_t
  # to x_s, s <= t; for s = t it is E[x_0 | x_t]
  denoise: Callable


class Diffusion(NamedTuple):
  """The capabilities that only a Gaussian path has. None: absent."""

  # (params, t [B]) -> alpha [B], sigma [B] of q(x_t | x_0); fixed paths ignore params
  path: Callable
  # (params, x_t, t [B], cond, rng) -> Denoised; rng None: dropout off. The field is None after a
  # training for few steps only
  denoise: Callable | None
  # the same network with a target time, from which an objective may train a flow map
  two_time: TwoTimes | None = None
  # (params, batch, rng) -> [B]: the loss that params['schedule'] minimises, other params fixed
  schedule_loss: Callable | None = None
  # number of steps T of the reverse chain whose variances are learned (`Denoised.variance_share`)
  learned_variance_steps: int | None = None


class Latents(NamedTuple):
  """The latent variables z of a model: an array [B, d], or a tree of arrays [B, ...]."""

  # (params, batch, rng) -> z from q(z | x), differentiable in params; rng None: a central
  # point of q, without dropout: its mean, of several layers the means in turn, or where a flow
  # takes the mean of its base
  infer: Callable
  # (params, batch, rng, z) -> log q(z | x) [B] in nats; rng: that of `infer`, for its dropout
  log_q: Callable
  # (params, batch, z) -> log p(x, z) [B] in nats
  log_joint: Callable
  # (params, z, cond) -> E[x | z] [B, ...]
  decode: Callable


class Model(NamedTuple):
  """A family: what can be computed with its parameters. None: it cannot."""

  # (rng, batch) -> params; traceable: eval_shape(init) allocates nothing
  init: Callable
  # (params, rng, n, cond) -> x [n, ...], number of network evaluations (a scalar, or [n]); at any
  # cost. Random draws have the n samples as their leading axis (numerics/streams.py: of_rows)
  sample: Callable | None = None
  # (params, rng, n, cond) -> x [n, ...]; one pass, differentiable in params
  rsample: Callable | None = None
  # (params, batch, rng) -> [B] nats, exact
  log_prob: Callable | None = None
  # (params, batch, rng) -> {term: [B] nats}; their sum estimates log p(x) without bias, or with
  # levels a lower bound on it (Hutchinson's trace of a continuous flow)
  log_prob_estimate: Callable | None = None
  # (params, batch, rng) -> {term: [B] nats}; their sum is a lower bound on log p(x)
  elbo: Callable | None = None
  # (params, batch, rng) -> [B] nats with E exp(.) = p(x): IWAE, AIS over latents
  log_weight: Callable | None = None
  latents: Latents | None = None
  # (params, rng, n, cond) -> x, [n] nats; pathwise differentiable
  sample_and_log_prob: Callable | None = None
  # (params, x, cond) -> [B] nats, -log p(x) + const
  energy: Callable | None = None
  diffusion: Diffusion | None = None
  # (params, x_t, t [B], s [B], cond) -> x_s: consistency, MeanFlow, distilled students
  flow_map: Callable | None = None
  # (params, rng, x [n, ...], number, cond) -> x with that many first elements in raster order as
  # they were and the others drawn given them, number of network evaluations
  complete: Callable | None = None
  # (rng, x_train) -> params in closed form or by EM
  fit: Callable | None = None
  # (forward, inverse) of a flow: (params, x, cond) -> z [B, D], and (params, z, cond) -> x
  bijection: tuple[Callable, Callable] | None = None
  # (params, rng, batch) -> params that suit the first batch (actnorm of a flow); training calls it
  # once, on fresh parameters
  adapt: Callable | None = None
  # n -> cond that means "no condition": for models without a condition, and for those whose
  # training dropped some; see `compat.null_cond`
  null_cond: Callable | None = None


class Network(NamedTuple):
  """A network whose sizes are set; wiring passes it to the part that names its role.

  Its inputs depend on its kind (see `genjax.nn`): x, cond, or for a denoiser x_t, t, cond. cond may
  be None.
  """

  init: Callable  # (rng, *inputs) -> params; only the shapes of the inputs matter
  # (params, *inputs, rng=None, train=False) -> output, writes. writes: {path: new value} of running
  # statistics and spectral vectors if train, else {}. rng: for dropout; None: off
  apply: Callable
  # causal networks only: start(params, cond, batch_size) -> cache; step(params, cache, token [B],
  # i) -> output [B, out] for token i given token i - 1, cache; dropout is off
  start: Callable | None = None
  step: Callable | None = None
  # of a cache with a place for each token: (cache, length) -> the same with that many places, at
  # first it has none; None: its size does not depend on the number of tokens
  grow: Callable | None = None


class Aux(NamedTuple):
  """What a loss returns next to its scalar."""

  metrics: dict  # {name: mean over the examples}
  carry: Any = ()
  # {path: new value} of parameters that no player trains: running statistics, spectral vectors,
  # target networks
  writes: dict = {}


class Player(NamedTuple):
  """One loss, and the subtrees of the parameters that only it may change."""

  name: str
  loss: Callable  # (params, carry, batch, rng, step) -> scalar, Aux
  trains: tuple[str, ...]  # disjoint between players: ('model',), ('critic',), ('model/schedule',)
  num_updates: int = 1  # per train step, each on its own slice of the batch


class Estimator(NamedTuple):
  """One way to compute an objective or an evaluator."""

  # capabilities, each 'field' or 'field|alternative' of `compat.provides`; all are needed
  needs: tuple[str, ...]
  # (model, *, spec, its own keyword arguments) -> Objective; for evaluators: see `genjax.evals`
  make: Callable
  # what an evaluator sees: a 'model', or 'samples' of any origin
  of: str = 'model'


class Objective(NamedTuple):
  """A divergence for one model: its players, and what of the model stays meaningful."""

  init: Callable  # (rng, batch) -> {'model': params, 'critic': ..., ...}, carry
  players: tuple[Player, ...]
  model: Model  # the fields that this objective leaves meaningless are None
  fit: Callable | None = None  # instead of players: (rng, x_train) -> params
  # why the loss of a batch is not a mean over its examples; '': it is one
  couples: str = ''
  sampler: tuple | None = None  # (name, keyword arguments) for which the model was trained


class TrainState(NamedTuple):
  """Everything that training changes. No rng: seed, step and slice determine it."""

  step: Any  # int32 scalar
  params: dict  # {'model': ..., 'critic': ..., ...}
  opt_state: dict  # {player name: optax state over its subtrees}
  ema: Any  # like params['model'], or () without an average
  carry: Any  # what only the objective needs between steps: () or {'rows': ..., 'rest': ...}
  # int32 [2]: number of steps skipped for a non-finite loss or gradient, in total and in a row
  # until now; () if none may be skipped
  skipped: Any = ()
