"""The denoising loss: its times, its weights, what it logs, and what it does to labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import path as paths
from genjax.types import BadInput, Denoised
from tests.objectives.exact_diffusion import (
    DIFFUSION,
    GAUSSIAN,
    RNG,
    SPEC,
    STEEP,
    VARIANCE,
    diffusing,
    evaluate,
    exact_denoise,
    make,
    path,
)


@pytest.mark.parametrize('kw', [
    {'time_sampling': 'logit_normal'}, {'time_sampling': 'uniform'}, {'num_steps': 10},
    *(pytest.param(kw, marks=pytest.mark.slow) for kw in (
        {}, {'time_sampling': 'edm'}, {'num_steps': 1000},
        {'time_sampling': 'logit_normal', 'time_mean': 1.0},
        {'num_steps': 100, 'time_sampling': 'uniform'}, {'weighting': 'edm'}))])
def test_diffusion_loss_is_its_integral_or_sum_whatever_the_times(kw):
  """Of N(0, 1) on the cosine path the integral is 4.792 nats, and 10 steps add up to 290.5."""
  path = paths.cosine()

  def denoise(params, x_t, t, cond, rng):
    x_0 = params['scale'] * path(t)[0][:, None] * x_t  # alpha x_t, as alpha^2 + sigma^2 = 1
    return Denoised(x_0)

  model = diffusing(path=lambda params, t: path(t), denoise=denoise)
  x = jax.random.normal(jax.random.key(5), (100000, 8))
  _, metrics, _ = evaluate(model, {'x': x}, estimator='denoising', **kw)
  num_steps = kw.get('num_steps')
  t = jnp.array([1e-3, 1.0]) if num_steps is None else jnp.arange(num_steps + 1) / num_steps
  alpha, sigma = (np.asarray(a, np.float64) for a in path(t))
  snr = (alpha / sigma) ** 2
  nats = 0.5 * (-np.diff(np.log1p(snr)) if num_steps is None else -np.diff(snr) / (1 + snr[1:]))
  known = {None: 4.792, 10: 290.5, 1000: 5.247}
  assert num_steps not in known or abs(nats.sum() - known[num_steps]) < 0.05
  np.testing.assert_allclose(metrics['diffusion_loss'], 8 * nats.sum(), rtol=0.03)


def test_importance_keeps_its_history_in_the_carry_and_what_is_minimised():
  objective = make(DIFFUSION, weighting='elbo', time_sampling='importance')
  batch = {'x': GAUSSIAN['x'][:1000]}
  params, carry = objective.init(RNG, batch)
  assert carry['rows'] == {} and not carry['rest']['visits'].any()
  step = jax.jit(lambda carry, key: objective.players[0].loss(params, carry, batch, key, 0))
  values = []
  for i in range(60):
    value, aux = step(carry, jax.random.fold_in(RNG, i))
    carry = aux.carry
    values.append(float(value))
  assert carry['rest']['visits'].sum() == 60000 and (carry['rest']['square'] > 0).all()
  snr = np.exp(STEEP * (0.5 - np.array([1e-3, 1.0])))
  nats = 0.5 * -np.diff(np.log1p(snr * VARIANCE))[0] / (1 - 1e-3)  # per dimension, a mean over t
  np.testing.assert_allclose(np.mean(values), nats, rtol=0.01)


def test_times_on_a_grid_are_those_of_the_steps():
  seen = []
  model = diffusing(denoise=lambda params, x_t, t, *_: (
      seen.append(t), Denoised(params['scale'] * x_t))[1])
  objective = make(model, num_steps=8)
  params, carry = objective.init(RNG, {'x': GAUSSIAN['x'][:100]})
  objective.players[0].loss(params, carry, {'x': GAUSSIAN['x'][:100]}, RNG, 0)
  np.testing.assert_array_equal(np.unique(seen[0]), np.arange(1, 9) / 8)


def learned_variance(num_steps=20):
  """The exact denoiser with a share of the variance that is one number."""
  def denoise(params, x_t, t, cond, rng):
    v = jnp.full(x_t.shape, params['v'])
    return exact_denoise(params, x_t, t, cond, rng)._replace(variance_share=v)

  return diffusing(denoise=denoise, learned_variance_steps=num_steps)._replace(
      init=lambda rng, batch: {'scale': jnp.float32(1.0), 'v': jnp.float32(0.5)})


def test_learned_variance_hears_the_bound_alone_and_the_mean_does_not():
  """L_simple + bound_weight L_vlb with the mean held (2102.09672): v finds the exact variance."""
  model, kw = learned_variance(), {'estimator': 'denoising', 'num_steps': 20}
  batch = {'x': GAUSSIAN['x'][:20000]}
  _, metrics, with_bound = evaluate(model, batch, **kw, bound_weight=0.7)
  simple, _, without = evaluate(model, batch, **kw, bound_weight=0.0)
  assert without['v'] == 0.0 and with_bound['v'] != 0.0
  np.testing.assert_allclose(with_bound['scale'], without['scale'], atol=1e-6)
  value, _, twice = evaluate(model, batch, **kw, bound_weight=1.4)
  np.testing.assert_allclose(twice['v'], 2 * with_bound['v'], rtol=1e-4)
  np.testing.assert_allclose(value, simple + 1.4 * metrics['vlb'], rtol=1e-5)
  # nats per dimension of 20 steps with variances halfway, summed in closed form
  s, t = np.arange(20) / 20, np.arange(1, 21) / 20
  scales = [np.float64(a) for a in (*path(None, s), *path(None, t))]
  snr_s, snr_t = (scales[0] / scales[1]) ** 2, (scales[2] / scales[3]) ** 2
  r = scales[1] / scales[3]  # (beta_tilde / beta)^(1/2)
  least = VARIANCE / (1 + snr_t * VARIANCE)
  steps = 0.5 * (r * (snr_s - snr_t) * least + r - 1 - np.log(r))
  np.testing.assert_allclose(metrics['vlb'], steps.sum(), rtol=0.03)


def test_the_steps_of_a_learned_variance_are_those_of_the_loss():
  """None takes the steps of the chain whose variances are learned; another number is refused."""
  batch = {'x': GAUSSIAN['x'][:1000]}
  taken, given = (evaluate(learned_variance(8), batch, num_steps=n) for n in (None, 8))
  assert jax.tree.all(jax.tree.map(np.array_equal, taken, given))
  other = evaluate(learned_variance(4), batch)[1]['vlb']
  assert abs(other / taken[1]['vlb'] - 1.0) > 0.01
  with pytest.raises(BadInput, match='num_steps=5, .*is of 8 steps; allowed: None'):
    make(learned_variance(8), num_steps=5)
  with pytest.raises(BadInput, match="time_sampling='logit_normal'.*num_steps=8"):
    make(learned_variance(8), time_sampling='logit_normal')


def test_label_dropout_replaces_labels_by_no_label():
  seen = []
  model = diffusing(denoise=lambda params, x_t, t, cond, rng: (
      seen.append(cond), Denoised(x_t * params['scale']))[1])
  objective = make(model, spec=SPEC._replace(num_classes=10), label_dropout=0.2)
  batch = {'x': jnp.zeros((5000, 3)), 'cond': jnp.arange(5000) % 10}
  params, carry = objective.init(RNG, batch)
  objective.players[0].loss(params, carry, batch, RNG, 0)
  dropped = np.asarray(seen[0]) == 10
  np.testing.assert_allclose(dropped.mean(), 0.2, atol=0.02)
  np.testing.assert_array_equal(np.asarray(seen[0])[~dropped], np.asarray(batch['cond'])[~dropped])
