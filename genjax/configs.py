"""Configs by their text `FILE.py:ARGUMENT`, as a command line has it, and overrides by dotted key.

Every mistake in them is a BadInput that names the value and what is allowed. A file that is not in
the working directory may be one of the shipped configs. Sections named `kw`, which take the keyword
arguments of a family or an objective, accept keys that are new.
"""

import ast
import importlib.util
import inspect
import os
import pathlib
import re
import sys
from collections.abc import Mapping

from ml_collections import config_dict

from genjax import extension, shipped
from genjax.types import BadInput
from genjax.words import did_you_mean


def module(path: str, function: str):
  """The Python file at `path`, which has that function, as a module. Raises BadInput if not."""
  there = f'there are: {", ".join(having(function)) or "none"}'
  place = shipped.find(path)
  if not os.path.isfile(place):
    raise BadInput(f'no file {two_ends(path)!r} in {os.getcwd()}; {there}')
  spec = importlib.util.spec_from_file_location(
      re.sub(r'\W', '_', os.path.splitext(path)[0]), place)
  if spec is None:
    raise BadInput(f'{path!r} is not a Python file; {there}')
  loaded = importlib.util.module_from_spec(spec)
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
  shipped.importable()  # configs import configs.common
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
  resolve(config)
  return config.lock()


def resolve(config) -> None:
  """Makes a config mean the same in every directory and at every time.

  `~` is expanded, the path of the data is absolute, and names that are files are pinned to their
  content (`genjax.extension`). Raises BadInput for a file that is not there.
  """
  expand_home(config)
  absolute_path(config)
  extension.pin(config)


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
    raise BadInput(f'unknown key config.{two_ends(key)}{did_you_mean(part, section)}; allowed in '
                   f'{where}: '
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
    section, last = section_of(config, key)
    try:
      section[last] = value  # a ConfigDict checks the type; 1 for a float key becomes 1.0
    except (TypeError, ValueError) as e:
      raise BadInput(f'config.{key}={value!r}: {e}') from None
  resolve(config)


def absolute_path(config) -> None:
  """Makes data.kw.path absolute: a run is sampled and evaluated from other directories too."""
  path = config.get('data', {}).get('kw', {}).get('path', '')
  if isinstance(path, str) and path:
    config.data.kw.path = os.path.abspath(os.path.expanduser(path))


def section_of(config, key: str) -> tuple:
  """The section that holds a dotted key, and the key in it."""
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
  paths = {path.relative_to(root).as_posix(): path for root in (shipped.FOLDER, pathlib.Path.cwd())
           for path in root.glob('configs/**/*.py')}
  defined = re.compile(rf'^def {function}\(', re.MULTILINE)
  return sorted(name for name, path in paths.items()
                if defined.search(path.read_text(encoding='utf-8')))
