"""Seeded typos: a file with one mistake, of a kind that its validator has to find."""

import random
import re


def quote(text):
  """A double quote is missing."""
  return [(m.span(), '') for m in re.finditer('"', code(text))]


def unquoted(text):
  """An expansion has lost its quotes, and falls apart at spaces."""
  expansion = r'(?<=[ =])"(\$\{?[a-z@]+(?:\[@\])?\}?)"(?=\s)'
  return [(m.span(), m[1]) for m in re.finditer(expansion, code(text))]


def variable(text):
  """A variable of the file is misspelt where it is used."""
  return misspelt(code(text), r'\$\{?([a-z]{3,})\b')


def keyword(text):
  """A word of the shell is misspelt."""
  return misspelt(code(text), r'^(?:.*; )?(then|fi|do|done)$')


def key(text):
  """A key of a YAML file is misspelt."""
  return misspelt(code(text), r'^ *(?:- )?([a-z]\w+):(?= |$)')


def value(text):
  """A value from a closed list is misspelt."""
  return misspelt(code(text), r'\b(?:action|operator|restartPolicy|effect|kind): (\w+)')


def option(text):
  """The name of an #SBATCH option is misspelt, or the word itself."""
  return misspelt(text, r'^#(SBATCH) --') + misspelt(text, r'^#SBATCH --([\w-]+)')


def flag(text):
  """A verb or a flag that xpk or gcluster is called with is misspelt."""
  return misspelt(code(text), r' (workload|create|job|submit|--[a-z][a-z-]+|-tgps)(?=[ =])')


def misspelt(text, pattern):
  return [(m.span(1), wrong) for m in re.finditer(pattern, text, re.MULTILINE)
          for wrong in misspellings(m[1])]


def misspellings(word):
  """One letter doubled, dropped or swapped; not the last: that could be an abbreviation."""
  places = [i for i in range(len(word) - 1) if word[i:i + 2].isalpha()]
  return sorted({wrong for i in places for wrong in (
      word[:i] + word[i] + word[i:], word[:i] + word[i + 1:],
      word[:i] + word[i + 1] + word[i] + word[i + 2:])} - {word})


def code(text):
  """The text, as long as before, with comments and single-quoted strings blanked."""
  return re.sub(r"(?<!\S)#.*$|'[^']*'", lambda m: re.sub('.', ' ', m[0]), text,
                flags=re.MULTILINE)


def seeded(text, kinds, seed, count):
  """{text with one mistake: kind of the mistake}: `count` draws of kinds in turn, each once."""
  rng, made = random.Random(seed), {}
  for kind in [kinds[i % len(kinds)] for i in range(count)]:
    (start, end), wrong = rng.choice(kind(text))
    made.setdefault(text[:start] + wrong + text[end:], kind.__name__)
  return made
