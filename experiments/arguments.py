"""Checks of a command line before flags are parsed: length, nesting, flags that occur twice."""

import re
import sys

from absl import flags

from genjax.ranges import shortened
from genjax.types import BadInput

LONGEST = 4096  # characters of one argument: the longest path
DEEPEST = 32  # nested brackets


def check(argv: list[str], known, positional: bool) -> None:
  """Raises BadInput for arguments that must be a mistake.

  known: the program's flags by name. positional: whether it takes arguments that are no flags.
  """
  given = {}
  items, rest = _before(argv[1:], '--')
  for item in items:
    readable(item)
    name = _name(item, known)
    if name is None:
      continue
    if name in given:
      both = given[name] if given[name] == item else f'{given[name]} and {item}'
      raise BadInput(f'--{name} is given twice: {both}; allowed: once')
    given[name] = item
  for item in rest:
    readable(item)
  if not positional:
    _refuse_leftover(items, rest, known)


def readable(text: str) -> None:
  """Raises BadInput for a text that is too long, or whose brackets nest too deeply."""
  if len(text) > LONGEST:
    raise BadInput(f'{shortened(text)} is too long; allowed: at most {LONGEST:,} characters')
  depth = deepest = 0
  for sign in text:
    depth += (sign in '([{') - (sign in ')]}')
    deepest = max(deepest, depth)
  if deepest > DEEPEST:
    raise BadInput(f'{shortened(text)} has {deepest} brackets within each other; allowed: at most '
                   f'{DEEPEST}')


def _before(items: list[str], mark: str) -> tuple[list[str], list[str]]:
  at = items.index(mark) if mark in items else len(items)
  return items[:at], items[at + 1:]


def _name(item: str, known) -> str | None:
  """The name of the flag that an argument sets, 'config.KEY' for a config's; None: it sets none."""
  match = re.match(r'--?([^=]+)', item)
  if match is None:
    return None
  name = match[1]
  if name.startswith('config.') and 'config' in known:
    return name
  if name.startswith('no') and name not in known:
    name = name.removeprefix('no')
  return name if name in known else None


def _refuse_leftover(items: list[str], rest: list[str], known) -> None:
  """Raises BadInput for an argument that is neither a flag nor the value of the one before it."""
  takes_value = False
  for item in items:
    name = _name(item, known)
    if name is None and not item.startswith('-') and not takes_value:
      raise BadInput(f'{shortened(item)} is no flag, and this program takes only flags; allowed: '
                     '--FLAG=VALUE')
    is_switch = name in known and known[name].boolean
    takes_value = name is not None and '=' not in item and not is_switch
  if rest:
    raise BadInput(f'{shortened(rest[0])} comes after --; allowed: nothing, since this program '
                   'takes only flags')


def own() -> str:
  """The names of the program's own flags, comma-separated."""
  own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])  # absl's name of the main module
  return ', '.join(sorted(f'--{flag.name}' for flag in own)) or 'none'


def illegal(message: str) -> str:
  """absl's message, 'flag --config.seed=abc: invalid literal', with the allowed type."""
  name = message.partition('--')[2].partition('=')[0]
  if name not in flags.FLAGS:
    return message
  kind = 'dict' if 'ConfigDict' in message else flags.FLAGS[name].flag_type()
  return f'{message[0].lower()}{message[1:]} (allowed: {kind})'
