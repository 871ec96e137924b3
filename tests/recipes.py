"""What a page tells its reader to type: its fenced blocks, and the commands in them."""

import re
import shlex

FENCED = re.compile(r'^```(\w*)\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
  """[(language, text)] of the fenced blocks of a Markdown page, in order."""
  return FENCED.findall(page)


def commands(text: str) -> list[list[str]]:
  """The words of each command of a shell block, comments left out, continued lines joined.

  Raises ValueError for quotes that do not match.
  """
  lines = text.replace('\\\n', ' ').splitlines()
  return [words for line in lines if (words := shlex.split(line, comments=True))]
