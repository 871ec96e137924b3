"""Parts from a user's own file: in a config, a name that ends in `.py` is a path to a Python file.

The file is loaded once and used like an entry of the table that the name would be looked up in.
A run and the hashes of a table's cells hold the name with the content that it stood for,
/ABSOLUTE/PATH.py#sha256=HEX (a *pinned* name), so that a file that has changed is another part.
"""

import contextlib
import hashlib
import pathlib
import re
import sys
import types
from collections.abc import Mapping

from genjax.types import BadInput

_PINNED = re.compile(r'(.*\.py)#sha256=([0-9a-f]{64})', re.DOTALL)
# kind of part -> the names that its file must define
DEFINES = {
    'model family': ('make',),
    'objective': ('ESTIMATORS',),
    'evaluator': ('ESTIMATORS', 'METRICS'),
    'data set': ('make',),
}
# of these and of networks the part is the function named after the file (my_part.py: my_part), or
# the class (MyPart)
AFTER_FILE = ('sampler',)


def is_path(name) -> bool:
  """Whether a name is a path to a file, pinned or not, rather than a name in a table."""
  return isinstance(name, str) and _split(name)[0].endswith('.py')


def is_kind(kind: str) -> bool:
  """Whether parts of a kind, as messages call it, may be files of a user's own."""
  return kind in DEFINES or kind in AFTER_FILE or kind.startswith('network')


def stem(name: str) -> str:
  """The name of the file without folder and suffix; any other name as it is."""
  return pathlib.PurePath(_split(name)[0]).stem if is_path(name) else name


def label(name: str) -> str:
  """How a card names the part: `stem@` and 12 digits of the sha256; any other name as it is."""
  digest = _split(name)[1] if is_path(name) else ''
  return f'{stem(name)}@{digest[:12]}' if digest else stem(name)


def place(name: str) -> str:
  """The path of a name that is one, without the content that it is pinned to."""
  return _split(name)[0]


def is_other_version(one, other) -> bool:
  """Whether two names are of files that are called the same and differ in content."""
  if not (is_path(one) and is_path(other)):
    return False
  (path, digest), (other_path, other_digest) = _split(one), _split(other)
  called = [pathlib.PurePath(each).name for each in (path, other_path)]
  return called[0] == called[1] and digest != other_digest


def portable(tree):
  """A config, or a part of it, with pinned names that do not say where their files lie."""
  if isinstance(tree, Mapping):
    return {key: portable(value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return [portable(value) for value in tree]
  path, digest = _split(tree) if isinstance(tree, str) else ('', '')
  return f'{pathlib.PurePath(path).name}#sha256={digest}' if digest else tree


def pinned(name: str) -> str:
  """The pinned name of a path: absolute, with the sha256 of its content; other names as they are.

  Raises BadInput if the file cannot be read.
  """
  if not is_path(name) or _split(name)[1]:
    return name
  path = pathlib.Path(name).expanduser().absolute()
  return f'{path}#sha256={hashlib.sha256(_content(path)).hexdigest()}'


def pin(section) -> None:
  """Pins every name in a ConfigDict that is a path, in place.

  Sections named `kw` hold arguments, in which a text that ends in .py has no such meaning.
  """
  for key, value in section.items():
    if key == 'kw':
      continue
    if isinstance(value, str):
      new = pinned(value)
    elif isinstance(value, list | tuple):
      new = type(value)(pinned(v) if isinstance(v, str) else v for v in value)
    elif hasattr(value, 'items'):
      pin(value)
      continue
    else:
      continue
    if new != value:
      section[key] = new


def entry(kind: str, name: str):
  """The part in the file that `name` is a path to: its module, or what is named after the file.

  Raises BadInput for a file that is not there, has changed since its name was pinned, cannot be
  parsed, or defines no such part.
  """
  loaded, own = module(name), stem(name)
  as_class = ''.join(word.capitalize() for word in own.split('_'))
  if kind not in DEFINES and as_class in vars(loaded):
    return vars(loaded)[as_class]
  wanted = DEFINES.get(kind, (own,))
  lacks = [attribute for attribute in wanted if attribute not in vars(loaded)]
  if lacks:
    raise BadInput(f'{loaded.__file__} defines no {" and no ".join(lacks)}; the file of a '
                   f'{kind} defines {" and ".join(wanted)}')
  return loaded if kind in DEFINES else vars(loaded)[own]


def module(name: str) -> types.ModuleType:
  """The module in a file by its path, executed once in a process for each content of the file."""
  path, expected = _split(name)
  path = pathlib.Path(path).expanduser().absolute()
  content = _content(path)
  digest = hashlib.sha256(content).hexdigest()
  if expected and digest != expected:
    raise BadInput(f'{path} has changed: its sha256 was {expected[:12]}... and is {digest[:12]}'
                   '... now; allowed: the file as it was')
  place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
  module_name = f'genjax_extension_{place}_{digest[:8]}_{path.stem}'
  if module_name in sys.modules:
    return sys.modules[module_name]
  try:
    code = compile(content, str(path), 'exec')
  except (SyntaxError, ValueError) as e:  # ValueError: null bytes
    raise BadInput(f'{path}, line {getattr(e, "lineno", None)}: {e}') from None
  loaded = types.ModuleType(module_name)
  loaded.__file__ = str(path)
  sys.modules[module_name] = loaded  # dataclasses, and with them flax, look for their module there
  with contextlib.ExitStack() as undone:
    undone.callback(sys.modules.pop, module_name)
    exec(code, vars(loaded))
    undone.pop_all()  # it stays
  return loaded


def _split(name: str) -> tuple[str, str]:
  """(path, sha256 or '') of a name."""
  match = _PINNED.fullmatch(name)
  return (match[1], match[2]) if match else (name, '')


def _content(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise BadInput(f'cannot read {path}: {reason}; a name that ends in .py is the path of a '
                   "file with a user's own part") from None
