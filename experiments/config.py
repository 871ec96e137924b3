"""The arguments --config=FILE.py:ARGUMENT and --config.KEY=VALUE of a command line.

ml_collections reads a correct one; here what it would refuse with a traceback is a BadInput, keys
that are new in sections named `kw` are taken out, and shipped configs are found everywhere.
"""

import re

from genjax import configs, shipped
from genjax.types import BadInput

CONFIG = re.compile(r'--?config(?:=(.*))?', re.DOTALL)
OVERRIDE = re.compile(r'--?config\.([^=\s]+)(?:=(.*))?', re.DOTALL)
# words and paths of files of a tuple that is given without brackets
WORDS = re.compile(r'([a-z]\w*|[^\s,\'"()]+\.py)(,([a-z]\w*|[^\s,\'"()]+\.py))*,?')


def split_new(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
  """Checks every --config.KEY against the --config before it, and takes the new ones out of argv.

  Returns argv without them, in which a shipped config stands with its whole path, and
  [(key, text), ...] for `configs.set_new`. Raises BadInput.
  """
  config, kept, new, rest = None, [], [], iter(argv)
  for item in rest:
    file, match = CONFIG.fullmatch(item), OVERRIDE.fullmatch(item)
    if file:
      text = next(rest, '') if file[1] is None else file[1]
      config = configs.load(text)
      path, *argument = text.split(':', 1)
      kept.append(f'--config={":".join([shipped.find(path), *argument])}')
      continue
    if match and config is None:
      raise BadInput(f'{item} stands before --config=FILE.py')
    if match and not configs.check_key(config, match[1]):
      new.append((match[1], next(rest, '') if match[2] is None else match[2]))
    else:
      kept.append(_quoted(config, match[1], match[2]) if match and match[2] else item)
  return kept, new


def _quoted(config, key: str, text: str) -> str:
  """--config.KEY=TEXT, where a tuple given as bare words, `a,b`, becomes ('a', 'b')."""
  section, last = configs.section_of(config, key)
  if section.get_type(last) is tuple and WORDS.fullmatch(text):
    text = repr(tuple(text.rstrip(',').split(',')))
  return f'--config.{key}={text}'
