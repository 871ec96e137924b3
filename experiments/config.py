"""The arguments --config=FILE.py:ARGUMENT and --config.KEY=VALUE of a command line.

ml_collections reads correct ones. Here, mistakes that give a traceback there raise BadInput, new
keys in sections named `kw` are taken out, and shipped configs are found from any directory.
"""

import re

from genjax import configs, shipped
from genjax.types import BadInput

CONFIG = re.compile(r'--?config(?:=(.*))?', re.DOTALL)
OVERRIDE = re.compile(r'--?config\.([^=\s]+)(?:=(.*))?', re.DOTALL)
# words and paths of files, for a tuple without brackets
WORDS = re.compile(r'([a-z]\w*|[^\s,\'"()]+\.py)(,([a-z]\w*|[^\s,\'"()]+\.py))*,?')


def split_new(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
  """(argv without new keys, [(key, text), ...] of these for `configs.set_new`).

  It checks each --config.KEY against the --config before it, and gives shipped configs their whole
  path. Raises BadInput.
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
      raise BadInput(f'{item} comes before --config=FILE.py')
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
