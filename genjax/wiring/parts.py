"""The parts of a run by name: data, model, sampler, critic, objective, optimizers."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from genjax import compat, data
from genjax.compat import bind, check_kw, pick
from genjax.models import FAMILIES
from genjax.nn import NETWORKS
from genjax.numerics import guidance, streams
from genjax.numerics.samplers import DENOISING, FLOW_MAP, SAMPLERS
from genjax.objectives import OBJECTIVES
from genjax.train import optim
from genjax.types import BadInput, Critic, DataSpec, Model, Objective

SAMPLER_ARGS = ('denoise', 'flow_map', 'path', 'rng', 'x_T', 'cond', 'cost', 'reverse')


def plain(section) -> dict:
  """A config's kw as plain Python."""
  return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}


def without_estimator(given: Mapping) -> dict:
  """The kw beside 'estimator', which `choose` has read and wiring offers."""
  return {k: v for k, v in given.items() if k != 'estimator'}


def dataset(config) -> data.Dataset:
  """The data set that config.data names, in memory or memory-mapped."""
  return data.load(config.data.name, **plain(config.data.kw))


def family(name: str, spec: DataSpec, family_kw: Mapping) -> Model:
  """models/NAME.make(spec, **kw), before a sampler is added."""
  make = pick('model family', name, FAMILIES).make
  return bind('model', name, make, {'spec': spec}, family_kw, FAMILIES)


def suited(model: Model, name: str, sampler_kw: Mapping) -> tuple[str, dict]:
  """The sampler and its kw: `name`, or for '' the one that suits the model.

  That is the one that its objective trained it for, with the kw that come with it where none is
  given in their place; else ddim.
  """
  trained_for, its_kw = model.sampler or ('ddim', {})
  if name not in ('', trained_for):
    return name, dict(sampler_kw)
  # the steps and the times on the way are one choice
  if sampler_kw.get('times') is not None:
    its_kw = {k: v for k, v in its_kw.items() if k != 'num_steps'}
  return trained_for, {**its_kw, **sampler_kw}


def with_sampler(model: Model, spec: DataSpec, name: str, sampler_kw: Mapping, *,
                 weight: float = 1.0, interval: tuple[float, ...] = (),
                 guide: Model | None = None) -> Model:
  """Adds `sample` to a model with denoise or flow_map: the only place where a sampler meets one.

  name, sampler_kw: see `suited`. weight, interval: of the guidance, by no label or, where there is
  a `guide`, by its denoiser; then the parameters of `sample` are {'model': ..., 'guide': ...}.
  BadInput for a sampler of a denoiser on a model that has a flow map alone, and the reverse, and
  for guidance by a "no label" that no training has shown to the model.
  """
  name, sampler_kw = suited(model, name, sampler_kw)
  sampler = pick('sampler', name, SAMPLERS)
  check_kw('sampler', name, sampler, SAMPLER_ARGS, sampler_kw, SAMPLERS)
  interval = tuple(interval) or guidance.EVERYWHERE
  guidance.check(weight, interval)
  if name == 'ode' and weight != 1.0 and interval != guidance.EVERYWHERE:
    raise BadInput("sampler 'ode' takes no guidance interval: its error control cannot see the "
                   'jump at its ends; allowed: guidance at every noise, or another sampler')
  if model.sample is not None or (model.denoise, model.flow_map) == (None, None):
    return model
  if name in FLOW_MAP and weight != 1.0:
    raise BadInput(f'sampler {name!r} takes no guidance, which is of denoisers, but its weight is '
                   f'{weight}; allowed: 1.0')
  if (model.flow_map if name in FLOW_MAP else model.denoise) is None:
    lacks, table = (('flow_map', DENOISING) if name in FLOW_MAP else ('denoise', FLOW_MAP))
    raise BadInput(f'sampler {name!r} asks for {lacks}, which this model was not trained to give; '
                   f'allowed: {", ".join(table)}')
  no_label = None if weight == 1.0 or guide is not None else compat.null_label(
      model, f'guidance weight = {weight}', '1, or guidance by a worse run (--autoguidance)')

  has_learned = name == 'ddpm' and model.reverse is not None and weight == 1.0
  if sampler_kw:
    _try(sampler, spec, sampler_kw, has_learned)

  def guided(params, path):
    def denoiser(model, params):
      return lambda x_t, t, cond, rng: model.denoise(params, x_t, t, cond, rng)

    if guide is not None:
      return guidance.autoguidance(denoiser(model, params['model']),
                                   denoiser(guide, params['guide']), path, weight, interval)
    return guidance.classifier_free(denoiser(model, params), path, no_label, weight, interval)

  def sample(params, rng, n, cond):
    rng_T, rng = jax.random.split(rng)
    own = params if guide is None else params['model']

    def path(t):
      return model.path(own, t)

    _, sigma = path(jnp.ones((n,)))
    x_T = sigma.reshape(-1, *[1] * len(spec.shape)) * jax.random.normal(rng_T, (n, *spec.shape))
    if name in FLOW_MAP:
      mapped = lambda x_t, t, s, cond: model.flow_map(own, x_t, t, s, cond)
      return sampler(mapped, path, rng, x_T, cond, **sampler_kw)
    denoise, cost = guided(params, path)
    learned = {'reverse': lambda *args: model.reverse(own, *args)} if has_learned else {}
    return sampler(denoise, path, rng, x_T, cond, cost=cost, **learned, **sampler_kw)

  return model._replace(sample=sample)


