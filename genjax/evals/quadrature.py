"""Divergences between two densities on the plane, by the midpoint rule on a stretched grid."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from genjax import sharding

TOLERANCE = 0.01  # largest distance from 1 of the integral of a density that gives a number
EDGE_SHARE = 1e-3  # largest share of mass in the outermost cells; above it the grid is too small
BATCH = 8192


class Figure(NamedTuple):
  """A value and the half width of its interval, or None; reason: why, or the interval's method."""

  value: float | None
  half: float | None
  reason: str
  detail: dict


class Grid(NamedTuple):
  """Nodes float32 [M, 2], log-areas float64 [M], and which cells lie on the rim."""

  points: np.ndarray
  log_area: np.ndarray
  rim: np.ndarray


def stretched_grid(box, inner: int, outer: int, reach: float) -> Grid:
  """Midpoints of inner cells a side on box = (lo, hi), and of outer growing ones beyond each edge.

  reach: half side of the whole grid, in half sides of the box.
  """
  lo, hi = float(box[0]), float(box[1])
  edges = np.linspace(lo, hi, inner + 1)
  if outer:
    # widths grow geometrically: step * (r + r^2 + ... + r^outer) = margin
    margin, step = (reach - 1.0) * (hi - lo) / 2, (hi - lo) / inner
    ratio = _growth(margin / step, outer)
    tail = np.cumsum(step * ratio ** np.arange(1, outer + 1))
    edges = np.concatenate([lo - tail[::-1], edges, hi + tail])
  middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
  points = np.stack(np.meshgrid(middle, middle, indexing='ij'), -1).reshape(-1, 2)
  area = np.log(np.outer(width, width).reshape(-1))
  on_rim = np.zeros((len(width),) * 2, bool)
  on_rim[[0, -1], :] = on_rim[:, [0, -1]] = True
  return Grid(points.astype(np.float32), area, on_rim.reshape(-1))


def _growth(total: float, count: int) -> float:
  """The ratio r >= 1 with r + r^2 + ... + r^count = total, by bisection."""
  low, high = 1.0, max(2.0, total)
  for _ in range(200):
    ratio = (low + high) / 2
    too_long = np.sum(ratio ** np.arange(1.0, count + 1)) > total
    low, high = (low, ratio) if too_long else (ratio, high)
  return low


def make(model, estimator: str, dataset, grid: Grid):
  """params -> {name: Figure} of the model against dataset.log_density on the grid.

  estimator: 'quadrature', by model.log_prob, or 'quadrature_energy', by model.energy.
  """
  if estimator == 'quadrature':
    density = sharding.jit(lambda params, x: model.log_prob(params, {'x': x}, None))
  else:
    density = sharding.jit(lambda params, x: -model.energy(params, x, None))
  log_p = _on_grid(sharding.jit(dataset.log_density), grid)
  energy = estimator == 'quadrature_energy'

  def evaluate(params):
    log_q = _on_grid(lambda x: density(params, x), grid)
    log_z = _log_sum(log_q + grid.log_area) if energy else 0.0
    figures = divergences(log_p, log_q - log_z, grid)
    extra = {'log_z': log_z} if energy and np.isfinite(log_z) else {}
    return {k: f._replace(detail={**f.detail, **extra}) for k, f in figures.items()}

  return evaluate


def _on_grid(log_density, grid: Grid) -> np.ndarray:
  """float64 [M]: log_density at all nodes, in batches of one shape."""
  m = len(grid.points)
  padded = np.pad(grid.points, ((0, -m % BATCH), (0, 0)), mode='edge').reshape(-1, BATCH, 2)
  return np.concatenate([np.asarray(log_density(jnp.asarray(x)), np.float64) for x in padded])[:m]


def _log_sum(a) -> float:
  top = np.max(a)
  return float(top + np.log(np.sum(np.exp(a - top)))) if np.isfinite(top) else float(top)


def divergences(log_p, log_q, grid: Grid) -> dict[str, Figure]:
  """{name: Figure}: KL(p, q), KL(q, p), JS (nats) and total variation; log_p, log_q float64 [M]."""
  reason = _refusal('data', log_p, grid) or _refusal('model', log_q, grid)
  names = ('kl_data_model', 'kl_model_data', 'js', 'tv')
  if reason:
    return {name: Figure(None, None, reason, {}) for name in names}
  p, q = np.exp(log_p + grid.log_area), np.exp(log_q + grid.log_area)
  # -inf in both would give nan; such terms have no weight
  safe_p, safe_q = np.where(p > 0, log_p, 0.0), np.where(q > 0, log_q, 0.0)
  log_m = np.logaddexp(log_p, log_q) - np.log(2.0)
  detail = {'mass_data': float(p.sum()), 'mass_model': float(q.sum())}

  def kl(a, safe_a, log_b):
    used = a > 0
    return float(np.sum(a[used] * (safe_a[used] - log_b[used])))

  values = {'kl_data_model': kl(p, safe_p, log_q), 'kl_model_data': kl(q, safe_q, log_p),
            'js': 0.5 * (kl(p, safe_p, log_m) + kl(q, safe_q, log_m)),
            'tv': 0.5 * float(np.sum(np.abs(p - q)))}
  where = {'kl_data_model': ('data', 'model', p, log_q),
           'kl_model_data': ('model', 'data', q, log_p)}
  figures = {}
  for name, value in values.items():
    if np.isfinite(value):
      figures[name] = Figure(value, None, 'a quadrature, not a sample', detail)
    else:
      here, there, mass, log_other = where[name]
      share = float(mass[np.isneginf(log_other)].sum())
      figures[name] = Figure(None, None, f'infinite: a share {share:.3g} of the {here} lies where '
                             f'the density of the {there} is 0', detail)
  return figures


def _refusal(name, log_density, grid: Grid) -> str:
  """Why the grid does not suit this density; '' if it does."""
  bad = int(np.sum(np.isnan(log_density) | np.isposinf(log_density)))
  if bad:
    return f'the log density of the {name} is nan or inf at {bad} of {len(log_density)} nodes'
  mass = np.exp(log_density + grid.log_area)
  if abs(mass.sum() - 1.0) > TOLERANCE:
    return f'the density of the {name} integrates to {mass.sum():.4f} on the grid, not to 1'
  rim = mass[grid.rim].sum()
  if rim > EDGE_SHARE:
    return f'the density of the {name} has a share {rim:.3g} at the rim of the grid'
  return ''
