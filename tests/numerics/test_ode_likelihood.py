"""The probability-flow ODE's density with exact denoisers: that of the data it knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.numerics import ode_likelihood
from genjax.types import BadInput
from tests.numerics import known_denoisers as known

POINTS = np.random.default_rng(0).multivariate_normal(known.MEAN, known.COV, 40)


def estimate(path, denoise, x, **kw):
  found = jax.jit(lambda x: ode_likelihood.log_prob(denoise, path, jax.random.key(0), x, None,
                                                    **kw))(jnp.asarray(x, jnp.float32))
  return found, np.asarray(found['prior'] + found['divergence'].mean(0))


def exact_of_the_ode(path, x, t_min=1e-3):
  """log p(x) of the Gaussian with its end N(a mu, a^2 S + s^2) replaced by N(0, s^2)."""
  values, vectors = np.linalg.eigh(known.COV)
  (a_1, s_1), (a_0, s_0) = ([float(v) for v in path(jnp.float32(t))] for t in (1.0, t_min))
  std = lambda a, s: np.sqrt(a**2 * values + s**2)
  z = (x - known.MEAN) @ vectors * a_0 / std(a_0, s_0)  # standard normal
  x_1 = a_1 * known.MEAN @ vectors + std(a_1, s_1) * z
  change = np.log(a_0) + np.log(std(a_1, s_1) / std(a_0, s_0))
  return (stats.norm.logpdf(x_1, 0.0, s_1) + change).sum(-1)


@pytest.mark.parametrize('name', ['linear', *(
    pytest.param(name, marks=pytest.mark.slow) for name in ('ve', 'sub_vp'))])
def test_it_is_the_density_of_the_gaussian(name):
  path = known.PATHS[name]
  _, log_p = estimate(path, known.gaussian(path), POINTS, num_steps=40, exact=True)
  np.testing.assert_allclose(log_p, exact_of_the_ode(path, POINTS), atol=2e-3)
  exact = stats.multivariate_normal(known.MEAN, known.COV).logpdf(POINTS)
  # the neglected signal at t = 1: none on the linear path, mu / 80 and mu exp(-5) on the others
  np.testing.assert_allclose(log_p, exact, atol=2e-3 if name == 'linear' else 0.05)


@pytest.mark.slow
def test_it_is_the_density_of_the_mixture():
  rng = np.random.default_rng(1)
  x = np.concatenate([rng.multivariate_normal(m, c, 20)
                      for m, c in zip(known.MEANS, known.COVS, strict=True)])
  exact = np.log(sum(w * stats.multivariate_normal(m, c).pdf(x) for w, m, c in zip(
      known.WEIGHTS, known.MEANS, known.COVS, strict=True)))
  _, log_p = estimate(known.linear, known.mixture(known.linear), x, num_steps=100, exact=True)
  np.testing.assert_allclose(log_p, exact, atol=0.01)


@pytest.mark.slow
def test_fourth_order_in_the_steps():
  with jax.enable_x64(True):
    values = [np.asarray(sum(jnp.atleast_2d(v).mean(0) for v in ode_likelihood.log_prob(
        known.gaussian(known.linear), known.linear, jax.random.key(0), jnp.asarray(POINTS), None,
        num_steps=k, exact=True).values())) for k in (12, 24, 48)]
  errors = [np.abs(v - values[-1]).mean() for v in values[:-1]]
  assert errors[0] / errors[1] > 10.0, errors


@pytest.mark.slow
def test_probes_have_the_mean_of_the_trace_and_no_batch_couples():
  path, denoise = known.linear, known.gaussian(known.linear)
  found, log_p = estimate(path, denoise, POINTS, num_probes=64)
  _, exact = estimate(path, denoise, POINTS, exact=True)
  error = found['divergence'].std(0, ddof=1).mean() / np.sqrt(64 * len(POINTS))
  assert error > 0 and abs((log_p - exact).mean()) < 4 * error
  few, _ = estimate(path, denoise, POINTS[:7], exact=True)
  whole, _ = estimate(path, denoise, POINTS, exact=True)
  np.testing.assert_allclose(few['divergence'], whole['divergence'][:, :7], atol=1e-4)


@pytest.mark.parametrize(('kw', 'word'), [
    ({'num_steps': 0}, 'num_steps'), ({'num_probes': 0}, 'num_probes'), ({'t_min': 0.0}, '0.0')])
def test_refusals(kw, word):
  with pytest.raises(BadInput, match=word):
    estimate(known.linear, known.gaussian(known.linear), POINTS, **kw)