def _try(sampler: Callable, spec: DataSpec, sampler_kw: Mapping, has_learned: bool) -> None:
  """Traces a sampler on a network that computes nothing, for what it refuses of its kw."""
  learned = {'reverse': lambda x_t, *_: (x_t, jnp.zeros_like(x_t))} if has_learned else {}

  def trace(rng, x_T):
    path = lambda t: (jnp.cos(0.5 * jnp.pi * t), jnp.sin(0.5 * jnp.pi * t))
    return sampler(lambda x_t, *_: x_t, path, rng, x_T, None, **learned,
                   **sampler_kw)[0]

  key = jax.eval_shape(lambda: streams.stream(0, streams.Purpose.TEST_DRAWS))
  jax.eval_shape(trace, key, jax.ShapeDtypeStruct((1, *spec.shape), jnp.float32))


def guidance_of(config) -> dict:
  """weight and interval of config.sampler.guidance; runs from before it have none."""
  given = plain(config.sampler.get('guidance', {}))
  return {'weight': float(given.get('weight', 1.0)), 'interval': tuple(given.get('interval', ()))}


def sampled(config, spec: DataSpec, made: Model) -> Model:
  """`made` with the sampler and the guidance of config.sampler.

  Where that names a worse run as guide, `sample` is what it was: `autoguided` adds it. cond None
  asks a conditional model for samples without a label: BadInput where it was not trained to.
  """
  guided, conditional = guidance_of(config), bool(config.model.kw.get('conditional'))
  chosen = config.sampler.name, plain(config.sampler.kw)
  made = made if conditional else made._replace(null_label=spec.num_classes)
  if config.sampler.get('guidance', {}).get('autoguidance'):
    with_sampler(made, spec, *chosen, **guided, guide=made)  # refuses what it does not take
    return made
  if guided['weight'] != 1.0 and not conditional:
    raise BadInput(f'guidance weight = {guided["weight"]}, but model.kw.conditional is not True; '
                   'allowed: 1, or guidance by a worse run (--autoguidance)')
  made = with_sampler(made, spec, *chosen, **guided)
  return _unlabelled(made) if conditional and made.sample is not None else made


def autoguided(config, spec: DataSpec, made: Model, guide: Model) -> Model:
  """`made` with the sampler of config guided by another model's denoiser, on the same path."""
  both = made.null_label if guide.null_label is not None else None
  model = with_sampler(made._replace(sample=None, null_label=both), spec, config.sampler.name,
                       plain(config.sampler.kw), **guidance_of(config), guide=guide)
  return _unlabelled(model) if config.model.kw.get('conditional') else model


