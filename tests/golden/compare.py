"""How far two records are apart: python -m tests.golden.compare GOLDEN OTHER.

Prints the largest relative difference of each pair's losses, gradients, samples and 20 steps, and
whether the evaluators' figures are equal bit for bit; the initial parameters that changed are
listed. Exit code 1 where a bound is missed.
"""

import json
import pathlib
import sys

import numpy as np

from tests.golden import pairs, record, renamed

# changed on purpose: consistency is measured per unit of the path's angle, as in its paper; the
# bound of a diffusion with levels sums over the levels in another order
CHANGED = ('diffusion-consistency', 'likelihood-diffusion')
BOUNDS = {'loss': 1e-5, 'metric': 1e-5, 'grad': 1e-5, 'sample': 1e-4, 'rsample': 1e-4,
          'fitted': 1e-5, 'after': 1e-3}


def apart(one: dict, other: dict) -> float:
  """The largest difference of the arrays of a group, relative to the norm of each pair of them."""
  worst = 0.0
  for path in one.keys() | other.keys():
    if path not in one or path not in other:
      return np.inf
    a, b = (np.asarray(of[path], np.float64).reshape(-1) for of in (one, other))
    if a.shape != b.shape:
      return np.inf
    scale = max(np.linalg.norm(a), np.linalg.norm(b), 1e-6 * np.sqrt(a.size))
    worst = max(worst, float(np.linalg.norm(a - b) / scale))
  return worst


def compare(name: str, golden: dict, other: dict) -> dict[str, float]:
  """{group: how far it is apart} of two records of a pair; what cannot be compared is left out."""
  def kept(groups, group):
    return {path: value for path, value in groups.get(group, {}).items()
            if renamed.comparable(name, group, path)}

  both = {group: (kept(golden, group), kept(other, group)) for group in BOUNDS}
  return {group: apart(*pair) for group, pair in both.items() if any(pair)}


def main(golden: pathlib.Path, other: pathlib.Path) -> int:
  missed = 0
  for name in pairs.PAIRS:
    one = record.of_golden(golden, name)
    two = record.read(other / f'{name}.npz')
    found = compare(name, one, two)
    above = [group for group, value in found.items() if value > BOUNDS[group]]
    missed += bool(above) and name not in CHANGED
    print(f'{name:32s}' + '  '.join(f'{group} {value:.0e}' for group, value in found.items())
          + (f'   {"changed on purpose" if name in CHANGED else "ABOVE"}: {", ".join(above)}'
             if above else ''))
    changed = [path for path, value in one.get('init', {}).items()
               if not np.allclose(value, two.get('init', {}).get(path, np.nan), rtol=1e-5)]
    if changed:
      print(f'    initialised otherwise: {", ".join(changed)}')
  figures, others = (json.loads((path / 'evaluators.json').read_text()) for path in (golden, other))
  for name in figures | others:
    if figures.get(name) != others.get(name):
      missed += name not in CHANGED
      print(f'{name}: {figures.get(name)} is now {others.get(name)}')
  equal = sum(figures[name] == others.get(name) for name in figures)
  print(f'evaluators equal bit for bit: {equal} of {len(figures)}; bounds missed: {missed}')
  return int(bool(missed))


if __name__ == '__main__':
  sys.exit(main(*map(pathlib.Path, sys.argv[1:])))
