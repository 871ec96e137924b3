"""The power of a rule to notice training examples among the samples, by planting them.

It tells how small a share of copies a figure of novelty would have shown. A share of the given
samples is replaced by exact copies of training examples, repeatedly.
"""

from collections.abc import Callable

import numpy as np

SHARES = (0.01, 0.05, 0.2)
LEVEL = 0.05  # of the rules


def power(signals: Callable, n: int, num_copies: int, repeats: int, seed: int = 0,
          shares=SHARES) -> dict[str, float]:
  """{share: part of the plantings that the rule signals}, for these samples.

  signals(rows [k], copies [k]) -> bool: whether the rule signals, at LEVEL, if these rows of the
    samples are copies of these training examples; k is the share of n, at least 1.
  n: number of samples; rows are drawn without replacement.
  num_copies: number of training examples; copies are drawn with replacement.
  repeats: plantings per share. Samples that signal on their own also signal with copies.
  """
  by_share = {}
  for share in shares:
    k = max(round(share * n), 1)
    hits = 0
    for i in range(repeats):
      rng = np.random.default_rng((seed, i))
      hits += bool(signals(rng.permutation(n)[:k], rng.integers(num_copies, size=k)))
    by_share[f'{share:g}'] = hits / repeats
  return by_share


def detail(rule: str, signals: Callable, n: int, num_copies: int, repeats: int,
           seed: int = 0) -> dict:
  """The entries of a card about the power of a rule, in words; {} without repeats; see `power`."""
  if not repeats:
    return {}
  return {'power': power(signals, n, num_copies, repeats, seed), 'power_rule': rule,
          'plantings': repeats}


def replace(values, rows, others):
  """A copy of values [N, ...] whose rows [k] are others [k, ...]."""
  out = np.array(values)
  out[rows] = others
  return out
