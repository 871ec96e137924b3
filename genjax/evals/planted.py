"""How often a rule would notice training examples among the samples: its power, by planting them.

Beside a figure of novelty stands how small a share of copies it would have shown: the samples at
hand with a share of them replaced by exact copies of training examples, again and again.
"""

from collections.abc import Callable

import numpy as np

SHARES = (0.01, 0.05, 0.2)
LEVEL = 0.05  # of the rules


def power(signals: Callable, n: int, num_copies: int, repeats: int, seed: int = 0,
          shares=SHARES) -> dict[str, float]:
  """{share: part of `repeats` plantings that the rule signals}.

  signals(rows [k], copies [k]) -> bool: does the rule, at LEVEL, signal when the samples of these
  rows (of n, without replacement) are copies of those training examples (of num_copies, with
  replacement)? k is the share of n, at least 1. Samples that are signalled as they are will be so
  with copies among them: the power is that of the rule for these samples.
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
  """What a card says of the power of a rule, which it words; nothing without repeats."""
  if not repeats:
    return {}
  return {'power': power(signals, n, num_copies, repeats, seed), 'power_rule': rule,
          'plantings': repeats}


def replace(values, rows, others):
  """values [N, ...] with others [k, ...] instead of the rows [k]."""
  out = np.array(values)
  out[rows] = others
  return out
