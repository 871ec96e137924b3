"""Samplers with exact denoisers on four paths: law of the samples, order, counts, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.numerics import path as paths
from genjax.numerics import schedules
from genjax.numerics.samplers import DENOISING
from genjax.numerics.samplers.grid import grid
from genjax.numerics.samplers.multistep import _unipc_shares
from genjax.types import BadInput
from tests.numerics import known_denoisers as known

PATH = schedules.cosine(-10.0, 10.0)
FIXED = [name for name in DENOISING if name != 'ode']
ENOUGH = {'ddpm': {'num_steps': 200}, 'ddim': {'num_steps': 200}, 'euler': {'num_steps': 150},
          'heun': {'num_steps': 30}, 'dpmpp_2m': {'num_steps': 40}, 'unipc': {'num_steps': 30},
          'predictor_corrector': {'num_steps': 80, 'num_corrections': 5, 'snr': 0.2},
          'euler_maruyama': {'num_steps': 300, 'spacing': 'logsnr'}, 'ode': {'rtol': 1e-5}}
VARIANTS = [('ddpm', {'variance': 'upper'}), ('ddpm', {'variance': 0.3}),
            ('ddim', {'eta': 0.5, 'spacing': 'logsnr'}), ('heun', {'churn': 20.0}),
            ('euler', {'churn': 60.0, 'churn_min': 0.05, 'churn_max': 50.0}),
            ('ddim', {'spacing': 'trailing'}), ('dpmpp_2m', {'spacing': 'edm'}),
            ('unipc', {'order': 2, 'spacing': 'time'}),
            ('predictor_corrector', {'num_steps': 150, 'num_corrections': 1})]


def draw(name, path, denoise=None, n=4096, seed=0, dtype=np.float32, **kw):
  """x_T from the path's end, the samples and their evaluations, of an adaptive solver [n]."""
  rng_T, rng = jax.random.split(jax.random.key(seed))
  x_T = path(jnp.ones(1, dtype))[1] * jax.random.normal(rng_T, (n, 2), dtype)
  denoise = denoise or known.gaussian(path)
  x_0, nfe = jax.jit(lambda x: DENOISING[name](denoise, path, rng, x, None, **kw))(x_T)
  return x_T, x_0, np.asarray(nfe)


def assert_law_of_the_mixture(x, slack=0.0):
  """Moments, and the distribution function in eight directions (Kolmogorov-Smirnov)."""
  mean, cov = known.mixture_moments()
  x = np.asarray(x, np.float64)
  np.testing.assert_allclose(x.mean(0), mean, atol=0.05 + slack)  # four standard errors
  np.testing.assert_allclose(np.cov(x.T), cov, atol=0.05 + slack)
  for angle in np.pi * np.arange(8) / 8:
    u = np.array([np.cos(angle), np.sin(angle)])
    std = np.sqrt(np.einsum('d,kde,e->k', u, known.COVS, u))
    cdf = lambda s, u=u, std=std: (known.WEIGHTS * stats.norm.cdf(
        (np.asarray(s)[:, None] - known.MEANS @ u) / std)).sum(-1)
    # 1.95 / sqrt(n): one in a thousand of exact draws is further
    assert stats.kstest(x @ u, cdf).statistic < 1.95 / np.sqrt(len(x)) + 0.01 + slack


def fast(names, *chosen):
  return [n if n in chosen else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.slow
# the solvers of the ODE are held by their order against its exact map
@pytest.mark.parametrize('name', fast(DENOISING, 'ddpm', 'euler_maruyama'))
def test_samples_follow_the_mixture_from_pure_noise_to_no_noise(name):
  _, x_0, _ = draw(name, known.linear, known.mixture(known.linear), **ENOUGH[name])
  assert_law_of_the_mixture(x_0)


@pytest.mark.slow
@pytest.mark.parametrize('path', ['vp', 've', 'sub_vp'])
@pytest.mark.parametrize('name', DENOISING)
def test_samples_follow_the_mixture_on_every_path(name, path):
  path = known.PATHS[path]
  kw = {**ENOUGH[name], **({'spacing': 'logsnr'} if name not in ('ode', 'euler', 'heun') else {})}
  assert_law_of_the_mixture(draw(name, path, known.mixture(path), **kw)[1])


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'kw'), VARIANTS)
def test_variants_follow_the_mixture(name, kw):
  path = known.linear
  assert_law_of_the_mixture(draw(name, path, known.mixture(path), **{**ENOUGH[name], **kw})[1])


