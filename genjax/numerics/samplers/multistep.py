"""Solvers that remember earlier evaluations: DPM-Solver++(2M) and UniPC, in log(alpha / sigma).

Every step is `towards` a mix of what the denoiser has said, so that it is exact for any Gaussian
path, one that starts without signal included. The last step, to the data, is of first order.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.numerics.samplers.grid import NO_SIGNAL, asked, grid, half_logsnr, one, towards
from genjax.types import BadInput

ORDERS = (1, 2, 3)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def dpmpp_2m(denoise, path, rng, x_T, cond, *, cost=one, num_steps: int = 20, t_min: float = 1e-3,
             spacing: str = 'logsnr', rho: float = 7.0, clip: float | None = None):
  """DPM-Solver++(2M): x_0 [n, ...] and its evaluations, num_steps (2211.01095, Alg. 2)."""
  del rng
  ask = asked(denoise, cond, clip)
  at = grid(path, num_steps, t_min, spacing, rho)
  h = jnp.diff(half_logsnr(at))
  # the share of the last change that is added: h_i / (2 h_{i-1}); none in the first step
  share = jnp.concatenate([jnp.zeros_like(h[:1]), 0.5 * h[1:] / h[:-1]])

  def step(carry, inputs):
    x_t, x_0_before = carry
    t, scales, share, late = inputs
    x_0 = ask(x_t, t)
    change = x_0 - x_0_before
    return (towards(x_t + late * change, x_0 + share * change, *scales), x_0), None

  scales = (at.alpha[:-2], at.sigma[:-2], at.alpha[1:-1], at.sigma[1:-1])
  inputs = (at.t[:-1], scales, share, _late(at))
  (x, _), _ = jax.lax.scan(step, (x_T, jnp.zeros_like(x_T)), inputs)
  return ask(x, at.t[-1]), cost(at.t).sum()


def _late(at):
  """[K - 1]: the share of the last change of E[x_0 | x] that each step adds to its start.

  0 but in the second step from no signal, whose first step is as long whatever the number of steps:
  of first order, its error would stay. Known one step late, the change over it makes the first step
  the trapezoid in alpha / sigma.
  """
  late = jnp.zeros_like(at.t[1:])
  if len(late) < 2:
    return late
  r = at.alpha[0] * at.sigma[1] / (at.alpha[1] * at.sigma[0])
  from_no_signal = at.sigma[0] > NO_SIGNAL * at.alpha[0]
  return late.at[1].set(jnp.where(from_no_signal, 0.5 * at.alpha[1] * (1.0 - r), 0.0))


def _moments(h, num: int):
  """[num, K]: mean of tau^k over [0, 1] under the weight exp(h tau), k = 1..num, by quadrature.

  In closed form they lose their digits at small h: differences of nearly equal exponentials.
  """
  tau = jnp.asarray(0.5 * (NODES + 1.0), h.dtype)
  weight = jnp.asarray(WEIGHTS, h.dtype) * jnp.exp(h[:, None] * (tau - 1.0))
  weight = weight / weight.sum(-1, keepdims=True)
  return jnp.stack([(weight * tau**k).sum(-1) for k in range(1, num + 1)])


def _shares(r, h):
  """Weights w [K, n] of D_m - D_0, m = 1..n, at the nodes r [K, n], exact for degree n in tau.

  One node: w r = 1/2, the choice of 2302.04867, Sec. 3.3, for B(h) = e^h - 1.
  """
  n = r.shape[1]
  if n == 0:
    return r
  if n == 1:
    return 0.5 / r
  powers = jnp.stack([r**k for k in range(1, n + 1)], 1)  # [K, degree, node]
  return jnp.linalg.solve(powers, _moments(h, n).T[..., None])[..., 0]


def _unipc_shares(nodes, order: int):
  """Predictor [K-1, order-1] and corrector [K-1, order] shares of the steps between the nodes.

  Columns: the evaluations 1, 2, ... steps back; the corrector's last is the new one. The first
  steps have fewer to look back on, and so a lower order. So has the last one: with order 3 the
  step before that to the data, of order 1, is of order 2 (`lower_order_final` of their code).
  """
  h = jnp.diff(nodes)
  i = np.arange(len(h))
  back = [jnp.where(i >= m, (nodes[np.maximum(i - m, 0)] - nodes[:-1]) / h, -float(m))
          for m in range(1, order)]
  predict, correct = jnp.zeros((len(h), order - 1)), jnp.zeros((len(h), order))
  for q in range(1, order + 1):
    old = jnp.stack([*back[:q - 1], jnp.ones_like(h)], -1)
    rows = (np.minimum(np.minimum(i + 1, order), len(h) + 1 - i) == q)[:, None]
    predictor, corrector = _shares(old[:, :-1], h), _shares(old, h)
    predict = jnp.where(rows, predict.at[:, :q - 1].set(predictor), predict)
    correct = jnp.where(rows, correct.at[:, :q - 1].set(corrector[:, :-1])
                        .at[:, -1].set(corrector[:, -1]), correct)
  return predict, correct


def unipc(denoise, path, rng, x_T, cond, *, cost=one, num_steps: int = 20, order: int = 2,
          t_min: float = 1e-3, spacing: str = 'logsnr', rho: float = 7.0,
          clip: float | None = None):
  """UniPC with B(h) = e^h - 1: x_0 [n, ...] and its evaluations, num_steps (2302.04867, Alg. 5).

  order: of the predictor, 1 to 3; the corrector adds one without an evaluation of its own.
  """
  del rng
  if order not in ORDERS:
    raise BadInput(f'order = {order} is unknown; allowed: {", ".join(map(str, ORDERS))}')
  ask = asked(denoise, cond, clip)
  at = grid(path, num_steps, t_min, spacing, rho)
  predict, correct = _unipc_shares(half_logsnr(at), order)

  def mix(known, shares):
    """D_0 + sum_m w_m (D_m - D_0)."""
    return known[0] + sum(w * (d - known[0]) for w, d in zip(shares, known[1:], strict=True))

  def step(carry, inputs):
    x_t, known = carry
    t_s, scales, predict, correct = inputs
    guess = towards(x_t, mix(known, predict), *scales)
    new = ask(guess, t_s)
    x_s = towards(x_t, mix((*known, new), correct), *scales)
    return (x_s, (new, *known[:-1])), None

  first = ask(x_T, at.t[0])
  scales = (at.alpha[:-2], at.sigma[:-2], at.alpha[1:-1], at.sigma[1:-1])
  carry = (x_T, (first,) + (jnp.zeros_like(first),) * (order - 1))
  (_, known), _ = jax.lax.scan(step, carry, (at.t[1:], scales, predict, correct))
  return known[0], cost(at.t).sum()
