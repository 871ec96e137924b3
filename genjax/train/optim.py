"""Optimizers by name: clipping, update rule, learning rate schedule."""

import optax

from genjax import ranges
from genjax.types import BadInput

OPTIMIZERS = {
    'adam': lambda lr, b1, b2, eps, weight_decay: optax.adamw(
        lr, b1, b2, eps, weight_decay=weight_decay),
    'sgd': lambda lr, b1, b2, eps, weight_decay: optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(lr, momentum=b1 or None)),
    'rmsprop': lambda lr, b1, b2, eps, weight_decay: optax.chain(
        optax.add_decayed_weights(weight_decay), optax.rmsprop(lr, decay=b2, eps=eps)),
    'lion': lambda lr, b1, b2, eps, weight_decay: optax.lion(
        lr, b1, b2, weight_decay=weight_decay),
}
NUM_STAGES = 8  # 1509.00519, Section 5


def stages(lr: float, num_updates: int) -> optax.Schedule:
  """Stage i of 0..7 takes 3^i of 3280 parts of the updates, at the rate lr 10^(-i / 7).

  The schedule of importance weighted autoencoders (1509.00519, Section 5), for any length.
  """
  lengths = [3**i for i in range(NUM_STAGES)]
  ends = [round(num_updates * sum(lengths[:i + 1]) / sum(lengths)) for i in range(NUM_STAGES - 1)]
  return optax.join_schedules([optax.constant_schedule(lr * 10.0 ** (-i / (NUM_STAGES - 1)))
                               for i in range(NUM_STAGES)], ends)


# (largest rate, updates after the warmup) -> schedule
DECAYS = {
    'constant': lambda lr, num_updates: optax.constant_schedule(lr),
    'cosine': optax.cosine_decay_schedule,
    'linear': lambda lr, num_updates: optax.linear_schedule(lr, 0.0, num_updates),
    'stages': stages,
}


def make(*, name: str, lr: float, b1: float, b2: float, eps: float, weight_decay: float,
         clip: float, warmup: int, decay: str, num_updates: int) -> optax.GradientTransformation:
  """Returns the optimizer of one player.

  name: in OPTIMIZERS. 'adam' is AdamW (1711.05101), with weight_decay 0 Adam (1412.6980).
  eps: what is added to the root of the second moment, of 'adam' and 'rmsprop'.
  clip: largest global norm of the gradient; 0: no clipping.
  warmup: number of updates from 0 to lr.
  decay: in DECAYS; 'cosine' and 'linear' reach zero at the last of `num_updates`, the updates of
    the whole run.
  Raises BadInput for an unknown name, and for a number out of its range (`ranges.BY_OPTIM`).
  """
  for value, allowed, key in ((name, OPTIMIZERS, 'optim.name'), (decay, DECAYS, 'optim.decay')):
    if value not in allowed:
      raise BadInput(f'{key}={value!r}; allowed: {", ".join(allowed)}')
  numbers = {'lr': lr, 'b1': b1, 'b2': b2, 'eps': eps, 'weight_decay': weight_decay, 'clip': clip,
             'warmup': warmup}
  ranges.check_all('optim.', numbers, ranges.BY_OPTIM)
  tail = DECAYS[decay](lr, max(num_updates - warmup, 1))
  schedule = tail if not warmup else optax.join_schedules(
      [optax.linear_schedule(0.0, lr, warmup), tail], [warmup])
  rule = OPTIMIZERS[name](schedule, b1, b2, eps, weight_decay)
  return optax.chain(optax.clip_by_global_norm(clip), rule) if clip else rule
