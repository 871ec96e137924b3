"""Networks under test: parameters and programs that take little time to make."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.train import init


def initial(net, *inputs):
  """The parameters of a flax module given these inputs, drawn without compiling `init`."""
  return init.initialise(lambda rng, _: net.init(rng, *inputs), jax.random.key(0), ())


def moved(params, scale=0.1):
  """The parameters with noise on each: what starts at zero speaks.

  Drawn by numpy, since JAX would compile a program for every shape.
  """
  rng = np.random.default_rng(9)
  return jax.tree.map(lambda x: jnp.asarray(
      np.asarray(x) + scale * rng.standard_normal(x.shape), x.dtype), params)


def jit(function):
  """Compiled for little: these programs run once."""
  return jax.jit(function, compiler_options={'xla_backend_optimization_level': 0})
