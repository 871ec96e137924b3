"""Ranges of numbers by keyword, declared once and checked wherever a keyword is bound.

A range is an interval as it is written, '[0, 1)'; None is in every range, since it stands for a
default.
"""

import re
from collections.abc import Mapping

from genjax.types import BadInput

LARGEST = 2**31 - 1  # of integers: steps and sizes are int32
WIDEST = 2**20  # of sizes: a row of float32 of this width is 4 MiB
SEEDS = 2**32 - 1  # of a larger one the generator would drop the upper bits
DEEPEST = 2**10  # of what is unrolled in Python: an equation each
SHARE, OPEN_SHARE, POSITIVE, NOT_NEGATIVE = '[0, 1]', '[0, 1)', '(0, inf)', '[0, inf)'
MANY = f'[1, {LARGEST}]'

# of the keyword arguments of models, networks, objectives, samplers, evaluators and data
BY_KEYWORD = {
    'dropout': OPEN_SHARE, 'label_dropout': OPEN_SHARE,
    'temperature': POSITIVE, 'top_p': '(0, 1]',
    'restart': SHARE, 'apart': SHARE, 'eta': SHARE, 't_min': OPEN_SHARE,
    'clip': POSITIVE, 'gradient_clip': POSITIVE, 'rho': POSITIVE, 'rtol': POSITIVE,
    'atol': POSITIVE, 'snr': POSITIVE, 'step_size': POSITIVE, 'sigma_data': POSITIVE,
    'time_scale': POSITIVE, 'bound': POSITIVE, 'variance_floor': POSITIVE, 'tolerance': POSITIVE,
    'bandwidth': POSITIVE, 'outside': '(0, 1)',
    'noise_scale': NOT_NEGATIVE, 'init_scale': NOT_NEGATIVE, 'init_spread': NOT_NEGATIVE,
    'ridge': NOT_NEGATIVE, 'confinement': NOT_NEGATIVE,
    'residual_scale': NOT_NEGATIVE, 'smoothing': NOT_NEGATIVE, 'marginal_prior': NOT_NEGATIVE,
    'covariance_prior': NOT_NEGATIVE, 'churn': NOT_NEGATIVE, 'churn_min': NOT_NEGATIVE,
    'churn_max': '[0, inf]', 'churn_noise': NOT_NEGATIVE, 'beta': NOT_NEGATIVE,
    'free_bits': NOT_NEGATIVE, 'gradient_penalty': NOT_NEGATIVE,
    **dict.fromkeys(('num_blocks', 'num_couplings', 'num_layers', 'num_critic'), f'[1, {DEEPEST}]'),
    **dict.fromkeys(('num_train', 'num_validation', 'num_test', 'num_samples', 'num_examples',
                     'num_reference', 'num_permutations', 'max_steps', 'max_iterations',
                     'stage_steps', 'warmup'), MANY),
    **dict.fromkeys(('seed', 'subset_seed'), f'[0, {SEEDS}]'), 'dim': f'[1, {WIDEST}]',
}
# of the section `optim` and of each player's overrides
BY_OPTIM = {'lr': POSITIVE, 'b1': OPEN_SHARE, 'b2': OPEN_SHARE, 'eps': POSITIVE,
            'weight_decay': NOT_NEGATIVE,
            'clip': NOT_NEGATIVE, 'warmup': f'[0, {LARGEST}]'}
# of a config, without its sections `kw`
BY_KEY = {
    'seed': f'[0, {SEEDS}]', 'ema': OPEN_SHARE,
    **dict.fromkeys(('steps', 'batch_size', 'steps_per_dispatch', 'accumulate', 'mesh.fsdp',
                     'mesh.heartbeat', 'mesh.chunk', 'log.every', 'checkpoint.every',
                     'evals.num_samples'), MANY),
    'evals.budget': NOT_NEGATIVE,
    **dict.fromkeys(('select.every', 'checkpoint.keep_last', 'checkpoint.keep_every',
                     'nan_steps_allowed'), f'[0, {LARGEST}]'),
}
INTERVAL = re.compile(r'([\[(])(\S+), (\S+)([\])])')


def check(what: str, value, interval: str) -> None:
  """Raises BadInput unless a number, or each of a tuple, lies in the interval."""
  low_end, low, high, high_end = INTERVAL.fullmatch(interval).groups()
  low, high = float(low), float(high)
  for part in value if type(value) in (tuple, list) else (value,):
    if type(part) not in (int, float):
      continue
    above = part >= low if low_end == '[' else part > low
    below = part <= high if high_end == ']' else part < high
    if not (above and below):
      raise BadInput(f'{what}={shortened(value)}; allowed: {_words(interval, low, high)}')


def check_all(prefix: str, values: Mapping, intervals: Mapping[str, str]) -> None:
  """`check` of every value whose key has an interval."""
  for key, value in values.items():
    if key in intervals:
      check(f'{prefix}{key}', value, intervals[key])


def of_keyword(key: str, value, least: int | None) -> str | None:
  """The range of a keyword argument's value; None where any value will do.

  least: of integers without a range of their own, which are sizes and counts.
  """
  if key in BY_KEYWORD:
    return BY_KEYWORD[key]
  if least is not None:
    return f'[{least}, {WIDEST}]'
  parts = value if type(value) in (tuple, list) else (value,)
  return '(-inf, inf)' if any(type(part) is float for part in parts) else None


def shortened(value) -> str:
  """repr(value), of a long one its ends and its length: a message is a line."""
  text = repr(value) if not isinstance(value, int) or abs(value) < 10**40 else f'{value:#x}'
  return text if len(text) <= 80 else f'{text[:40]}...{text[-20:]} ({len(text):,} characters)'


def _words(interval: str, low: float, high: float) -> str:
  """An interval in the words of a refusal."""
  whole = re.fullmatch(r'\[-?\d+, \d+\]', interval) and high > 1
  if whole and high == LARGEST:
    return f'integers from {low:.0f}, below 2^31'
  if whole:
    return f'integers from {low:.0f} to {"2^32 - 1" if high == SEEDS else f"{high:.0f}"}'
  return {POSITIVE: 'finite numbers > 0', NOT_NEGATIVE: 'finite numbers >= 0',
          '(-inf, inf)': 'finite numbers'}.get(interval, f'numbers in {interval}')
