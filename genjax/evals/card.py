"""A measured number with its protocol: what was computed, on what, and what its interval means.

A card has three kinds of entries. 'interval' names the estimand and the method, or the reason why
there is none. 'detail' has further figures (floors, terms, masses). All other entries are the
protocol, which must agree within a column.
"""

from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
Z = 1.959963984540054  # normal quantile of (1 + LEVEL) / 2
# Factor on the sample skewness, which is too small for heavy tails. With it the interval covers the
# mean of 100 log-normal values, sigma 3/2 (skewness 33); a normal interval has coverage .84 there.
SKEW = 1.5


class Value(NamedTuple):
  """One metric: a number, or None with card['reason']; the ends of its interval, or None."""

  value: float | None
  low: float | None
  high: float | None
  card: dict


def make_card(metric: str, *, estimator: str, unit: str, split: str | None, kind: str | None = None,
              encoder: Any = None, n_generated: int | None = None, n_reference: int | None = None,
              detail: dict | None = None, **protocol) -> dict:
  """The card of a metric: a dict of its protocol, and of `detail`.

  metric, estimator, unit, split, kind: names. encoder: an Encoder or None. n_generated,
  n_reference: numbers of examples. detail: figures outside the protocol. protocol: more entries.
  """
  card = {'metric': metric, 'estimator': estimator, 'unit': unit, 'split': split,
          'n_generated': n_generated, 'n_reference': n_reference,
          'encoder': None if encoder is None else encoder.name,
          'sha256': None if encoder is None else encoder.card['sha256'], **protocol}
  if kind is not None:
    card['kind'] = kind
  return {**card, 'detail': detail or {}}


def absent(card: dict, reason: str) -> Value:
  """A Value without a number, with the reason; it is shown as missing, never as zero."""
  return Value(None, None, None, {**card, 'reason': reason, 'interval': {'reason': reason}})


def plain(value, card: dict, reason: str) -> Value:
  """A Value without an interval, with the reason why there is none; `absent` if not finite."""
  if not np.isfinite(value):
    return absent(card, f'the value is {value}')
  return Value(float(value), None, None, {**card, 'interval': {'reason': reason}})


def with_interval(value, low, high, card: dict, estimand: str, method: str) -> Value:
  """A Value with the LEVEL interval [low, high] for the named estimand; `absent` if not finite."""
  if not np.all(np.isfinite([value, low, high])):
    return absent(card, f'the value is {value}, its interval [{low}, {high}]')
  return Value(float(value), float(low), float(high), {
      **card, 'interval': {'estimand': estimand, 'method': method, 'level': LEVEL}})


def hall(t: float, skew: float) -> float:
  """The quantile of a studentised mean with skewness `skew`, at the level of the normal quantile t.

  It is Hall's cubic transformation (Hall 1992); without skewness it is t.
  """
  skew = skew if abs(skew) > 1e-6 else 1e-6
  return float(3.0 / skew * (np.cbrt(1.0 + skew * (t - skew / 6.0)) - 1.0))


def of_mean(values, card: dict, estimand: str) -> Value:
  """The mean of independent values [N] with its interval; `absent` if a value is not finite.

  Each end is the wider of Student's t interval and Hall's, which allows for skewness (Hall 1992, by
  a cubic transformation); without skewness the two are equal.
  """
  values = np.asarray(values, np.float64)
  bad = int(np.sum(~np.isfinite(values)))
  if bad:
    return absent(card, f'not finite for {bad} of {values.size} examples')
  n, mean = values.size, values.mean()
  if n < 2:
    return plain(mean, card, 'one example')
  from scipy import special  # not before it is needed: it takes a while to import
  std = values.std(ddof=1)
  t = special.stdtrit(n - 1, (1 + LEVEL) / 2)
  # the skewness of the mean: 0 for constant values
  skew = SKEW * np.mean(((values - mean) / (std or 1.0)) ** 3) / np.sqrt(n)
  error = std / np.sqrt(n)
  return with_interval(mean, mean - error * max(hall(t, skew), t),
                       mean - error * min(hall(-t, skew), -t), card, estimand,
                       "Student's t, with Hall's for skewness; conservative")


def of_share(count, n: int, card: dict, estimand: str) -> Value:
  """The share count / n of n independent draws with its Clopper-Pearson interval.

  Its coverage is never below LEVEL; the narrower Wilson score interval falls to .92 at n = 200.
  """
  from scipy import special  # not before it is needed: it takes a while to import
  tail = (1 - LEVEL) / 2
  low = special.betaincinv(count, n - count + 1, tail) if count else 0.0
  high = special.betaincinv(count + 1, n - count, 1 - tail) if count < n else 1.0
  return with_interval(count / n, low, high, card, estimand, 'Clopper-Pearson, conservative')


def describe(metrics: dict) -> str:
  """One line per metric: its value and interval, or the reason why there is none."""
  lines = []
  for name, value in metrics.items():
    shown = f'none: {value.card["reason"]}' if value.value is None else f'{value.value:.4f}'
    interval = '' if value.low is None else f'  [{value.low:.4f}, {value.high:.4f}]'
    lines.append(f'{name:22s} {shown}{interval}')
  return '\n'.join(lines)


def summary(metrics: dict, lines: int, where) -> str:
  """`describe` in at most `lines` lines: figures of the model before those of the floors.

  where: the file that the last line names if metrics are omitted.
  """
  floors = ('_data', '_single', '_copies')
  order = sorted(metrics, key=lambda name: name.endswith(floors))  # stable
  if len(order) <= lines:
    return describe(metrics)
  shown = describe({name: metrics[name] for name in order[:lines - 1]})
  return f'{shown}\nand {len(order) - lines + 1} more in {where}'
