"""Networks under test: parameters and programs that take little time to make."""

from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from genjax import wiring
from genjax.train import init
from genjax.types import Network


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


def family(name: str, spec, networks=MappingProxyType({}), *, conditional: bool = False, **kw):
  """The Model of a family: networks: {role: kw, or (name, kw)}; a role left out has its defaults.

  As wiring does it, a model that is not conditional is not told of the labels.
  """
  if not conditional:
    spec = spec._replace(num_classes=None, context=None)
  by_role = {role: dict(zip(('name', 'kw'), of if isinstance(of, tuple) else ('', of), strict=True))
             for role, of in networks.items()}
  return wiring.family(name, spec, kw, by_role)


def critic(output, init=lambda rng, x, cond: {}):
  """A factory of the role, as wiring hands it: output (params, x, cond) -> [B], or [B], writes."""
  def apply(params, x, cond, *, rng=None, train=False):
    values = output(params, x, cond)
    values, writes = values if isinstance(values, tuple) else (values, {})
    return values[:, None], writes if train else {}

  return lambda *, out: Network(init, apply)
