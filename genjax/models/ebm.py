"""An energy-based model: a network's energy, an intractable Z, samples from long Langevin chains.

p(x) = exp(-E(x)) / Z, E(x) = f(x) + ||x||^2 / (2 s^2). The confinement makes Z finite for every f
that grows more slowly than a square, as the networks here do. x is continuous; for data with levels
the objectives add uniform noise within the cells.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.numerics import mcmc
from genjax.types import BadInput, DataSpec, Model


def make(spec: DataSpec, energy: Callable, *, confinement: float | None = None,
         sampler_steps: int = 1000, step_size: float = 0.01, noise_scale: float = 1.0,
         clip: float | None = None, init_scale: float = 1.0) -> Model:
  """Returns a model with `energy` ([B] nats, up to log Z) and `sample`.

  energy: network role.
  confinement: s above; None: 1 for data with levels, else 4.
  sampler_steps: unadjusted Langevin steps per sample, each one evaluation of the network and its
    gradient.
  step_size, noise_scale, clip: see `mcmc.langevin`; those with which the model was trained.
  init_scale: chains start from noise, uniform on +-init_scale with levels, else normal.
  Samples may leave [-1, 1]. Raises BadInput for a number that is not positive.
  """
  confinement = confinement or (4.0 if spec.levels is None else 1.0)
  for name, value in (('confinement', confinement), ('sampler_steps', sampler_steps),
                      ('step_size', step_size), ('init_scale', init_scale)):
    if value <= 0:
      raise BadInput(f'{name} = {value} is not allowed; it is above 0')
  net = energy(out=1)

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, *spec.shape)), None)

  def energy_of(params, x, cond):
    f, _ = net.apply(params, x, cond)
    return f[:, 0] + (x.reshape(x.shape[0], -1)**2).sum(-1) / (2 * confinement**2)

  def sample(params, rng, n, cond):
    rng_start, rng_chain = jax.random.split(rng)
    shape = (n, *spec.shape)
    start = (init_scale * jax.random.normal(rng_start, shape) if spec.levels is None else
             jax.random.uniform(rng_start, shape, minval=-init_scale, maxval=init_scale))
    x = mcmc.langevin(lambda x: energy_of(params, x, cond), rng_chain, start,
                      num_steps=sampler_steps, step_size=step_size, noise_scale=noise_scale,
                      clip=clip)
    return x, sampler_steps

  return Model(init=init, sample=sample, energy=energy_of)
