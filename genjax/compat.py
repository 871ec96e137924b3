"""Legality of model x objective (or evaluator) x data, and of keywords, before an array exists.

ESTIMATORS = {name: Estimator(needs, make)}: needs are 'field', 'field|alternative' or
'data.property', and an estimator is legal where each of them is there by any of its alternatives.
What is there is a set of names: the model's capabilities and the data's properties, as 'data.NAME'.
The order of ESTIMATORS is the order of preference.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping

from genjax import extension, ranges
from genjax.types import BadInput, Estimator, Model
from genjax.words import did_you_mean

Estimators = Mapping[str, Estimator]
# (needs, what is there -> whether it is so, what a user can do about it)
HINTS = (
    ({'data.image', 'data.coordinates'}, lambda have: 'data.code' in have,
     '  these data are codes of an autoencoder, and no decoder is here: decode the samples of an '
     'npz, and compare images'),
    ({'fixed_path', 'two_time'}, lambda have: 'diffusion' in have and 'fixed_path' not in have,
     "  its schedule is learned, which objective 'kl' alone trains; allowed here: a fixed "
     'model.schedule'))
# an annotation of a kw -> the types of values that it takes
_PLAIN = {bool: (bool,), int: (int,), float: (int, float), str: (str,), tuple: (tuple, list),
          type(None): (type(None),)}


def provides(model: Model, data_properties: Iterable[str] = ()) -> frozenset[str]:
  """The names that needs may ask for: {'sample', 'log_prob', ..., 'data.discrete', ...}.

  Of a diffusion: 'denoise', 'two_time' and 'schedule_loss' where it has them, and 'fixed_path'
  where no schedule is learned.
  """
  names = {name for name, value in model._asdict().items() if value is not None}
  if model.diffusion is not None:
    parts = {name for name, value in model.diffusion._asdict().items() if value is not None}
    names |= parts & {'denoise', 'two_time', 'schedule_loss'}
    names |= set() if 'schedule_loss' in parts else {'fixed_path'}
  return frozenset(names - {'init', 'null_cond'} | {f'data.{name}' for name in data_properties})


def missing(needs: tuple[str, ...], have: frozenset[str]) -> tuple[str, ...]:
  """The requirements that `have` does not meet."""
  return tuple(need for need in needs if not set(need.split('|')) & have)


def legal(estimators: Estimators, have: frozenset[str]) -> tuple[str, ...]:
  """The estimators whose every requirement is met, in order of preference."""
  return tuple(name for name, estimator in estimators.items()
               if not missing(estimator.needs, have))


def choose(kind: str, name: str, estimators: Estimators, have: frozenset[str], asked: str | None, *,
           model: str, data: str, others: Mapping[str, Estimators],
           models: Callable[[], Mapping]) -> str:
  """The estimator to use: `asked`, or the first legal one.

  kind: 'objective' or 'evaluator'; others: the estimators of all of that kind; models: () -> what
  each family provides on this data, asked for a refusal only. Raises BadInput with the teaching
  lines.
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
  """The lines that teach: what is needed, what is there, what else can be done."""
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
  """n -> cond [n, ...] that means "no condition" to a model.

  asked: what needs it, in the user's words; otherwise: what else the user may ask for. Raises
  BadInput if training never dropped a condition: the embedding of "no label" is then as random as
  it was initialised, and what comes of it is no unconditional model.
  """
  if model.null_cond is not None:
    return model.null_cond
  raise BadInput(f'{asked} needs samples without a label, and this training never dropped one: '
                 f'"no label" is untrained; allowed: {otherwise}, or a training with '
                 'objective.label_dropout=0.1 (score_matching, mean_flow) or model.label_dropout='
                 '0.1 (autoregressive)')


def pick(kind: str, name: str, table: Mapping):
  """table[name], or the part in the file that a name ending in .py is a path to.

  Raises BadInput, with the allowed names, for another one.
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
  """Refuses a keyword that `make` does not take, a wrong type, and a number out of its range.

  what: 'objective 'kl''; offered: names that only wiring gives; owners: {whose: another make}, to
  say whose a stray keyword is.
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
  """make(**what it names of `offered`, **given), after `check_keywords`."""
  check_keywords(what, make, offered, given, owners)
  named = _parameters(make)
  return make(**{k: v for k, v in offered.items() if k in named}, **given)


def owners(kind: str, table: Mapping) -> dict[str, Callable]:
  """{"objective 'kl' (exact)": its make, ...} of a table of modules with ESTIMATORS."""
  return {f'{kind} {name!r} ({each})': estimator.make for name, module in table.items()
          for each, estimator in module.ESTIMATORS.items()}


def arguments(make: Callable, given: Mapping) -> dict:
  """{parameter of make: its value}: of `given` what make names, else the parameter's default."""
  values = {name: given.get(name, p.default) for name, p in _parameters(make).items()}
  return {name: value for name, value in values.items() if value is not inspect.Parameter.empty}


def _parameters(make: Callable) -> Mapping[str, inspect.Parameter]:
  hidden = ('parent', 'name') if inspect.isclass(make) else ()  # fields of every flax module
  return {k: v for k, v in inspect.signature(make).parameters.items() if k not in hidden}


def _check_type(what: str, value, parameter: inspect.Parameter) -> None:
  """Numbers for numbers, words for words: a kw has the type of its annotation, or its default."""
  kinds, default = _kinds(parameter), parameter.default
  if not kinds or any(_is_of(value, kind) for kind in kinds):
    return
  words = ['None' if kind is type(None) else kind.__name__ if kind in _PLAIN else str(kind)
           for kind in kinds]
  example = '' if default in (None, inspect.Parameter.empty) else f', such as {default!r}'
  raise BadInput(f'{what}={ranges.shortened(value)} is of type {type(value).__name__}; '
                 f'allowed: {" or ".join(words)}{example}')


def _least(parameter: inspect.Parameter) -> int | None:
  """Integers are sizes and counts, and so at least 1, or their default; None: no integers."""
  kinds, default = _kinds(parameter), parameter.default
  if tuple[int, ...] not in kinds and (int not in kinds or float in kinds):
    return None
  return min(1, default) if type(default) is int else 1


def _kinds(parameter: inspect.Parameter) -> tuple:
  """The types that a parameter takes; none where one of them is not plain."""
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
