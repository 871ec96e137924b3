"""Words that messages share."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
  """' (did you mean 'NEAREST'?)' of the known names, `most` of them at most; '' for none."""
  close = difflib.get_close_matches(str(name), list(known), most)
  return f' (did you mean {" or ".join(map(repr, close))}?)' if close else ''
