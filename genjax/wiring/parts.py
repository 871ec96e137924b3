"""The parts of a run by name: data, model, sampler, objective, optimizers."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp

from genjax import compat, data, extension
from genjax.compat import bind, check_keywords, pick
from genjax.models import FAMILIES, sampling
from genjax.nn import NETWORKS, ROLES
from genjax.numerics import conditions, guidance, streams
from genjax.numerics.samplers import DENOISING, FLOW_MAP, SAMPLERS
from genjax.objectives import OBJECTIVES
from genjax.train import optim
from genjax.types import BadInput, DataSpec, Model, Objective
from genjax.wiring import networks

SAMPLER_ARGS = ('denoise', 'flow_map', 'path', 'rng', 'x_T', 'cond', 'cost', 'reverse')


def plain(section) -> dict:
  """The keyword arguments of a config section as a plain dict."""
  return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}


def dataset(config) -> data.Dataset:
  """The data set that config.data names, in memory or memory-mapped."""
  return data.load(config.data.name, **plain(config.data.kw))


def spec_of_model(config, spec: DataSpec) -> DataSpec:
  """The spec for the model, which has the condition of the data only if config.conditional.

  Raises BadInput if the data have no condition, or the family no network that takes it.
  """
  if not config.conditional:
    return spec._replace(num_classes=None, context=None)
  if conditions.null(spec) is None:
    raise BadInput('conditional=True, but the data have no labels; allowed: False')
  name = config.model.family
  if not networks.roles(pick('model family', name, FAMILIES).make):
    raise BadInput(f'conditional=True, but model {extension.stem(name)!r} has no network that '
                   'could take a label; allowed: False')
  return spec


def sections(config) -> dict:
  """config.networks as plain Python: {role: {'name', 'kw'}}."""
  return {role: {'name': section.name, 'kw': plain(section.kw)}
          for role, section in config.networks.items()}


def model_roles(config) -> tuple[str, ...]:
  """The roles of the networks in the model."""
  return networks.of_family(config.model.family, config.model.kw)


def family(name: str, spec: DataSpec, given: Mapping, by_role: Mapping = MappingProxyType({}),
           ) -> Model:
  """models/NAME.make(spec, its networks, **given), before a sampler is added.

  by_role: see `sections`; a role without an entry gets the default network for the data.
  """
  make = pick('model family', name, FAMILIES).make
  owners = {**{f'model {other!r}': module.make for other, module in FAMILIES.items()},
            **{f'the network {role}={other}': module for role in networks.roles(make)
               for other, module in NETWORKS[ROLES[role]].items()}}
  return bind(f'model {extension.stem(name)!r}', make,
              {'spec': spec, **networks.factories(by_role, spec)}, given, owners)


def suited(trained_for: tuple | None, name: str, given: Mapping) -> tuple[str, dict]:
  """(name of the sampler, its keyword arguments); name '': the one that suits the model.

  trained_for: `Objective.sampler`, which suits, with default keyword arguments; None: ddim.
  """
  default, default_kw = trained_for or ('ddim', {})
  if name not in ('', default):
    return name, dict(given)
  # times determine the number of steps
  if given.get('times') is not None:
    default_kw = {k: v for k, v in default_kw.items() if k != 'num_steps'}
  return default, {**default_kw, **given}


def with_sampler(model: Model, spec: DataSpec, name: str, given: Mapping, *, weight: float = 1.0,
                 interval: tuple[float, ...] = (), guide: Model | None = None) -> Model:
  """The model, with `sample` if it has a denoiser or a flow map.

  name, given: see `suited`. weight, interval, guide: guidance, see `sampling.by_denoiser`. Raises
  BadInput if the model lacks the denoiser or flow map that the sampler needs, and for guidance if
  the model was never trained without a label.
  """
  sampler = pick('sampler', name, SAMPLERS)
  name, is_map = extension.stem(name), takes_flow_map(sampler)
  check_keywords(f'sampler {name!r}', sampler, SAMPLER_ARGS, given,
                 {f'sampler {other!r}': each for other, each in SAMPLERS.items()})
  interval = tuple(interval) or guidance.EVERYWHERE
  guidance.check(weight, interval)
  if name == 'ode' and weight != 1.0 and interval != guidance.EVERYWHERE:
    raise BadInput("sampler 'ode' takes no guidance interval: its error control cannot see the "
                   'jump at its ends; allowed: guidance at every noise, or another sampler')
  if model.sample is not None or model.diffusion is None:
    return model
  if is_map and weight != 1.0:
    raise BadInput(f'sampler {name!r} takes no guidance, which is for denoisers, but its weight is '
                   f'{weight}; allowed: 1.0')
  if (model.flow_map if is_map else model.diffusion.denoise) is None:
    lacks, table = ('flow_map', DENOISING) if is_map else ('denoise', FLOW_MAP)
    raise BadInput(f'sampler {name!r} asks for {lacks}, which this model was not trained to give; '
                   f'allowed: {", ".join(table)}')
  null = None if weight == 1.0 or guide is not None else compat.null_cond(
      model, f'guidance weight = {weight}', '1, or guidance by a worse run (--autoguidance)')
  learned = (name == 'ddpm' and model.diffusion.learned_variance_steps is not None
             and weight == 1.0)
  if given:
    _try(sampler, spec, given, learned)
  if is_map:
    return sampling.by_flow_map(model, spec, sampler, given)
  return sampling.by_denoiser(model, spec, sampler, given, weight=weight, interval=interval,
                              guide=guide, null=null, learned_variance=learned)


def takes_flow_map(sampler: Callable) -> bool:
  """Whether the first argument of a sampler is a flow map rather than a denoiser."""
  return next(iter(inspect.signature(sampler).parameters)) == 'flow_map'


def _try(sampler: Callable, spec: DataSpec, given: Mapping, learned_variance: bool) -> None:
  """Traces a sampler with a trivial denoiser, so that it raises for bad keyword arguments."""
  learned = {'reverse': lambda x_t, *_: (x_t, jnp.zeros_like(x_t))} if learned_variance else {}

  def trace(rng, x_T):
    path = lambda t: (jnp.cos(0.5 * jnp.pi * t), jnp.sin(0.5 * jnp.pi * t))
    return sampler(lambda x_t, *_: x_t, path, rng, x_T, None, **learned,
                   **given)[0]

  key = jax.eval_shape(lambda: streams.stream(0, streams.Purpose.TEST_DRAWS))
  jax.eval_shape(trace, key, jax.ShapeDtypeStruct((1, *spec.shape), jnp.float32))


def guidance_of(config) -> dict:
  """{'weight', 'interval'} of config.sampler.guidance, with defaults."""
  given = plain(config.sampler.guidance)
  return {'weight': float(given.get('weight', 1.0)), 'interval': tuple(given.get('interval', ()))}


def sampled(config, spec: DataSpec, objective: Objective) -> Model:
  """The model of an objective with the sampler and the guidance of config.sampler.

  If config.sampler names a worse run as guide, `sample` is unchanged: `autoguided` sets it. cond
  None means "no label" to `sample`, which raises BadInput if the model was not trained for that.
  """
  guided, conditional = guidance_of(config), config.conditional
  chosen = suited(objective.sampler, config.sampler.name, plain(config.sampler.kw))
  null = {} if conditional else {'null_cond': conditions.null(spec)}
  model = objective.model._replace(**null)
  if config.sampler.guidance.get('autoguidance'):
    with_sampler(model, spec, *chosen, **guided, guide=model)  # only to raise BadInput
    return model
  if guided['weight'] != 1.0 and not conditional:
    raise BadInput(f'guidance weight = {guided["weight"]}, but conditional is not True; '
                   'allowed: 1, or guidance by a worse run (--autoguidance)')
  model = with_sampler(model, spec, *chosen, **guided)
  return _unlabelled(model) if conditional and model.sample is not None else model


def autoguided(config, spec: DataSpec, objective: Objective, model: Model, guide: Model) -> Model:
  """`model` with the sampler of config, guided by the denoiser of `guide` on the same path."""
  both = model.null_cond if guide.null_cond is not None else None
  chosen = suited(objective.sampler, config.sampler.name, plain(config.sampler.kw))
  model = with_sampler(model._replace(sample=None, null_cond=both), spec, *chosen,
                       **guidance_of(config), guide=guide)
  return _unlabelled(model) if config.conditional else model


def _unlabelled(model: Model) -> Model:
  """The model, whose `sample` takes cond None as "no label" if it was trained with that."""
  def sample(params, rng, n, cond):
    if cond is None:
      cond = compat.null_cond(model, 'cond=None', 'a label each')(n)
    return model.sample(params, rng, n, cond)

  return model._replace(sample=sample)


def provided(spec: DataSpec) -> dict[str, frozenset[str]]:
  """{family: what it provides by default on such data}, without families that refuse the data."""
  by_family = {}
  for name in FAMILIES:
    try:
      model = with_sampler(family(name, spec, {}), spec, 'ddim', {})
    except BadInput:
      continue
    by_family[name] = compat.provides(model)
  return by_family


def choose(kind: str, name: str, table: Mapping, model: Model, family: str, dataset,
           asked: str | None) -> str:
  """The name of the estimator of an objective or evaluator; see `compat.choose`."""
  return compat.choose(
      kind, extension.stem(name), pick(kind, name, table).ESTIMATORS,
      compat.provides(model, data.properties(dataset)), asked, model=extension.stem(family),
      data=dataset.name, others={n: m.ESTIMATORS for n, m in table.items()},
      models=lambda: provided(dataset.spec))


def objective(config, dataset: data.Dataset) -> tuple[Objective, str]:
  """(objective, name of its estimator) of config on its model and data.

  The objective's model has the sampler of config, since only the objective knows which one suits.
  """
  spec = spec_of_model(config, dataset.spec)
  name, given = config.objective.name, plain(config.objective.kw)
  estimators = pick('objective', name, OBJECTIVES).ESTIMATORS
  by_role, family_name = sections(config), config.model.family
  model = family(family_name, spec, plain(config.model.kw), by_role)
  estimator = choose('objective', name, OBJECTIVES, with_sampler(model, spec, 'ddim', {}),
                     family_name, dataset, given.pop('estimator', None))
  make = estimators[estimator].make
  networks.refuse_strays(by_role, networks.of_run(family_name, config.model.kw, name, estimator),
                         f'model {extension.stem(family_name)!r} under objective '
                         f'{extension.stem(name)!r} ({estimator})')
  offered = {'model': model, 'spec': spec, 'log_density': dataset.log_density,
             'init_from': config.init_from, **networks.factories(by_role, spec)}
  ready = bind(f'objective {extension.stem(name)!r} ({estimator})', make, offered, given,
               compat.owners('objective', OBJECTIVES))
  return ready._replace(model=sampled(config, dataset.spec, ready)), estimator


def optimizers(config, objective: Objective) -> dict:
  """{player: optimizer}; see `settings`."""
  players = {p.name: p for p in objective.players}
  for name, override in config.optim_by_player.items():
    stray = {k for k, v in override.items() if v is not None}
    if stray and objective.players and name not in players:
      raise BadInput(f'optim_by_player.{name}.{sorted(stray)[0]} is set, but the players of '
                     f'{extension.stem(config.objective.name)!r} are: {", ".join(players)}')
  return {name: optim.make(**settings(config, name), num_updates=config.steps * player.num_updates)
          for name, player in players.items()}


def settings(config, player: str) -> dict:
  """config.optim, overridden by config.optim_by_player.PLAYER."""
  override = config.optim_by_player.get(player, {})
  return {**config.optim, **{k: v for k, v in override.items() if v is not None}}


def warmup_beyond_the_run(config, objective: Objective) -> str:
  """A message about a warmup that is longer than the run; '' if it is not."""
  for player in objective.players:
    warmup, updates = settings(config, player.name)['warmup'], config.steps * player.num_updates
    if warmup > updates:
      return (f'optim.warmup={warmup} is more than the {updates} updates of the run, whose '
              f'learning rate ends at {updates / warmup:.2g} of optim.lr')
  return ''
