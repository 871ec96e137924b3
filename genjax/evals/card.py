"""A measured number with its protocol: what was computed, on what, and what its interval means.

A card has three kinds of entries: the protocol (all keys but two), by which a column is one
column; 'interval', which names the estimand and the method, or the reason why there is none; and
'detail', figures that stand beside the value (floors, terms, masses) and are no protocol.
"""

from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
Z = 1.959963984540054  # normal quantile of (1 + LEVEL) / 2


class Value(NamedTuple):
  """One metric: a number, or None with card['reason']; the ends of its interval, or None."""

  value: float | None
  low: float | None
  high: float | None
  card: dict


def make_card(metric: str, *, estimator: str, unit: str, split: str | None, kind: str | None = None,
              encoder: Any = None, n_generated: int | None = None, n_reference: int | None = None,
              detail: dict | None = None, **protocol) -> dict:
  """The card of a metric; encoder is an Encoder or None, further protocol by keyword."""
  card = {'metric': metric, 'estimator': estimator, 'unit': unit, 'split': split,
          'n_generated': n_generated, 'n_reference': n_reference,
          'encoder': None if encoder is None else encoder.name,
          'sha256': None if encoder is None else encoder.card['sha256'], **protocol}
  if kind is not None:
    card['kind'] = kind
  return {**card, 'detail': detail or {}}


def absent(card: dict, reason: str) -> Value:
  """No number, and why: shown as missing, never as zero."""
  return Value(None, None, None, {**card, 'reason': reason, 'interval': {'reason': reason}})


def plain(value, card: dict, reason: str) -> Value:
  """A number without an interval, and the reason why there is none."""
  if not np.isfinite(value):
    return absent(card, f'the value is {value}')
  return Value(float(value), None, None, {**card, 'interval': {'reason': reason}})


def with_interval(value, low, high, card: dict, estimand: str, method: str) -> Value:
  """A number with its LEVEL interval for the named estimand."""
  if not np.all(np.isfinite([value, low, high])):
    return absent(card, f'the value is {value}, its interval [{low}, {high}]')
  return Value(float(value), float(low), float(high), {
      **card, 'interval': {'estimand': estimand, 'method': method, 'level': LEVEL}})


def of_mean(values, card: dict, estimand: str) -> Value:
  """The mean of independent values [N] with the normal interval; not finite anywhere: no number."""
  values = np.asarray(values, np.float64)
  bad = int(np.sum(~np.isfinite(values)))
  if bad:
    return absent(card, f'not finite for {bad} of {values.size} examples')
  mean = values.mean()
  if values.size < 2:
    return plain(mean, card, 'one example')
  half = Z * values.std(ddof=1) / np.sqrt(values.size)
  return with_interval(mean, mean - half, mean + half, card, estimand,
                       'normal, from the per-example values')


def of_share(count, n: int, card: dict, estimand: str) -> Value:
  """A share of n independent draws with the Wilson score interval."""
  p, z2 = count / n, Z**2
  centre = (p + z2 / (2 * n)) / (1 + z2 / n)
  half = Z * np.sqrt(p * (1 - p) / n + z2 / (4 * n**2)) / (1 + z2 / n)
  # at the ends they are 0 and 1 but for rounding
  low = centre - half if count else 0.0
  high = centre + half if count < n else 1.0
  return with_interval(p, low, high, card, estimand, 'Wilson score')


def describe(metrics: dict) -> str:
  """One line a metric: its value and interval, or the reason why there is none."""
  lines = []
  for name, value in metrics.items():
    shown = f'none: {value.card["reason"]}' if value.value is None else f'{value.value:.4f}'
    interval = '' if value.low is None else f'  [{value.low:.4f}, {value.high:.4f}]'
    lines.append(f'{name:22s} {shown}{interval}')
  return '\n'.join(lines)
