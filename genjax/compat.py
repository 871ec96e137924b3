"""Legality of model x objective (or evaluator) x data, and of kw, before an array exists.

NEEDS = {estimator: ('field', 'field|alternative', 'data.property', ...)}: all of these, each by
any of its alternatives. What is there is a set of names: the model's fields that are not None and
the data's properties, as 'data.NAME'. The order of NEEDS is the order of preference.
"""

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping

from genjax import ranges
from genjax.types import BadInput, Model

Needs = Mapping[str, tuple[str, ...]]
# an annotation of a kw -> the types of values that it takes
_PLAIN = {bool: (bool,), int: (int,), float: (int, float), str: (str,), tuple: (tuple, list),
          type(None): (type(None),)}


def provides(model: Model, data_properties: Iterable[str] = ()) -> frozenset[str]:
  """The names that NEEDS may ask for: {'sample', 'log_prob', ..., 'data.discrete', ...}."""
  fields = {name for name, value in model._asdict().items() if value is not None}
  return frozenset(fields - {'init', 'sampler', 'null_label'}
                   | {f'data.{name}' for name in data_properties})


def missing(needs: tuple[str, ...], have: frozenset[str]) -> tuple[str, ...]:
  """The requirements that `have` does not meet."""
  return tuple(need for need in needs if not set(need.split('|')) & have)


def legal(needs: Needs, have: frozenset[str]) -> tuple[str, ...]:
  """The estimators whose every requirement is met, in order of preference."""
  return tuple(name for name, needed in needs.items() if not missing(needed, have))


def choose(kind: str, name: str, needs: Needs, have: frozenset[str], kw: Mapping, *, model: str,
           data: str, others: Mapping[str, Needs], models: Callable[[], Mapping]) -> str:
  """The estimator to use: kw['estimator'], or the first legal one that kw does not set to False.

  kind: 'objective' or 'evaluator'; others: NEEDS of all of that kind; models: () -> what each
  family provides on this data, asked for a refusal only. Raises BadInput with the teaching lines.
  """
  possible = tuple(e for e in legal(needs, have) if kw.get(e) is not False)
  asked = kw.get('estimator')
  if asked and asked not in needs:
    raise BadInput(f'{kind} {name!r} has no estimator {asked!r}; it has: {", ".join(needs)}')
  if asked and asked in possible:
    return asked
  if possible and not asked:
    return possible[0]
  needs = {asked: needs[asked]} if asked else needs
  raise BadInput(refusal(kind, name, needs, have, model, data, others, models()))


def refusal(kind, name, needs, have, model, data, others, models) -> str:
  """The lines that teach: what is needed, what is there, what else can be done."""
  properties = {n for n in have if n.startswith('data.')}
  usable = [n for n, other in others.items() if n != name and legal(other, have)]
  able = [n for n, fields in models.items() if n != model and legal(needs, fields | properties)]
  wanted = {part for needed in needs.values() for need in needed for part in need.split('|')}
  coded = 'data.code' in have and wanted & {'data.image', 'data.coordinates'}
  return '\n'.join([
      f'{kind} {name!r} on model {model!r} and data {data!r} needs {_describe(needs)}.',
      *(['  these data are codes of an autoencoder, and no decoder is here: decode the '
         'samples of an npz, and compare images'] if coded else []),
      f'  provided      : {_names(have - properties)}; {_names(properties)}',
      f'  usable here   : {_names(usable)}',
      f'  models that can: {_names(able)}'])


def _names(names: Iterable[str]) -> str:
  return ', '.join(sorted(names)) or 'none'


def _describe(needs: Needs) -> str:
  parts = []
  for estimator, needed in needs.items():
    fields = ' and '.join(n.replace('|', ' or ') for n in needed)
    label = estimator.replace('_', ' ')
    parts.append(fields if estimator == fields else f'{fields} ({label})')
  return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} or {parts[-1]}'


def null_label(model: Model, asked: str, otherwise: str) -> int:
  """The cond that means "no label" to a model.

  asked: what needs it, in the user's words; otherwise: what else the user may ask for. Raises
  BadInput if training never dropped a label: the embedding of "no label" is then as random as it
  was initialised, and what comes of it is no unconditional model.
  """
  if model.null_label is not None:
    return model.null_label
  raise BadInput(f'{asked} needs samples without a label, and this training never dropped one: '
                 f'"no label" is untrained; allowed: {otherwise}, or a training with '
                 'objective.label_dropout=0.1 (score_matching, mean_flow) or model.label_dropout='
                 '0.1 (autoregressive)')


def pick(kind: str, name: str, table: Mapping):
  """table[name], or BadInput that names the allowed ones."""
  if name in table:
    return table[name]
  raise BadInput(f'unknown {kind} {name!r}{_did_you_mean(name, table)}; '
                 f'allowed: {", ".join(table)}')


def check_kw(kind: str, name: str, make: Callable, offered: Iterable[str], kw: Mapping,
             table: Mapping) -> None:
  """Refuses a kw that `make` does not take, one of a wrong type, and a number out of its range.

  offered: names that only wiring gives. table: {name: entry} of the kind, to say whose a stray kw
  is; an entry is a module with `make`, or the callable itself.
  """
  parameters = _parameters(make)
  taken = [p for p in parameters if p not in set(offered)]
  for key, value in kw.items():
    if key not in taken:
      owners = [n for n, entry in table.items()
                if n != name and key in _parameters(vars(entry).get('make', entry))]
      owner = f' (a kw of {", ".join(map(repr, owners))})' if owners else ''
      raise BadInput(f'{kind} {name!r} takes no {key!r}{_did_you_mean(key, taken) or owner}; '
                     f'it takes: {", ".join(taken) or "none"}')
    _check_type(f'{kind} {name!r}: {key}', value, parameters[key])
    interval = ranges.of_keyword(key, value, _least(parameters[key]))
    if interval:
      ranges.check(f'{kind} {name!r}: {key}', value, interval)


def bind(kind: str, name: str, make: Callable, offered: Mapping, kw: Mapping, table: Mapping):
  """make(**what it names of `offered`, **kw), after `check_kw`."""
  check_kw(kind, name, make, offered, kw, table)
  named = _parameters(make)
  return make(**{k: v for k, v in offered.items() if k in named}, **kw)


def arguments(make: Callable, given: Mapping) -> dict:
  """{parameter of make: its value}: of `given` what make names, else the parameter's default."""
  values = {name: given.get(name, p.default) for name, p in _parameters(make).items()}
  return {name: value for name, value in values.items() if value is not inspect.Parameter.empty}


def _parameters(make: Callable) -> Mapping[str, inspect.Parameter]:
  hidden = ('parent', 'name') if inspect.isclass(make) else ()  # fields of every flax module
  return {k: v for k, v in inspect.signature(make).parameters.items() if k not in hidden}


def _did_you_mean(name: str, known: Iterable[str]) -> str:
  close = difflib.get_close_matches(str(name), list(known), 1)
  return f' (did you mean {close[0]!r}?)' if close else ''


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
