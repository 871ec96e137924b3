"""Divergences between data of known density and a model, from samples: Monte Carlo, histogram."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import sharding
from genjax.evals.card import Z
from genjax.evals.quadrature import TOLERANCE, Figure

NORMAL = 'normal, from independent samples of both sides'


def monte_carlo(model, params, x_model, dataset, rng) -> dict[str, Figure]:
  """{name: Figure} of KL both ways, JS (nats) and TV, as means over exact data and model samples.

  TV = E_p (1 - q / p)_+; JS = (E_p log p / m + E_q log q / m) / 2.
  x_model: samples of the model; dataset: with `sample` and `log_density`; rng: of its samples.
  """
  x_data = jnp.asarray(dataset.sample(rng, len(x_model)), jnp.float32)
  log_q = sharding.jit(lambda x: model.log_prob(params, {'x': x}, None))
  log_p = sharding.jit(dataset.log_density)
  ratio_p, ratio_q = (np.asarray(log_p(x), np.float64) - np.asarray(log_q(x), np.float64)
                      for x in (x_data, jnp.asarray(x_model, jnp.float32)))
  js_p = np.log(2.0) - np.logaddexp(0.0, -ratio_p)
  js_q = np.log(2.0) - np.logaddexp(0.0, ratio_q)
  return {'kl_data_model': _mean(ratio_p), 'kl_model_data': _mean(-ratio_q),
          'js': _mean(0.5 * js_p, 0.5 * js_q),
          'tv': _mean(np.maximum(-np.expm1(-ratio_p), 0.0))}


def _mean(*groups) -> Figure:
  bad = sum(int(np.sum(~np.isfinite(g))) for g in groups)
  if bad:
    return Figure(None, None, f'the log ratio is not finite at {bad} samples', {})
  variance = sum(g.var(ddof=1) / len(g) for g in groups)
  return Figure(float(sum(g.mean() for g in groups)), float(Z * np.sqrt(variance)), NORMAL, {})


def histogram(x_model, dataset, rng, bins: int) -> dict[str, Figure]:
  """{name: Figure} of plug-in divergences between the data's cell masses and the shares of x_model.

  x_model: samples [n, 2] of the model; dataset: with `log_density`; rng: of its exact samples.
  bins: cells a side on the data's box; cells of mass below 1 / (100 n), and all outside, are one.
  Masses are quadratures; kl_data_model alone adds 1/2 to each count. Binning lowers the expected
  divergence; finite n raises it, KL(model, data) by (cells - 1) / (2 n) to first order.
  'exact_samples' in the detail is the estimate for n exact samples, which a perfect model reaches.
  """
  names = ('kl_data_model', 'kl_model_data', 'js', 'tv')
  n = len(x_model)
  p = cell_masses(dataset.log_density, dataset.box, bins)
  refusal = ''
  if not np.all(np.isfinite(x_model)):
    refusal = 'samples are not finite'
  elif abs(p.sum() - 1.0) > TOLERANCE:
    refusal = f'the density of the data integrates to {p.sum():.4f} on the cells, not to 1'
  if refusal:
    return {name: Figure(None, None, refusal, {}) for name in names}
  kept = p >= 0.01 / n
  merged = np.append(p[kept], p[~kept].sum()) / p.sum()

  def estimate(x):
    counts = _counts(x, dataset.box, bins)
    inside = counts[kept]
    return _plug_in(merged, np.append(inside, n - inside.sum()))

  values = estimate(x_model)
  exact = {} if dataset.sample is None else estimate(dataset.sample(rng, n))
  figures = {}
  for name in names:
    detail = {'cells': len(merged), 'bias_first_order': (len(merged) - 1) / (2 * n)}
    if exact:
      detail['exact_samples'] = exact[name]
    if np.isfinite(values[name]):
      figures[name] = Figure(values[name], None, 'no calibrated interval: a biased plug-in of a '
                             'coarse-grained divergence', detail)
    else:
      figures[name] = Figure(None, None, 'infinite: samples lie where the data have no mass',
                             detail)
  return figures


def cell_masses(log_density, box, bins: int, fine: int = 8) -> np.ndarray:
  """float64 [bins^2]: the mass of each cell of the box, from fine x fine midpoints per cell."""
  lo, hi = box
  side = lo + (hi - lo) * (np.arange(bins * fine) + 0.5) / (bins * fine)
  points = np.stack(np.meshgrid(side, side, indexing='ij'), -1).reshape(-1, 2)
  log_p = sharding.jit(log_density)(jnp.asarray(points, jnp.float32))
  density = np.exp(np.asarray(log_p, np.float64))
  mass = density.reshape(bins, fine, bins, fine).sum((1, 3)) * ((hi - lo) / (bins * fine)) ** 2
  return mass.reshape(-1)


def _counts(x, box, bins: int) -> np.ndarray:
  """Number of samples in each cell [bins^2]; samples outside the box are not counted."""
  lo, hi = box
  k = np.floor((np.asarray(x, np.float64) - lo) / (hi - lo) * bins)
  inside = np.all((k >= 0) & (k < bins), 1)
  return np.bincount(k[inside].astype(np.int64) @ np.array([bins, 1]), minlength=bins * bins)


def _plug_in(p, counts) -> dict[str, float]:
  """Divergences in nats between masses p [K] and the shares of counts [K]."""
  n = counts.sum()
  share, smooth = counts / n, (counts + 0.5) / (n + 0.5 * len(p))
  middle = (p + share) / 2
  return {'kl_data_model': _kl(p, smooth), 'kl_model_data': _kl(share, p),
          'js': 0.5 * (_kl(p, middle) + _kl(share, middle)),
          'tv': float(0.5 * np.sum(np.abs(p - share)))}


def _kl(a, b) -> float:
  used = a > 0
  if np.any(b[used] <= 0):
    return float('inf')
  return float(np.sum(a[used] * np.log(a[used] / b[used])))


def mode_counts(x, modes, radius: float) -> np.ndarray:
  """int [K]: for each mode, the number of samples [N, d] nearest to it and within `radius`."""
  distance = np.linalg.norm(x[:, None] - modes[None], axis=-1)
  near = distance.min(1) <= radius
  return np.bincount(distance.argmin(1)[near], minlength=len(modes))


def perfect_sampler(num_modes: int, dim: int, n: int, num_std: float) -> dict[str, float]:
  """Expected high_quality and modes_covered of n exact samples of equal, isotropic, far modes."""
  good = float(jax.scipy.special.gammainc(dim / 2, num_std**2 / 2))  # chi^2, dim degrees
  return {'high_quality': good,
          'modes_covered': num_modes * (1 - (1 - good / num_modes) ** n)}
