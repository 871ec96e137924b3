"""Checks of an objective's keywords; each raises BadInput with the value and the allowed ones."""

from numbers import Real

from genjax.types import BadInput


def one_of(name: str, value, allowed) -> None:
  """The value is among the allowed ones."""
  if value not in allowed:
    raise BadInput(f'{name}={value!r} is not one of: {", ".join(sorted(allowed))}')


def positive(**values) -> None:
  """Every value is a number above 0."""
  for name, value in values.items():
    if not isinstance(value, Real) or not value > 0:
      raise BadInput(f'{name}={value!r} is not allowed: it has to be a number above 0')


def not_negative(**values) -> None:
  """Every value is a number, 0 or above."""
  for name, value in values.items():
    if not isinstance(value, Real) or not value >= 0:
      raise BadInput(f'{name}={value!r} is not allowed: it has to be a number, 0 or above')


def fraction(**values) -> None:
  """Every value lies in [0, 1]."""
  for name, value in values.items():
    if not isinstance(value, Real) or not 0 <= value <= 1:
      raise BadInput(f'{name}={value!r} is not allowed: it has to lie in [0, 1]')
