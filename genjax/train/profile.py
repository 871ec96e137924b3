"""Traces of a few dispatches, for TensorBoard and Perfetto."""

import os
from collections.abc import Callable

import jax

from genjax.train import hosts

NUM_TRACED = 5


def traced(dispatch: Callable, path: str | os.PathLike, first_step: int) -> Callable:
  """dispatch, of which NUM_TRACED calls from `first_step` on are traced into `path`, once.

  The lead host writes the trace. The step of a call is that of the state it is given.
  """
  seen = []

  def call(state, rows):
    if not hosts.is_lead() or len(seen) > NUM_TRACED or int(state.step) < first_step:
      return dispatch(state, rows)
    if not seen:
      options = jax.profiler.ProfileOptions()
      options.python_tracer_level = 0  # its events hide those of the device
      jax.profiler.start_trace(str(path), profiler_options=options)
    seen.append(int(state.step))
    with jax.profiler.StepTraceAnnotation('train', step_num=seen[-1]):
      state, metrics = dispatch(state, rows)
    if len(seen) == NUM_TRACED:
      jax.block_until_ready(state)
      jax.profiler.stop_trace()
      seen.append(None)
    return state, metrics

  return call
