"""Faults of the machine that end a program in one line: missing devices, too little memory."""

import logging
import os
import sys

from genjax import memory

STARTS_BACKENDS = 'xla_bridge.py'


def said(error: BaseException) -> str | None:
  """The message for a fault of devices or memory; None for any other error."""
  if isinstance(error, MemoryError) or memory.is_short(error):
    return f'out of memory: {memory.first_line(error)}; allowed: {memory.LESS}'
  return _of_devices()


def _of_devices() -> str | None:
  """The message if no device answers; None if one does."""
  jax = sys.modules.get('jax')
  try:
    if jax is not None:
      jax.devices()
  except (RuntimeError, AssertionError) as error:  # an assertion: a platform without a plugin
    asked = os.environ.get('JAX_PLATFORMS')
    given = f'JAX_PLATFORMS={asked}: ' if asked else ''
    why = memory.first_line(error) or 'nothing here has it'
    return (f'{given}no device to compute on: {why}; allowed: JAX_PLATFORMS=cpu, or unset for the '
            'devices that are here')
  return None


def bare(record: logging.LogRecord) -> bool:
  """True, for every log record; removes the traceback from one about a plugin that fails.

  JAX continues with the other devices.
  """
  if record.exc_info and record.pathname.endswith(STARTS_BACKENDS):
    record.msg = f'warning: {record.getMessage()}: {record.exc_info[1]!r}'
    record.args, record.exc_info, record.exc_text = (), None, None
  return True
