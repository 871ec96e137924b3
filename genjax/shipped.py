"""Where the programs and the configs that come with genjax lie.

Beside the package in a repository; inside it, under `installed`, where it was installed (setup.py).
"""

import pathlib
import sys

_PACKAGE = pathlib.Path(__file__).resolve().parent
FOLDER = _PACKAGE / 'installed' if (_PACKAGE / 'installed').is_dir() else _PACKAGE.parent


def importable() -> None:
  """Lets `experiments` and `configs` be imported, whatever else has these names."""
  if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))


def find(path: str) -> str:
  """The path itself where it is a file, else that of the shipped file of this name, if any."""
  place = pathlib.Path(path)
  try:
    if place.is_absolute() or place.is_file() or not (FOLDER / place).is_file():
      return path
  except (OSError, ValueError):  # no name of a file can be so long, or hold such a character
    return path
  return str(FOLDER / place)
