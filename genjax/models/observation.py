"""p(x | z): a likelihood of each element, from the output of a decoder."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from genjax.numerics.shapes import sum_event
from genjax.prob import elements
from genjax.types import DataSpec


class Observation(NamedTuple):
  """p(x | out), out [B, *shape, num_outputs] being a decoder's."""

  num_outputs: int
  init: Callable  # () -> own params of the likelihood; {} if it has none
  log_prob: Callable  # (params, out, x [B, *shape]) -> [B] nats
  # (params, rng, out) -> x [B, *shape]; `rsample`: differentiable, see `elements.Likelihood`
  sample: Callable
  rsample: Callable
  mean: Callable  # (params, out) -> E x [B, *shape]


def of_elements(spec: DataSpec, likelihood: str | None,
                num_mixtures: int | None) -> Observation:
  """Independent elements; the arguments are those of `elements.likelihood`, which raises BadInput.

  params: {'log_std' [*shape]} if every element has a scale of its own, else {}.
  """
  like = elements.likelihood(likelihood, spec.levels, num_mixtures)

  def init():
    return {'log_std': jnp.zeros(spec.shape)} if like.num_own else {}

  def complete(params, out):
    own = [jnp.broadcast_to(params['log_std'], out.shape[:-1])[..., None]] if like.num_own else []
    return jnp.concatenate([out, *own], -1)

  return Observation(
      like.num_params - like.num_own, init,
      lambda params, out, x: sum_event(like.log_prob(complete(params, out), x)),
      lambda params, rng, out: like.sample(rng, complete(params, out)),
      lambda params, rng, out: like.rsample(rng, complete(params, out)),
      lambda params, out: like.mean(complete(params, out)))
