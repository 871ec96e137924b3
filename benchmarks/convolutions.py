"""Gradients of a convolution in and out of a loop: `nn.conv.convolve` against XLA's own rule.

python -m benchmarks.convolutions [--rounds=5]

A call is a gradient step on the input or on the kernel, jitted alone, or one of LENGTH in a loop;
both sides take turns in one process. CPU seconds, which other programs disturb less; prints
Markdown.
"""

import functools
import resource
import time

import jax
import jax.numpy as jnp
from absl import flags

import experiments
from benchmarks import report, rounds
from genjax import sharding
from genjax.nn import conv

ROUNDS = flags.DEFINE_integer('rounds', 5, 'Rounds per figure.', lower_bound=1)
SHAPES = ((64, 7, 32), (64, 7, 64), (64, 14, 16), (64, 32, 32))  # batch, side, channels
LENGTH = 3
WHAT = ('input', 'kernel')
COLUMNS = ['batch, side, channels', 'gradient', 'where', 'XLA, ms', 'ours, ms', 'XLA / ours']


def native(x, kernel):
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME',
                                      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def stepped(convolve, which: int, args: tuple) -> tuple:
  """args with args[which] moved along the gradient of a loss of the convolution."""
  loss = lambda x, kernel: (jnp.tanh(convolve(jnp.tanh(x), kernel)) ** 2).sum()
  grad = jax.grad(loss, which)(*args)
  return (*args[:which], args[which] - 1e-3 * grad, *args[which + 1:])


def block(call, steps: int):
  """() -> Block of one call that makes so many steps."""

  def measured():
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    jax.block_until_ready(call())
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return rounds.Block((time.perf_counter() - start) / steps, cpu / steps, 0.0)

  return measured


def row(shape: tuple[int, int, int], which: int, looped: bool) -> dict:
  """One row of the table."""
  batch, side, channels = shape
  rng_x, rng_k = jax.random.split(jax.random.key(0))
  args = (jax.random.normal(rng_x, (batch, side, side, channels)),
          0.1 * jax.random.normal(rng_k, (3, 3, channels, channels)))
  sides, steps = {}, LENGTH if looped else 1
  for name, convolve in (('XLA', native), ('ours', conv.convolve)):
    step = functools.partial(stepped, convolve, which)
    whole = (lambda args, step=step: jax.lax.fori_loop(0, LENGTH, lambda _, a: step(a), args)
             ) if looped else step
    program = sharding.compiled(jax.jit(whole).lower(args))
    jax.block_until_ready(program(args))
    sides[name] = block(functools.partial(program, args), steps)
  kept = rounds.collect(sides, ROUNDS.value, gate=False).kept
  return {COLUMNS[0]: f'{batch}, {side}, {channels}', 'gradient': WHAT[which],
          'where': 'loop' if looped else 'alone',
          **{f'{name}, ms': report.show(rounds.seconds(kept, name, 'cpu'), 2, 1e3)
             for name in sides},
          'XLA / ours': report.show(rounds.ratio(kept, 'XLA', 'ours', 'cpu'))}


def main(_):
  rows = [row(shape, which, looped) for shape in SHAPES for which in range(2)
          for looped in (False, True)]
  print(report.machine(), report.versions(), report.table(COLUMNS, rows), sep='\n\n')


if __name__ == '__main__':
  experiments.run(main)