@pytest.mark.slow
def test_coarse_variances_bracket_that_of_the_data():
  """For data of variance below 1 the reverse variance lies between beta tilde and beta."""
  small, middle, large = (
      jnp.trace(jnp.cov(draw('ddpm', PATH, num_steps=10, variance=v)[1].T))
      for v in ('posterior', 0.5, 'upper'))
  assert small < np.trace(known.COV) - 0.1
  assert small + 0.05 < middle < large - 0.05


@pytest.mark.slow
def test_the_adaptive_solver_meets_its_tolerance_and_counts():
  errors, counts = [], []
  with jax.enable_x64(True):
    for tolerance in (1e-4, 1e-6, 1e-8):
      calls = []
      exact = known.gaussian(known.linear)

      def counted(x_t, t, cond, rng, exact=exact, calls=calls):
        jax.debug.callback(lambda t: calls.append(float(t)), t[0])
        return exact(x_t, t)

      x_T, x_0, nfe = draw('ode', known.linear, counted, n=64, dtype=np.float64, rtol=tolerance,
                           atol=tolerance)
      jax.effects_barrier()
      errors.append(float(jnp.abs(x_0 - known.ode_map(known.linear, x_T, 1e-3)).max()))
      counts.append(nfe.max())
      # all are asked until the slowest is done, and once at t_min, which is one time for all
      assert len(calls) == 64 * (nfe.max() - 1) + 1
  assert all(e < 30 * t for e, t in zip(errors, (1e-4, 1e-6, 1e-8), strict=True)), errors
  assert counts[0] < counts[1] < counts[2] < 400


@pytest.mark.slow
def test_too_few_steps_allowed_give_no_number():
  assert np.isnan(draw('ode', PATH, n=4, max_steps=2)[1]).all()


@pytest.mark.slow
def test_a_learned_variance_lies_where_the_network_says():
  """Share 0 of every dimension is the posterior's variance, share 1 the upper one."""
  exact = known.gaussian(PATH)
  for share, variance in ((0.0, 'posterior'), (1.0, 'upper'), (0.4, 0.4)):
    reverse = lambda x_t, t, cond, rng, share=share: (exact(x_t, t), jnp.full_like(x_t, share))
    _, a, nfe = draw('ddpm', PATH, n=64, num_steps=10, variance='learned', reverse=reverse)
    _, b, _ = draw('ddpm', PATH, n=64, num_steps=10, variance=variance)
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert nfe == 10


@pytest.mark.slow
@pytest.mark.parametrize('schedule', schedules.SCHEDULES)
def test_every_schedule_by_every_sampler_is_finite_and_near_the_law(schedule):
  path = schedules.schedule(schedule, -10.0, 10.0)
  denoise = known.gaussian(path)

  @jax.jit
  def all_of_them(key):
    x_T = path(jnp.ones(1))[1] * jax.random.normal(key, (2048, 2))
    return {name: sampler(denoise, path, key, x_T, None, **(
        {} if name == 'ode' else {'num_steps': 200, 'spacing': 'edm', 't_min': 0.0}))[0]
            for name, sampler in DENOISING.items()}

  for name, x in all_of_them(jax.random.key(0)).items():
    assert np.isfinite(x).all(), name
    np.testing.assert_allclose(x.mean(0), known.MEAN, atol=0.1, err_msg=name)
    np.testing.assert_allclose(jnp.cov(x.T), known.COV, atol=0.15, err_msg=name)


