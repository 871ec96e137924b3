"""One table of weights: each recipe's own loss, in what its network puts out, has its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import path as paths
from genjax.numerics import prediction as predictions
from genjax.numerics import schedules
from genjax.numerics import weighting as weights
from genjax.types import BadInput

SIGMA_DATA = 0.6


def published(name, p):
  """The weight of |eps - eps_hat|^2, by the formulas of the papers in logsnr."""
  l, fall = paths.logsnr(p.alpha, p.sigma), -paths.d_logsnr(p)
  sigmoid = lambda z: 1 / (1 + jnp.exp(-z))
  return {'simple': 1.0 + 0 * l, 'elbo': 0.5 * fall,
          # g^2 / 2 of the score, which is -eps / sigma, with g^2 = s2' - 2 s2 alpha' / alpha
          'likelihood': (p.sigma * p.d_sigma - p.sigma**2 * p.d_alpha / p.alpha) / p.sigma**2,
          'min_snr': jnp.minimum(jnp.exp(l), 5.0) / jnp.exp(l),
          'sigmoid': 0.5 * fall * sigmoid(2.0 - l),
          # lambda(sigma) |D - y|^2 with sigma^2 = 1 / snr and |D - y|^2 = |eps - eps_hat|^2 / snr
          'edm': (jnp.exp(-l) + SIGMA_DATA**2) / (jnp.exp(-l) * SIGMA_DATA**2) * jnp.exp(-l),
          # alpha' x_0 + sigma' eps with x_0 = (x_t - sigma eps) / alpha
          'flow_matching': (p.d_sigma - p.sigma * p.d_alpha / p.alpha) ** 2,
          'snr_plus_1': 1.0 + jnp.exp(-l), 'data': jnp.exp(-l)}[name]


def disagreement(schedule, prediction, t, dtype):
  """Between the gradients for the network's output of the table's losses and of the papers'.

  One network output, in units of what the prediction stands for; a paper's loss is the square of
  the noise's error, computed from the output's own target alone. Returns {weighting: the largest
  relative difference at any t}.
  """
  t = jnp.asarray(t, dtype)
  p = paths.at(schedules.schedule(schedule, -10.0, 10.0), t)
  x_0, eps, raw = jax.random.normal(jax.random.key(3), (3, len(t), 4), dtype)
  x_t = paths.diffuse(x_0, eps, p.alpha, p.sigma)
  a, s, d_a, d_s = (field[:, None] for field in p)
  std = jnp.sqrt(s**2 + (a * SIGMA_DATA) ** 2)
  target, of_noise = {  # and how much of it one unit of eps is, at this x_t
      'noise': (eps, 1.0), 'data': (x_0, -s / a), 'score': (-eps / s, -1 / s),
      'v': (a * eps - s * x_0, (a**2 + s**2) / a),
      'velocity': (d_a * x_0 + d_s * eps, (d_s * a - d_a * s) / a),
      'edm': ((s * x_0 - a * SIGMA_DATA**2 * eps) / (SIGMA_DATA * std), -std / (a * SIGMA_DATA)),
  }[prediction]
  start = target + of_noise * raw
  table = jnp.stack([weights.weight(name, sigma_data=SIGMA_DATA)(p) for name in weights.WEIGHTINGS])
  papers = jnp.stack([published(name, p) for name in weights.WEIGHTINGS])

  def of_table(outputs):  # one copy of the output for each weighting
    x_hat = jax.vmap(
        lambda output: predictions.to_data(prediction, output, x_t, p, SIGMA_DATA))(outputs)
    return (table[..., None] * (x_0 - x_hat) ** 2).sum()

  def of_paper(outputs):
    return (papers[..., None] * ((outputs - target) / of_noise) ** 2).sum()

  copies = jnp.broadcast_to(start, (len(weights.WEIGHTINGS), *start.shape))
  found, expected = (np.asarray(jax.grad(loss)(copies)) for loss in (of_table, of_paper))
  far = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
  return dict(zip(weights.WEIGHTINGS, far.max(-1), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize('schedule', list(schedules.SCHEDULES))
def test_equal_effective_weight_gives_the_same_gradient_for_the_same_output(schedule):
  """To 1e-9 in double precision, and 1e-3 in single for t from 1e-3."""
  t = np.linspace(1e-3, 0.999 if schedule in schedules.UNBOUNDED else 1.0, 12)
  for prediction in predictions.PREDICTIONS:
    far = disagreement(schedule, prediction, t, jnp.float32)
    assert max(far.values()) < 1e-3, (prediction, far)
    with jax.enable_x64(True):
      far = disagreement(schedule, prediction, t, jnp.float64)
    assert max(far.values()) < 1e-9, (prediction, far)


@pytest.mark.parametrize('schedule', list(schedules.SCHEDULES))
@pytest.mark.parametrize('weighting', weights.WEIGHTINGS)
def test_weights_are_finite_at_both_ends(schedule, weighting):
  weight = weights.weight(weighting)(paths.at(schedules.schedule(schedule, -10.0, 10.0),
                                              jnp.array([0.0, 1e-8, 0.5, 1.0])))
  assert jnp.isfinite(weight).all() and (weight >= 0).all() and weight[2] > 0


def test_slope_of_snr_is_its_derivative():
  with jax.enable_x64(True):
    path, t = schedules.sub_vp(), jnp.linspace(0.1, 1.0, 5)
    snr_at = lambda t: (lambda a, s: (a / s) ** 2)(*path(t))
    snr, slope = weights.snr_and_slope(paths.at(path, t))
    expected, by_jvp = jax.jvp(snr_at, (t,), (jnp.ones(5),))
    np.testing.assert_allclose(snr, expected, rtol=1e-9)
    np.testing.assert_allclose(slope, by_jvp, rtol=1e-9)


def test_an_unknown_weighting_is_named():
  with pytest.raises(BadInput, match='sigmiod.*sigmoid'):
    weights.weight('sigmiod')
