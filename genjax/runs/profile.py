"""Traces of a few dispatches, for TensorBoard and Perfetto."""

import os
from collections.abc import Callable, Iterable

import jax

from genjax.cluster import hosts

NUM_TRACED = 5


def traced(dispatch: Callable, path: str | os.PathLike, steps: Iterable[int],
           first_step: int) -> Callable:
  """dispatch, with NUM_TRACED calls traced into the folder `path`, once.

  steps: the first step of each call; first_step: the step from which calls are traced. The lead
  host writes the trace.
  """
  steps, num_traced = iter(steps), 0

  def call(state, rows):
    nonlocal num_traced
    step = next(steps)
    if not hosts.is_lead() or num_traced == NUM_TRACED or step < first_step:
      return dispatch(state, rows)
    num_traced += 1
    if num_traced == 1:
      options = jax.profiler.ProfileOptions()
      options.python_tracer_level = 0  # its events hide those of the device
      jax.profiler.start_trace(str(path), profiler_options=options)
    with jax.profiler.StepTraceAnnotation('train', step_num=step):
      state, metrics = dispatch(state, rows)
    if num_traced == NUM_TRACED:
      jax.block_until_ready(state)
      jax.profiler.stop_trace()
    return state, metrics

  return call