def test_ddim_with_eta_one_is_ddpm_and_with_none_is_euler():
  _, a, _ = draw('ddpm', PATH, n=64, num_steps=20)
  _, b, _ = draw('ddim', PATH, n=64, num_steps=20, eta=1.0)
  np.testing.assert_allclose(a, b, atol=1e-4)
  _, a, _ = draw('ddim', PATH, n=64, num_steps=20)
  _, b, _ = draw('euler', PATH, n=64, num_steps=20, spacing='time')
  np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_heun_is_the_printed_algorithm():
  """2206.00364, Alg. 2 without churn, line by line in sigma on a path with alpha = 1."""
  denoise, num_steps = known.gaussian(known.ve), 12
  with jax.enable_x64(True):
    x_T, ours, _ = draw('heun', known.ve, n=8, dtype=np.float64, num_steps=num_steps)
    smallest = float(known.ve(jnp.full(1, 1e-3))[1][0])
    i = np.arange(num_steps) / (num_steps - 1)
    sigma = np.append((80.0 ** (1 / 7) + i * (smallest ** (1 / 7) - 80.0 ** (1 / 7))) ** 7, 0.0)
    time_of = lambda s: jnp.full(len(x_T), np.log(s / 0.002) / np.log(80.0 / 0.002))
    x = np.asarray(x_T)
    for here, there in zip(sigma[:-1], sigma[1:], strict=True):
      slope = (x - denoise(x, time_of(here))) / here
      x_next = x + (there - here) * slope
      if there > 0:
        slope_next = (x_next - denoise(x_next, time_of(there))) / there
        x_next = x + (there - here) * 0.5 * (slope + slope_next)
      x = x_next
  np.testing.assert_allclose(ours, x, atol=1e-5)


def test_unipc_shares_solve_the_printed_system():
  """2302.04867, Eq. 10 with B(h) = e^h - 1 for the data: phi_k from their recursion."""
  with jax.enable_x64(True):
    nodes = jnp.array([-5.0, -3.1, -2.0, -0.4, 0.9, 3.0])
    predict, correct = jax.jit(_unipc_shares, static_argnums=1)(nodes, 3)
    for i in range(2, len(nodes) - 2):
      h = float(nodes[i + 1] - nodes[i])
      r = np.array([(nodes[i - 1] - nodes[i]) / h, (nodes[i - 2] - nodes[i]) / h, 1.0])
      phi, b, factorial = np.expm1(-h) / -h - 1.0, [], 1
      for k in (1, 2, 3):
        b.append(phi * factorial / np.expm1(-h))
        factorial *= k + 1
        phi = phi / -h - 1.0 / factorial
      powers = r ** np.arange(3)[:, None]
      np.testing.assert_allclose(correct[i], np.linalg.solve(powers, b) / r, atol=1e-9)
      np.testing.assert_allclose(predict[i], np.linalg.solve(powers[:2, :2], b[:2]) / r[:2],
                                 atol=1e-9)
    np.testing.assert_allclose(predict[0], 0.0)
    np.testing.assert_allclose(correct[0], [0.0, 0.0, 0.5])
    # the last of these steps, before the one to the data, is of order 2
    r = float((nodes[3] - nodes[4]) / (nodes[5] - nodes[4]))
    np.testing.assert_allclose(predict[-1], [0.5 / r, 0.0])
    assert correct[-1, 1] == 0.0 and correct[-1, 0] != 0.0


@pytest.mark.parametrize('name', fast(FIXED, 'unipc'))
def test_a_point_mass_is_reached_in_any_number_of_steps_and_clip_bounds(name):
  def point(x_t, t, cond, rng):
    return jnp.full_like(x_t, 2.0)

  for num_steps in (1, 2, 3):
    _, x_0, _ = draw(name, known.linear, point, n=3, num_steps=num_steps, t_min=0.0,
                     spacing='logsnr')
    np.testing.assert_allclose(x_0, 2.0, atol=1e-5)
  _, x_0, _ = draw(name, PATH, point, n=3, num_steps=3, clip=1.0)
  np.testing.assert_allclose(x_0, 1.0, atol=1e-5)


