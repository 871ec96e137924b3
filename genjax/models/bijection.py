"""Bijections, conditioned on cond, and the Model that one makes of a base distribution.

log p(x) = log p_base(z) + log |det dz/dx|, z = f(x). f runs from data to base, so that the density,
which training needs most, uses the direct form; samples use the inverse.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.numerics.shapes import sum_event
from genjax.types import DataSpec, Model


class Bijection(NamedTuple):
  """x [B, ...] <-> z [B, ...], with log |det| [B] in nats both ways; cond may be None."""

  init: Callable  # rng -> params
  forward: Callable  # (params, x, cond) -> z, log |det dz/dx|
  inverse: Callable  # (params, z, cond) -> x, log |det dx/dz|
  # (params, x, cond) -> params that suit the first batch (actnorm); None: init is enough
  adapt: Callable | None = None


class Base(NamedTuple):
  """A distribution over z [B, D] without parameters."""

  sample: Callable  # (rng, n) -> z [n, D]
  log_prob: Callable  # z -> [B] nats


class Noise(NamedTuple):
  """Noise within the cells of a grid, with parameters: q(u | x)."""

  init: Callable  # rng -> params
  # (params, rng, batch) -> x + u, {term: [B] nats}; the terms sum to -log q(u | x)
  draw: Callable


def normal(size: int) -> Base:
  """N(0, I)."""
  return Base(lambda rng, n: jax.random.normal(rng, (n, size)),
              lambda z: sum_event(prob.normal_log_prob(z)))


def uniform(size: int) -> Base:
  """Uniform on [-1, 1]^D."""
  return Base(lambda rng, n: jax.random.uniform(rng, (n, size), minval=-1.0, maxval=1.0),
              lambda z: jnp.full(z.shape[0], -size * float(np.log(2.0))))


def inverted(bijection: Bijection) -> Bijection:
  """The same map from z to x; one with `adapt` cannot be inverted."""
  assert bijection.adapt is None
  return bijection._replace(forward=bijection.inverse, inverse=bijection.forward)


def chain(**parts: Bijection) -> Bijection:
  """The composition of named bijections in their order; params: {name: those of the part}."""

  def init(rng):
    rngs = jax.random.split(rng, len(parts))
    return {name: part.init(key) for (name, part), key in zip(parts.items(), rngs, strict=True)}

  def through(calls, params, y, cond):
    total = 0.0
    for name, call in calls:
      y, log_det = call(params[name], y, cond)
      total = total + log_det
    return y, total

  def forward(params, x, cond):
    return through([(name, part.forward) for name, part in parts.items()], params, x, cond)

  def inverse(params, z, cond):
    calls = [(name, part.inverse) for name, part in parts.items()]
    return through(reversed(calls), params, z, cond)

  def adapt(params, x, cond):
    adapted = {}
    for name, part in parts.items():
      adapted[name] = part.adapt(params[name], x, cond) if part.adapt else params[name]
      x, _ = part.forward(adapted[name], x, cond)
    return adapted

  return Bijection(init, forward, inverse,
                   adapt if any(part.adapt for part in parts.values()) else None)


def repeated(part: Bijection, count: int, unroll: int = 1) -> Bijection:
  """`part` `count` times, each with parameters of its own along a leading axis, by a scan."""

  def init(rng):
    return jax.vmap(part.init)(jax.random.split(rng, count))

  def through(call, params, y, cond, reverse):
    def body(carry, layer):
      y, total = carry
      y, log_det = call(layer, y, cond)
      return (y, total + log_det), None

    start = y, jnp.zeros(y.shape[0])
    return jax.lax.scan(body, start, params, reverse=reverse, unroll=unroll)[0]

  def adapt(params, x, cond):
    def body(x, layer):
      layer = part.adapt(layer, x, cond)
      return part.forward(layer, x, cond)[0], layer

    return jax.lax.scan(body, x, params)[1]

  return Bijection(init, lambda params, x, cond: through(part.forward, params, x, cond, False),
                   lambda params, z, cond: through(part.inverse, params, z, cond, True),
                   adapt if part.adapt else None)


def flow(bijection: Bijection, base: Base, spec: DataSpec, *, noise: Noise | None = None,
         evaluations: int = 1, estimate: Callable | None = None) -> Model:
  """Returns the Model of x = f^-1(z), z ~ base: sample, rsample, log_prob, sample_and_log_prob.

  bijection: f, from vectors [B, D] to vectors, whose params are a dict.
  noise: of data with levels; None: uniform in the cells. Its parameters are params['dequantiser'].
  evaluations: network evaluations of the inverse, as `sample` reports them.
  estimate: (params, x [B, D], cond, rng) -> z, an unbiased estimate of log |det dz/dx| [B], of an f
    that computes none; log_prob_estimate then replaces log_prob and sample_and_log_prob.
  Data with levels are dequantised (`prob.dequantise`): elbo and log_weight instead of log_prob.
  """
  shape, size = spec.shape, int(np.prod(spec.shape))
  flat = lambda x: x.reshape(-1, size).astype(jnp.float32)

  def init(rng, batch):
    del batch
    rng_flow, rng_noise = jax.random.split(rng)
    params = bijection.init(rng_flow)
    return params if noise is None else {**params, 'dequantiser': noise.init(rng_noise)}

  def forward(params, x, cond):
    return bijection.forward(params, flat(x), cond)[0]

  def inverse(params, z, cond):
    return bijection.inverse(params, z, cond)[0].reshape(-1, *shape)

  def log_prob(params, batch, rng):
    del rng
    z, log_det = bijection.forward(params, flat(batch['x']), batch.get('cond'))
    return base.log_prob(z) + log_det

  def log_prob_estimate(params, batch, rng):
    z, log_det = estimate(params, flat(batch['x']), batch.get('cond'), rng)
    return {'log_base': base.log_prob(z), 'log_det': log_det}

  def sample_and_log_prob(params, rng, n, cond):
    z = base.sample(rng, n)
    x, log_det = bijection.inverse(params, z, cond)
    return x.reshape(n, *shape), base.log_prob(z) - log_det

  def adapt(params, rng, batch):
    x = prob.cell_noise(rng, batch['x'], spec.levels)
    return {**params, **bijection.adapt(params, flat(x), batch.get('cond'))}

  def rsample(params, rng, n, cond):
    return inverse(params, base.sample(rng, n), cond)

  model = Model(
      init, sample=lambda params, rng, n, cond: (rsample(params, rng, n, cond), evaluations),
      rsample=rsample, log_prob=log_prob, sample_and_log_prob=sample_and_log_prob,
      bijection=(forward, inverse), adapt=adapt if bijection.adapt else None)
  if estimate is not None:
    model = model._replace(log_prob=None, sample_and_log_prob=None,
                           log_prob_estimate=log_prob_estimate)
  return prob.dequantise(model, spec, noise and (
      lambda params, rng, batch: noise.draw(params['dequantiser'], rng, batch)))