def _unlabelled(model: Model) -> Model:
  """The model, of which `sample` takes cond None for "no label", if it was trained with that."""
  def sample(params, rng, n, cond):
    if cond is None:
      cond = jnp.full(n, compat.null_label(model, 'cond=None', 'a label each'), jnp.int32)
    return model.sample(params, rng, n, cond)

  return model._replace(sample=sample)


def critic(config, spec: DataSpec) -> Critic:
  """The network of config.critic as a function of x and the label (one-hot, beside x)."""
  name = config.critic.network
  network = bind('critic network', name, pick('critic network', name, NETWORKS), {'out': 1},
                 plain(config.critic.kw), NETWORKS)

  def inputs(x, cond):
    x = x.reshape(x.shape[0], -1)
    if cond is None:
      return x
    return jnp.concatenate([x, jax.nn.one_hot(cond, spec.num_classes)], -1)

  def init(rng, x, cond):
    return network.init(rng, inputs(x, cond))['params']

  def apply(params, x, cond, rng):
    del rng
    return network.apply({'params': params}, inputs(x, cond))[:, 0], {}

  return Critic(init, apply)


def provided(spec: DataSpec) -> dict[str, frozenset[str]]:
  """What each family provides on such data with its default kw; families that refuse are absent."""
  found = {}
  for name in FAMILIES:
    try:
      made = with_sampler(family(name, spec, {}), spec, '', {})
    except BadInput:
      continue
    found[name] = compat.provides(made)
  return found


def choose(kind: str, name: str, table: Mapping, model: Model, family: str, dataset,
           given: Mapping) -> str:
  """The estimator of an objective or evaluator on this model and data, or the teaching refusal."""
  return compat.choose(
      kind, name, pick(kind, name, table).NEEDS,
      compat.provides(model, data.properties(dataset)), given, model=family,
      data=dataset.name, others={n: m.NEEDS for n, m in table.items()},
      models=lambda: provided(dataset.spec))


def objective(config, dataset: data.Dataset) -> tuple[Objective, str]:
  """The objective of config on its model and data, and the estimator that was chosen.

  Its model has the sampler of config: which one suits it is known once it is trained for something.
  """
  spec, name, objective_kw = dataset.spec, config.objective.name, plain(config.objective.kw)
  made = family(config.model.family, spec, plain(config.model.kw))
  estimator = choose('objective', name, OBJECTIVES, with_sampler(made, spec, '', {}),
                     config.model.family, dataset, objective_kw)
  offered = {'model': made, 'spec': spec, 'estimator': estimator,
             'log_density': dataset.log_density, 'critic': critic(config, spec),
             'init_from': config.get('init_from', '')}
  goal = bind('objective', name, OBJECTIVES[name].make, offered, without_estimator(objective_kw),
              OBJECTIVES)
  return goal._replace(model=sampled(config, spec, goal.model)), estimator


def optimizers(config, objective: Objective) -> dict:
  """{player: optimizer} by `settings`."""
  players = {p.name: p for p in objective.players}
  for name, override in config.optim_by_player.items():
    stray = {k for k, v in override.items() if v is not None}
    if stray and objective.players and name not in players:
      raise BadInput(f'optim_by_player.{name}.{sorted(stray)[0]} is set, but the players of '
                     f'{config.objective.name!r} are: {", ".join(players)}')
  return {name: optim.make(**settings(config, name), num_updates=config.steps * player.num_updates)
          for name, player in players.items()}


def settings(config, player: str) -> dict:
  """config.optim, overridden by config.optim_by_player.PLAYER."""
  override = config.optim_by_player.get(player, {})
  return {**config.optim, **{k: v for k, v in override.items() if v is not None}}


def warmup_beyond_the_run(config, objective: Objective) -> str:
  """What a warmup that is longer than the run means, in a line; '' if there is none."""
  for player in objective.players:
    of, updates = settings(config, player.name), config.steps * player.num_updates
    if of['warmup'] > updates:
      return (f'optim.warmup={of["warmup"]} is more than the {updates} updates of the run, whose '
              f'learning rate ends at {updates / of["warmup"]:.2g} of optim.lr')
  return ''
