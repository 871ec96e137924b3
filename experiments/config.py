"""Configs by the text that a command line has: `FILE.py:ARGUMENT`, and overrides by dotted key.

Every mistake in them is a BadInput that names the value and what is allowed. ml_collections does
the same for a correct command line; here its tracebacks become messages, and sections named `kw`,
which take the keyword arguments of a family or an objective, accept keys that are new.
"""

import ast
import difflib
import glob
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Mapping

from ml_collections import config_dict

from genjax.types import BadInput

OVERRIDE = re.compile(r'--?config\.([^=\s]+)(?:=(.*))?', re.DOTALL)


def module(path: str, function: str):
  """The Python file at `path`, which has that function, as a module. Raises BadInput if not."""
  there = f'there are: {", ".join(having(function)) or "none"}'
  if not os.path.isfile(path):
    raise BadInput(f'no file {two_ends(path)!r} in {os.getcwd()}; {there}')
  spec = importlib.util.spec_from_file_location(
      re.sub(r'\W', '_', os.path.splitext(path)[0]), path)
  if spec is None:
    raise BadInput(f'{path!r} is not a Python file; {there}')
  loaded = importlib.util.module_from_spec(spec)
  root = os.getcwd()
  if root not in sys.path:  # configs import configs.common
    sys.path.insert(0, root)
  try:
    spec.loader.exec_module(loaded)
  except SyntaxError as e:
    raise BadInput(f'{path}, line {e.lineno}: {e.msg}') from None
  if function not in vars(loaded):
    raise BadInput(f'{path} has no function {function}; {there}')
  return loaded


def load(text: str) -> config_dict.ConfigDict:
  """get_config(ARGUMENT) of the file in 'FILE.py:ARGUMENT', locked. Raises BadInput."""
  path, _, argument = text.partition(':')
  get_config = module(path, 'get_config').get_config
  if argument and not inspect.signature(get_config).parameters:
    raise BadInput(f'{path} takes no argument, but {argument!r} stands behind the colon')
  try:
    config = get_config(argument) if argument else get_config()
  # TypeError: a value that a key does not take
  except (ValueError, TypeError, RecursionError, MemoryError) as e:
    raise BadInput(f'{path}: {two_ends(str(e))}') from None
  expand_home(config)
  return config.lock()


def expand_home(section) -> None:
  """Expands `~` at the start of every text of a config: a shell does so at the start of a word."""
  for key, value in section.items():
    if isinstance(value, config_dict.ConfigDict):
      expand_home(value)
    elif isinstance(value, str) and value.startswith('~'):
      section[key] = os.path.expanduser(value)


def two_ends(message: str, most: int = 1000) -> str:
  """The message, or its two ends: what was given may have thousands of letters."""
  if len(message) <= most:
    return message
  return f'{message[:most // 2]} ... {message[-most // 2:]}'


def check_key(config, key: str) -> bool:
  """Whether `key` is in the config; False: new, in a section named `kw`. Raises BadInput."""
  section, seen = config, []
  for part in key.split('.'):
    is_section = isinstance(section, config_dict.ConfigDict)
    if is_section and part in section:
      section = section[part]
      seen.append(part)
      continue
    if 'kw' in seen:
      return False
    where = '.'.join(['config', *seen])
    if not is_section:
      raise BadInput(f'unknown key config.{two_ends(key)}: {where} is a value, {section!r}')
    near = difflib.get_close_matches(part, section, 1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    raise BadInput(f'unknown key config.{two_ends(key)}.{hint} Allowed in {where}: '
                   f'{", ".join(sorted(section))}')
  return True


def set_new(config, key: str, text: str) -> None:
  """Sets a new key in a section named `kw` to a Python literal, or to the text if it is none."""
  *path, last = key.split('.')
  with config.unlocked():
    section = config
    for part in path:
      if part not in section:
        section[part] = {}
      section = section[part]
      if not isinstance(section, config_dict.ConfigDict):
        raise BadInput(f'--config.{key}={text}: {part} is a value, {section!r}')
    section[last] = literal(text)


def override(config, overrides: Mapping[str, object]) -> None:
  """Sets dotted keys to values, as flags would. Raises BadInput for a wrong key or type."""
  for key, value in overrides.items():
    if not check_key(config, key):
      set_new(config, key, repr(value))
      continue
    section, last = _section(config, key)
    try:
      section[last] = value  # a ConfigDict checks the type; 1 for a float key becomes 1.0
    except (TypeError, ValueError) as e:
      raise BadInput(f'config.{key}={value!r}: {e}') from None
  expand_home(config)


def absolute_path(config) -> None:
  """Makes data.kw.path absolute: a run is sampled and evaluated from other directories too."""
  path = config.get('data', {}).get('kw', {}).get('path', '')
  if isinstance(path, str) and path:
    config.data.kw.path = os.path.abspath(os.path.expanduser(path))


def split_new(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
  """Checks every --config.KEY against the --config before it, and takes the new ones out of argv.

  Returns argv without them, and [(key, text), ...] for set_new. Raises BadInput.
  """
  config, kept, new, skip = None, [], [], False
  for i, item in enumerate(argv):
    following = argv[i + 1] if i + 1 < len(argv) else ''
    match = OVERRIDE.fullmatch(item)
    if skip:
      skip = False
      continue
    if re.match(r'--?config(=|$)', item):
      config = load(item.partition('=')[2] if '=' in item else following)
    if match and config is None:
      raise BadInput(f'{item} stands before --config=FILE.py')
    if match and not check_key(config, match[1]):
      new.append((match[1], match[2] if match[2] is not None else following))
      skip = match[2] is None
      continue
    kept.append(_quoted(config, match[1], match[2]) if match and match[2] else item)
  return kept, new


def _quoted(config, key: str, text: str) -> str:
  """--config.KEY=TEXT, where a tuple given as bare words, `a,b`, becomes ('a', 'b')."""
  section, last = _section(config, key)
  if section.get_type(last) is tuple and re.fullmatch(r'[a-z]\w*(,[a-z]\w*)*,?', text):
    text = repr(tuple(text.rstrip(',').split(',')))
  return f'--config.{key}={text}'


def _section(config, key: str):
  *path, last = key.split('.')
  for part in path:
    config = config[part]
  return config, last


def literal(text: str):
  """A Python literal, or the text itself. Raises BadInput for signs that nest too deeply."""
  try:
    return ast.literal_eval({'true': 'True', 'false': 'False'}.get(text, text))
  except (ValueError, SyntaxError):
    return text
  except (RecursionError, MemoryError):
    raise BadInput(f'{two_ends(text)} nests too deeply to be read; allowed: a value') from None


def having(function: str) -> list[str]:
  """The files of configs/ that define a function, found without running them."""
  found = []
  for path in sorted(glob.glob('configs/**/*.py', recursive=True)):
    with open(path, encoding='utf-8') as f:
      if re.search(rf'^def {function}\(', f.read(), re.MULTILINE):
        found.append(path)
  return found
