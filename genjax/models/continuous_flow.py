"""Continuous flows: neural ODEs (1806.07366) and FFJORD (1810.01367).

dx/dt = v(x, t) runs from data (t = 0) to the base (t = 1), and
log p(x) = log p_base(x(1)) + int_0^1 tr(dv/dx) dt, whose trace is exact or Hutchinson's estimate.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models import bijection, frames
from genjax.models.bijection import Bijection
from genjax.models.dequantiser import noise
from genjax.numerics import derivatives
from genjax.types import BadInput, DataSpec, Model, Network

OPTIONAL = {'dequantiser': ('dequantisation', 'variational')}
TRACES = ('exact', 'hutchinson')
# factor on the times that the network embeds: the fastest angle is then 2 t, not 1000 t, for which
# the solver would need thousands of steps
TIME_SCALE = 2.0 / 1000.0
EXACT = 8  # largest number of dimensions for which the exact trace is the default
STAGES = 6  # evaluations per step of Tsit5; its seventh serves the estimate of the error alone


def solve(slope: Callable, start, num_steps: int, backwards: bool = False):
  """The solution at t = 1 of dy/dt = slope(y, t) from t = 0; backwards: at t = 0 from t = 1.

  start: a tree of arrays. Tsitouras 5(4), with the coefficients of diffrax, at num_steps equal
  steps, the same for all examples, so that none depends on its neighbours. Differentiable in any
  mode and order: diffrax's own loops are either not, or several times slower.
  """
  import diffrax  # seconds to import, which other families do not need

  tableau = diffrax.Tsit5.tableau
  nodes = jnp.asarray([0.0, *tableau.c[:-1]], jnp.float32)
  weights = np.zeros((STAGES, STAGES), np.float32)  # of the slopes before each stage
  for stage, row in enumerate(tableau.a_lower[:-1], 1):
    weights[stage, :stage] = row
  size = (-1.0 if backwards else 1.0) / num_steps

  def moved(y, slopes, weights):
    return jax.tree.map(lambda y, k: y + size * jnp.tensordot(weights, k, 1), y, slopes)

  @jax.checkpoint
  def step(y, i):
    t = (1.0 if backwards else 0.0) + size * i

    def stage(slopes, inputs):  # a scan compiles one evaluation
      j, node, row = inputs
      now = slope(moved(y, slopes, row), t + size * node)
      return jax.tree.map(lambda k, one: k.at[j].set(one), slopes, now), None

    slopes = jax.tree.map(lambda y: jnp.zeros((STAGES, *y.shape)), y)
    slopes, _ = jax.lax.scan(stage, slopes, (jnp.arange(STAGES), nodes, jnp.asarray(weights)))
    return moved(y, slopes, jnp.asarray(tableau.b_sol[:-1], jnp.float32)), None

  return jax.lax.scan(step, start, jnp.arange(num_steps, dtype=jnp.float32))[0]


def ode(shape: tuple[int, ...], net: Network, num_steps: int, exact: bool) -> Bijection:
  """The bijection of vectors [B, D]; log |det| is NaN without the exact trace (see `estimated`)."""

  def init(rng):
    return net.init(rng, jnp.zeros((1, *shape)), jnp.zeros(1), None)

  def run(params, x, cond, backwards):
    field = velocity(shape, net, params, cond)
    if not exact:
      return solve(field, x, num_steps, backwards), jnp.full(x.shape[0], jnp.nan)
    trace = lambda y, t: derivatives.divergence(lambda x: field(x, t), y[0])
    return solve(trace, (x, jnp.zeros(x.shape[0])), num_steps, backwards)

  return Bijection(init, lambda params, x, cond: run(params, x, cond, False),
                   lambda params, z, cond: run(params, z, cond, True))


def estimated(shape: tuple[int, ...], net: Network, num_steps: int) -> Callable:
  """(params, x [B, D], cond, rng) -> z, an unbiased estimate of log |det dz/dx| [B].

  One Rademacher probe per example, the same along its whole trajectory (1810.01367, Eq. 8).
  """
  def run(params, x, cond, rng):
    field, probe = velocity(shape, net, params, cond), jax.random.rademacher(rng, x.shape, x.dtype)

    def slope(y, t):
      v, pushed = derivatives.jvp(lambda x: field(x, t), y[0], probe)
      return v, (pushed * probe).sum(-1)

    return solve(slope, (x, jnp.zeros(x.shape[0])), num_steps)

  return run


def velocity(shape: tuple[int, ...], net: Network, params, cond) -> Callable:
  """(x [B, D], t) -> v [B, D]."""
  def field(x, t):
    out, _ = net.apply(params, x.reshape(-1, *shape), jnp.full(x.shape[0], TIME_SCALE * t), cond)
    return out.reshape(x.shape)

  return field


def make(spec: DataSpec, velocity: Callable, dequantiser: Callable, *, num_steps: int = 8,
         trace: str | None = None, dequantisation: str = 'uniform') -> Model:
  """Returns a flow with sample, rsample, and log_prob, or log_prob_estimate if the trace is one.

  velocity: network role.
  num_steps: of the solver, each 6 evaluations; log_prob is exact up to its error, of order
    num_steps^-5.
  trace: 'exact' (a pass per dimension) or 'hutchinson' (one probe per example); None: exact up to 8
    dimensions.
  dequantisation: of data with levels, 'uniform', or 'variational' by the network role dequantiser.
  With levels elbo and log_weight take the place of log_prob, and log_prob_estimate is one of a
  bound. Raises BadInput for another trace.
  """
  if trace is not None and trace not in TRACES:
    raise BadInput(f'unknown trace {trace!r}; allowed: {", ".join(TRACES)}')
  size, net = int(np.prod(spec.shape)), velocity(out=1)
  exact = trace == 'exact' or trace is None and size <= EXACT
  frame = frames.frame(spec, 'affine', 0.0)
  flow = bijection.chain(frame=frame.bijection, ode=ode(spec.shape, net, num_steps, exact))
  of_ode = estimated(spec.shape, net, num_steps)

  def estimate(params, x, cond, rng):
    h, log_det = frame.bijection.forward(params['frame'], x, cond)
    z, log_det_ode = of_ode(params['ode'], h, cond, rng)
    return z, log_det + log_det_ode

  return bijection.flow(flow, frame.base, spec, noise=noise(spec, dequantiser, dequantisation),
                        evaluations=STAGES * num_steps, estimate=None if exact else estimate)
