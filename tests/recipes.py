"""What the pages tell their reader to type: fenced blocks, commands in them and within the text."""

import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ('README.md', 'ARCHITECTURE.md',
         *sorted(f'docs/{path.name}' for path in ROOT.glob('docs/*.md')))
FENCED = re.compile(r'^```(\w*)\n(.*?)^```$', re.DOTALL | re.MULTILINE)
SPAN = re.compile(r'`([^`]+)`')
LINK = re.compile(r'\[((?:[^][]|\[[^]]*\])*)\]\(([^()\s]+)\)')
PLACEHOLDER = 'VERB'  # in a text that describes commands and is none


def text_of(page: str) -> str:
  """The content of a page, by its path in the repository."""
  return (ROOT / page).read_text()


def blocks(page: str) -> list[tuple[str, str]]:
  """[(language, text)] of the fenced blocks of a Markdown text, in order."""
  return FENCED.findall(page)


def commands(text: str) -> list[list[str]]:
  """The words of each command of a shell block, comments left out, continued lines joined.

  Raises ValueError for quotes that do not match.
  """
  lines = text.replace('\\\n', ' ').splitlines()
  return [words for line in lines if (words := shlex.split(line, comments=True))]


def spans(page: str) -> list[str]:
  """The code within the paragraphs and tables of a Markdown text, broken lines joined."""
  return [' '.join(span.split()) for span in SPAN.findall(FENCED.sub('', page))]


def lines(page: str) -> list[str]:
  """The lines of the shell blocks of a Markdown text, continued lines joined, comments cut off."""
  return [shlex.join(words) for language, text in blocks(page) if language == 'sh'
          for words in commands(text)]


def programs(page: str) -> list[str]:
  """Every `python -m MODULE ...` of a Markdown text, in blocks and paragraphs, sorted."""
  candidates = [*lines(page), *(span for span in spans(page) if PLACEHOLDER not in span)]
  found = (re.search(r'python -m .*', candidate) for candidate in candidates)
  return sorted({shlex.join(shlex.split(match[0])) for match in found if match})


def links(page: str) -> list[tuple[str, str]]:
  """[(text, target)] of the links and pictures of a Markdown text outside its blocks."""
  return LINK.findall(FENCED.sub('', page))


def anchors(page: str) -> set[str]:
  """What the headings of a Markdown text can be linked by."""
  headings = re.findall(r'^#+ (.*)$', FENCED.sub('', page), re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', heading.lower()).strip().replace(' ', '-')
          for heading in headings}


def between(page: str, name: str) -> str:
  """What stands between the markers <!-- NAME --> and <!-- /NAME -->."""
  return re.search(rf'<!-- {name} -->\n(.*?)\n?<!-- /{name} -->', page, re.DOTALL)[1]


def tables(page: str) -> list[list[list[str]]]:
  """The tables of a Markdown text: lists of rows of cells, header first."""
  found, rows = [], []
  for line in [*page.splitlines(), '']:
    if line.startswith('|'):
      rows.append([cell.strip() for cell in line.strip().strip('|').split('|')])
    elif rows:
      found.append([rows[0], *rows[2:]])
      rows = []
  return found


def rows_under(page: str, heading: str) -> list[list[str]]:
  """The rows, without the header, of the first table whose header starts with these cells."""
  for table in tables(page):
    if ' | '.join(table[0]).startswith(heading):
      return table[1:]
  raise ValueError(f'no table {heading!r}')
