"""Coupling layers: one half of the elements is transformed given the other (1605.08803)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models.bijection import Bijection
from genjax.numerics import splits

# pairs of couplings per iteration of the scan, whose copies cost 10 to 30 % of a train step on CPU;
# compilation takes a quarter longer with four than with one
UNROLL = 4


def couplings(split: splits.Split, transform: Callable, init: Callable, net: Callable) -> Bijection:
  """Returns the bijection of pairs of couplings, by a scan.

  A pair orders the elements as the split says, transforms the last half given the first, and then
  the first given the last. All pairs have the same form, so that the scan compiles one.
  transform: (raw [B, P, d], x [B, d], inverse) -> y, log-derivative [B, d]; net: (params, x, cond,
  which) -> raw. init: rng -> {which: parameters with a leading axis of pairs}.
  """
  keep = int(np.prod(split.shapes[0]))
  # each order and its inverse
  orders = jnp.asarray(np.stack([split.orders, np.argsort(split.orders, -1)], 1))

  def couple(params, x, given, cond, which, inverse):
    y, log_det = transform(net(params[which], given, cond, which), x, inverse)
    return y, log_det.sum(-1)

  def pair(carry, layer, cond, inverse):
    (x, total), (params, order) = carry, layer
    if not inverse:
      x = x[:, order[0]]
    a, b = x[:, :keep], x[:, keep:]
    if inverse:
      a, log_det_a = couple(params, a, b, cond, 'first', True)
      b, log_det_b = couple(params, b, a, cond, 'last', True)
    else:
      b, log_det_b = couple(params, b, a, cond, 'last', False)
      a, log_det_a = couple(params, a, b, cond, 'first', False)
    x = jnp.concatenate([a, b], -1)
    return (x[:, order[1]] if inverse else x, total + log_det_a + log_det_b), None

  def run(params, x, cond, inverse):
    start = (x, jnp.zeros(x.shape[0]))
    body = partial(pair, cond=cond, inverse=inverse)
    return jax.lax.scan(body, start, (params, orders), reverse=inverse, unroll=UNROLL)[0]

  return Bijection(init, partial(run, inverse=False), partial(run, inverse=True))


def conditioners(conditioner: Callable, split: splits.Split, num_params: int,
                 side: tuple[int, ...] | None = None):
  """init(rng) -> params of all pairs, and net(params, given [B, d], cond, which) -> [B, P, d'].

  which: 'first', the half that is transformed, or 'last'.
  side: shape of what is given in addition, positions as those of the halves; cond is then a pair
    (it [B, *side], cond).
  """
  shapes = dict(zip(('first', 'last'), split.shapes, strict=True))
  others = {'first': shapes['last'], 'last': shapes['first']}
  given = {which: shape if side is None else (*shape[:-1], shape[-1] + side[-1])
           for which, shape in others.items()}
  nets = {which: conditioner(given=given[which], shape=shape, out=num_params)
          for which, shape in shapes.items()}

  def init(rng):
    one = lambda which: lambda key: nets[which].init(key, jnp.zeros((1, *given[which])), None)
    rngs = jax.random.split(rng, (2, len(split.orders)))
    return {which: jax.vmap(one(which))(keys) for which, keys in zip(nets, rngs, strict=True)}

  def net(params, x, cond, which):
    x = x.reshape(-1, *others[which])
    if side is not None:
      more, cond = cond
      x = jnp.concatenate([x, more], -1)
    raw, _ = nets[which].apply(params, x, cond)
    return raw.reshape(x.shape[0], -1, num_params).swapaxes(1, 2)

  return init, net
