"""Drawn times: their laws, their densities, and the history of importance sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.numerics import schedules, times

RNG = jax.random.key(2)


def test_stratified_times_fall_one_into_each_part():
  t, density, *_ = times.draw('stratified', RNG, 50, schedules.cosine(), 0.01)
  assert t.min() >= 0.01 and t.max() <= 1.0 and (density == 1.0).all()
  np.testing.assert_allclose(np.diff(np.sort(t)), np.full(49, 0.99 / 50), rtol=1e-3)


def test_uniform_times_are_independent():
  t = times.draw('uniform', RNG, 2000, schedules.cosine(), 0.01).t
  assert stats.kstest(t, stats.uniform(0.01, 0.99).cdf).pvalue > 1e-3
  assert np.histogram(t, 2000, (0.01, 1.0))[0].max() > 1  # and not spread


@pytest.mark.parametrize('num_steps', [100, 1000])
def test_every_step_is_drawn_alike(num_steps):
  """2006.11239: i uniform over 1..T; step 1, at T = 1000 as long as t_min, is no exception."""
  draw = jax.jit(lambda name, key: times.draw_steps(name, key, 40 * num_steps, num_steps).t,
                 static_argnums=0)
  count = lambda t: np.bincount(np.rint(np.asarray(t) * num_steps).astype(int),
                                minlength=num_steps + 1)[1:]
  even = count(draw('stratified', RNG))
  assert len(even) == num_steps and even.min() >= 39 and even.max() <= 41  # roundings at the ends
  independent = count(draw('uniform', RNG))
  assert stats.chisquare(independent).pvalue > 1e-3 and independent.std() > 3.0
  first = [count(times.draw_steps('stratified', jax.random.fold_in(RNG, i), 10, num_steps).t)[0]
           for i in range(20)]
  assert sum(first) <= 10  # of 200 draws


@pytest.mark.parametrize('normal', [(None, None), (-0.4, 0.7)])
@pytest.mark.parametrize('t_min', [0.0, 0.1])
def test_logit_normal_times_follow_their_law(normal, t_min):
  t = times.draw('logit_normal', RNG, 4000, schedules.linear(), t_min, normal).t
  mean, std = (0.0, 1.0) if normal == (None, None) else normal
  cdf = lambda t: stats.norm(mean, std).cdf(np.log(t) - np.log1p(-np.asarray(t)))
  low = cdf(t_min) if t_min else 0.0
  assert stats.kstest(np.clip(t, 1e-6, 1 - 1e-6), lambda t: (cdf(t) - low) / (1 - low)
                      ).statistic < 1e-3


@pytest.mark.parametrize('name', ['edm', 'linear', 'cosine', 'zero_terminal_snr'])
def test_edm_times_have_a_log_normal_sigma_on_any_path(name):
  path = schedules.schedule(name, -2 * np.log(80.0), -2 * np.log(0.002))
  t = times.draw('edm', RNG, 4000, path, 0.0).t
  alpha, sigma = path(t)
  assert stats.kstest(np.log(sigma / alpha)[t < 1.0], stats.norm(-1.2, 1.2).cdf).statistic < 2e-3


def test_importance_learns_the_density_that_makes_losses_equal():
  """p proportional to sqrt(E L^2); the weighted mean stays that of uniform times."""
  loss_at = lambda t: 0.1 + 9.0 * t**2
  step = jax.jit(lambda key, history: times.draw_by_importance(key, 500, history, 0.0))
  history = times.no_history()
  density = step(RNG, history).density
  assert (density == 1.0).all()  # nothing is known yet
  for i in range(20):
    t, density, _, chosen = step(jax.random.fold_in(RNG, i), history)
    history = times.remember(history, chosen, loss_at(t))
  np.testing.assert_array_equal(chosen, np.minimum((t * times.NUM_BINS).astype(int), 99))
  np.testing.assert_allclose(history['square'], loss_at((np.arange(100) + 0.5) / 100) ** 2,
                             rtol=0.1)
  np.testing.assert_allclose((loss_at(t) / density).mean(), 3.1, rtol=5e-3)
  assert (loss_at(t) / density).std() < 0.05 < loss_at(t).std()
  edges = np.linspace(0, 1, 6)
  share = np.histogram(t, edges)[0] / 500
  mass = np.diff(0.1 * edges + 3.0 * edges**3) / 3.1
  np.testing.assert_allclose(share, mass, atol=0.01)


@pytest.mark.parametrize('num_steps', [7, 250])
def test_importance_of_steps_weighs_each_by_its_probability(num_steps):
  """Any T: the mean of f(i / T) / density is that of i uniform over 1..T."""
  history = {'square': (0.1 + np.linspace(0.0, 3.0, 100)) ** 4, 'visits': jnp.full(100, 20.0)}
  t, density, _, bins = jax.jit(
      lambda key: times.draw_by_importance(key, 20000, history, 0.0, num_steps))(RNG)
  i = np.arange(1, num_steps + 1)
  np.testing.assert_allclose(t * num_steps, np.rint(t * num_steps), atol=1e-3)
  for f in (np.ones_like, np.sqrt, np.square):
    np.testing.assert_allclose((f(t) / density).mean(), f(i / num_steps).mean(), rtol=0.01)
  assert (np.abs(bins / 100 - t) < 1 / num_steps + 0.011).all()


def test_parts_are_as_likely_and_cover_the_interval():
  """Of a law whose density falls to nothing: t lies in its part; together they are [t_min, 1]."""
  for name in times.NORMAL:
    t, _, (first, last), _ = times.draw(name, RNG, 10000, schedules.cosine(), 0.01)
    assert ((first <= t) & (t <= last)).all()
    ends, counts = np.unique(first, return_counts=True)
    assert len(ends) == times.NUM_PARTS and counts.min() > 90 and counts.max() < 110
    assert ends[0] == np.float32(0.01) and last.max() == 1.0
    np.testing.assert_array_equal(np.unique(last)[:-1], ends[1:])


def test_a_bin_remembers_its_last_visits():
  history, bins = times.no_history(), jnp.zeros(1, jnp.int32)
  for _ in range(100):
    history = times.remember(history, bins, jnp.ones(1))
  for _ in range(30):
    history = times.remember(history, bins, jnp.zeros(1))
  assert history['visits'][0] == 130 and history['square'][1] == 0.0
  np.testing.assert_allclose(history['square'][0], 0.9**30, rtol=1e-3)
