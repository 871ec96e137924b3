"""How the keys of the recorded parameters are called now: every change since they were written."""

import re

# (pattern of pairs, pattern of a path, what stands in its place), in their order
TABLE = ()


def of(pair: str) -> list[tuple[str, str]]:
  """The renames of one pair."""
  return [(old, new) for pairs, old, new in TABLE if re.search(pairs, pair)]
