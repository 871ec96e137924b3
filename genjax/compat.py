"""Which pairs of model and objective (or evaluator) are legal on which data; checks of keywords.

All is decided before an array exists. ESTIMATORS = {name: Estimator(needs, make)}: a need is
'field', 'field|alternative' or 'data.property'. An estimator is legal if every need is met by one
of its alternatives. `have` is the set of provided names: the model's capabilities, and the data's
properties as 'data.NAME'. The order of ESTIMATORS is the order of preference.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping

from genjax import extension, ranges
from genjax.types import BadInput, Estimator, Model
from genjax.words import did_you_mean

Estimators = Mapping[str, Estimator]
# (needs, have -> whether the hint applies, what a user can do about it)
HINTS = (
    ({'data.image', 'data.coordinates'}, lambda have: 'data.code' in have,
     '  these data are codes of an autoencoder, and no decoder is here: decode the samples of an '
     'npz, and compare images'),
    ({'fixed_path', 'two_time'}, lambda have: 'diffusion' in have and 'fixed_path' not in have,
     "  its schedule is learned, which objective 'kl' alone trains; allowed here: a fixed "
     'model.schedule'))
# an annotation of a keyword argument -> the types of its values
_PLAIN = {bool: (bool,), int: (int,), float: (int, float), str: (str,), tuple: (tuple, list),
          type(None): (type(None),)}


def provides(model: Model, data_properties: Iterable[str] = ()) -> frozenset[str]:
  """The names that needs may ask for: {'sample', 'log_prob', ..., 'data.discrete', ...}.

  A diffusion adds those of 'denoise', 'two_time' and 'schedule_loss' that it has, and 'fixed_path'
  unless its schedule is learned.
  """
  names = {name for name, value in model._asdict().items() if value is not None}
  if model.diffusion is not None:
    parts = {name for name, value in model.diffusion._asdict().items() if value is not None}
    names |= parts & {'denoise', 'two_time', 'schedule_loss'}
    names |= set() if 'schedule_loss' in parts else {'fixed_path'}
  return frozenset(names - {'init', 'adapt', 'null_cond'}
                   | {f'data.{name}' for name in data_properties})


def missing(needs: tuple[str, ...], have: frozenset[str]) -> tuple[str, ...]:
  """The needs that `have` does not meet."""
  return tuple(need for need in needs if not set(need.split('|')) & have)


def legal(estimators: Estimators, have: frozenset[str]) -> tuple[str, ...]:
  """The estimators whose needs are all met, in order of preference."""
  return tuple(name for name, estimator in estimators.items()
               if not missing(estimator.needs, have))


def choose(kind: str, name: str, estimators: Estimators, have: frozenset[str], asked: str | None, *,
           model: str, data: str, others: Mapping[str, Estimators],
           models: Callable[[], Mapping]) -> str:
  """The name of the estimator to use: `asked`, or the first legal one.

  kind: 'objective' or 'evaluator'.
  name: of the objective or evaluator; estimators: its own.
  have: see `provides`.
  model, data: names for the message.
  others: {name: estimators} of everything of that kind.
  models: () -> {family: what it provides on these data}; called for a refusal only.
  Raises BadInput with the lines of `refusal`.
  """
  possible = legal(estimators, have)
  if asked and asked not in estimators:
    raise BadInput(f'{kind} {name!r} has no estimator {asked!r}; it has: {", ".join(estimators)}')
  if asked and asked in possible:
    return asked
  if possible and not asked:
    return possible[0]
  wanted = {asked: estimators[asked]} if asked else estimators
  raise BadInput(refusal(kind, name, wanted, have, model, data, others, models()))


def refusal(kind, name, estimators, have, model, data, others, models) -> str:
  """The message of a refusal: what is needed, what is provided, what would work instead."""
  properties = {n for n in have if n.startswith('data.')}
  usable = [n for n, other in others.items() if n != name and legal(other, have)]
  able = [n for n, fields in models.items()
          if n != model and legal(estimators, fields | properties)]
  wanted = {part for estimator in estimators.values() for need in estimator.needs
            for part in need.split('|')}
  hints = [hint for needed, there, hint in HINTS if needed & wanted and there(have)]
  return '\n'.join([
      f'{kind} {name!r} on model {model!r} and data {data!r} needs {_describe(estimators)}.',
      *hints,
      f'  provided      : {_names(have - properties)}; {_names(properties)}',
      f'  usable here   : {_names(usable)}',
      f'  models that can: {_names(able)}'])


def _names(names: Iterable[str]) -> str:
  return ', '.join(sorted(names)) or 'none'


def _describe(estimators: Estimators) -> str:
  parts = []
  for name, estimator in estimators.items():
    fields = ' and '.join(n.replace('|', ' or ') for n in estimator.needs)
    label = name.replace('_', ' ')
    parts.append(fields if name == fields else f'{fields} ({label})')
  return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} or {parts[-1]}'


def null_cond(model: Model, asked: str, otherwise: str) -> Callable:
  """The model's function n -> cond [n, ...] that means "no condition".

  asked: what needs it, in the user's words; otherwise: what else is allowed. Raises BadInput if
  training never dropped a condition: the embedding of "no label" is then still random.
  """
  if model.null_cond is not None:
    return model.null_cond
  raise BadInput(f'{asked} needs samples without a label, and this training never dropped one: '
                 f'"no label" is untrained; allowed: {otherwise}, or a training with '
                 'objective.label_dropout=0.1 (score_matching, mean_flow) or model.label_dropout='
                 '0.1 (autoregressive)')


def pick(kind: str, name: str, table: Mapping):
  """table[name], or for a name that ends in .py the part in that file.

  Raises BadInput, with the allowed names, for an unknown name.
  """
  if extension.is_kind(kind) and extension.is_path(name):
    return extension.entry(kind, name)
  if name in table:
    return table[name]
  raise BadInput(f'unknown {kind} {name!r}{did_you_mean(name, table)}; '
                 f'allowed: {", ".join(table)}'
                 f'{", or FILE.py" if extension.is_kind(kind) else ""}')


def check_keywords(what: str, make: Callable, offered: Iterable[str], given: Mapping,
                   owners: Mapping[str, Callable]) -> None:
  """Raises BadInput for a keyword that `make` does not take, a wrong type, a number out of range.

  what: for the message, as "objective 'kl'".
  offered: parameters that wiring passes and a config may not set.
  given: the config's keyword arguments.
  owners: {name: another make}, to say which part a stray keyword belongs to.
  """
  parameters = _parameters(make)
  taken = [p for p in parameters if p not in set(offered)]
  for key, value in given.items():
    if key not in taken:
      whose = [name for name, other in owners.items()
               if key not in offered and other is not make and key in _parameters(other)]
      owner = f' (a keyword of {", ".join(whose)})' if whose else ''
      raise BadInput(f'{what} takes no {key!r}{owner or did_you_mean(key, taken)}; '
                     f'it takes: {", ".join(taken) or "none"}')
    _check_type(f'{what}: {key}', value, parameters[key])
    interval = ranges.of_keyword(key, value, _least(parameters[key]))
    if interval:
      ranges.check(f'{what}: {key}', value, interval)


def bind(what: str, make: Callable, offered: Mapping, given: Mapping,
         owners: Mapping[str, Callable]):
  """make(**given, **those of `offered` that it names), after `check_keywords`."""
  check_keywords(what, make, offered, given, owners)
  named = _parameters(make)
  return make(**{k: v for k, v in offered.items() if k in named}, **given)


def owners(kind: str, table: Mapping) -> dict[str, Callable]:
  """{"objective 'kl' (exact)": its make, ...} for a table of modules with ESTIMATORS."""
  return {f'{kind} {name!r} ({each})': estimator.make for name, module in table.items()
          for each, estimator in module.ESTIMATORS.items()}


def arguments(make: Callable, given: Mapping) -> dict:
  """{parameter of make: its value in `given`, else its default}."""
  values = {name: given.get(name, p.default) for name, p in _parameters(make).items()}
  return {name: value for name, value in values.items() if value is not inspect.Parameter.empty}


def _parameters(make: Callable) -> Mapping[str, inspect.Parameter]:
  hidden = ('parent', 'name') if inspect.isclass(make) else ()  # fields of every flax module
  return {k: v for k, v in inspect.signature(make).parameters.items() if k not in hidden}


def _check_type(what: str, value, parameter: inspect.Parameter) -> None:
  """Raises BadInput unless the value has the type of the annotation, or of the default."""
  kinds, default = _kinds(parameter), parameter.default
  if not kinds or any(_is_of(value, kind) for kind in kinds):
    return
  words = ['None' if kind is type(None) else kind.__name__ if kind in _PLAIN else str(kind)
           for kind in kinds]
  example = '' if default in (None, inspect.Parameter.empty) else f', such as {default!r}'
  raise BadInput(f'{what}={ranges.shortened(value)} is of type {type(value).__name__}; '
                 f'allowed: {" or ".join(words)}{example}')


def _least(parameter: inspect.Parameter) -> int | None:
  """The least value of an integer: 1, or its default if that is less; None: not an integer."""
  kinds, default = _kinds(parameter), parameter.default
  if tuple[int, ...] not in kinds and (int not in kinds or float in kinds):
    return None
  return min(1, default) if type(default) is int else 1


def _kinds(parameter: inspect.Parameter) -> tuple:
  """The types that a parameter takes; () if one of them is not plain."""
  annotation, default = parameter.annotation, parameter.default
  if annotation is inspect.Parameter.empty:
    kinds = () if default in (None, inspect.Parameter.empty) else (type(default), type(None))
  else:
    kinds = typing.get_args(annotation) if type(annotation) is types.UnionType else (annotation,)
  return kinds if all((typing.get_origin(kind) or kind) in _PLAIN for kind in kinds) else ()


def _is_of(value, kind) -> bool:
  if (typing.get_origin(kind) or kind) is tuple:
    element = typing.get_args(kind)[:1]
    return type(value) in (tuple, list) and all(_is_of(v, element[0]) for v in value if element)
  return type(value) in _PLAIN[kind]
