"""The verbs of genjax, wherever it is installed.

python -m genjax VERB [--FLAG=VALUE ...], or genjax VERB ...; VERB --help says what a verb does.

A config of the repository, configs/FILE.py, is found in any directory that has no such file.
"""

import runpy
import sys

from genjax import shipped
from genjax.words import did_you_mean

VERBS = ('train', 'evaluate', 'sample', 'table', 'matrix', 'prepare', 'encoder', 'weights',
         'compile')
HELP = ('--help', '-help', '-h')


def main() -> int:
  """Runs the program experiments.VERB with the rest of the arguments; its exit code."""
  verb, *arguments = sys.argv[1:] or ['--help']
  if verb in HELP:
    print(f'{__doc__}\nVERB: {", ".join(VERBS)}')
    return 0
  if verb not in VERBS:
    print(f'error: unknown verb {verb!r}{did_you_mean(verb, VERBS)}; allowed: {", ".join(VERBS)}',
          file=sys.stderr)
    return 1
  shipped.importable()
  sys.argv = ['-m', *arguments]  # as `python -m experiments.VERB` begins
  runpy.run_module(f'experiments.{verb}', run_name='__main__', alter_sys=True)
  return 0


if __name__ == '__main__':
  sys.exit(main())