@pytest.mark.parametrize(('name', 'kw', 'count'), [
    ('ddpm', {}, 7), ('ddim', {}, 7), ('euler', {'churn': 5.0}, 7), ('heun', {}, 13),
    ('dpmpp_2m', {}, 7), ('unipc', {}, 7), ('predictor_corrector', {'num_corrections': 2}, 19),
    ('euler_maruyama', {}, 7)])
def test_the_count_is_the_number_of_denoiser_calls_each_at_its_cost(name, kw, count):
  calls = []

  def counted(x_t, t, cond, rng):
    jax.debug.callback(lambda t: calls.append(float(t)), t[0])
    return x_t

  cost = lambda t: 1 + (t > 0.5)
  _, _, nfe = draw(name, PATH, counted, n=2, num_steps=7, cost=cost, **kw)
  jax.effects_barrier()
  assert len(calls) == count
  assert nfe == count + sum(t > 0.5 for t in calls) > count
  assert max(calls) == 1.0
  assert 'churn' in kw or min(calls) == pytest.approx(1e-3)


def test_spacings():
  even = jax.jit(lambda: grid(PATH, 9, 1e-3, 'logsnr'))()
  np.testing.assert_allclose(jnp.diff(paths.logsnr(even.alpha[:-1], even.sigma[:-1])),
                             (paths.logsnr(*PATH(jnp.array(1e-3))) + 10.0) / 8, rtol=1e-3)
  edm = jax.jit(lambda: grid(known.ve, 9, 1e-3, 'edm', rho=3.0))()
  np.testing.assert_allclose(jnp.diff(edm.sigma[:-1] ** (1 / 3)),
                             (known.ve(jnp.array(1e-3))[1] ** (1 / 3) - 80.0 ** (1 / 3)) / 8,
                             rtol=1e-3)
  trailing = jax.jit(lambda: grid(known.linear, 4, 1e-3, 'trailing'))()
  np.testing.assert_allclose(trailing.sigma, [1.0, 0.75, 0.5, 0.25, 0.0], atol=1e-6)
  # without signal at t = 1 the ratio counts from 80, and the first time stays 1
  flow = jax.jit(lambda: grid(known.linear, 9, 1e-3, 'edm'))()
  root = (80.0 ** (1 / 7) * 7 + (1e-3 / 0.999) ** (1 / 7)) / 8
  assert flow.t[0] == 1.0
  np.testing.assert_allclose(flow.sigma[1] / flow.alpha[1], root**7, rtol=1e-3)


@pytest.mark.parametrize(('name', 'kw', 'word'), [
    ('ddpm', {'variance': 'learned'}, 'guided'), ('ddpm', {'variance': 'lower'}, 'posterior'),
    ('ddpm', {'variance': 1.5}, '1.5'),
    ('ddim', {'eta': 2.0}, '2.0'), ('ddim', {'num_steps': 0}, '0'),
    ('ddpm', {'spacing': 'cubic'}, 'edm'), ('ddim', {'t_min': 1.0}, 't_min'),
    ('heun', {'churn': -1.0}, '-1.0'), ('unipc', {'order': 4}, '1, 2, 3'),
    ('predictor_corrector', {'snr': 2.0}, '2.0'), ('ode', {'rtol': 0.0}, 'rtol'),
    ('euler', {'rho': 0.0}, 'rho'), ('euler_maruyama', {'clip': -1.0}, 'clip')])
def test_refusals(name, kw, word):
  with pytest.raises(BadInput, match=word):
    DENOISING[name](known.gaussian(PATH), PATH, jax.random.key(0), jnp.ones((2, 2)), None, **kw)
