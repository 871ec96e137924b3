import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import compat
from genjax.objectives import kl
from genjax.types import BadInput, DataSpec, Diffusion, Model

SPEC = DataSpec((2,), None, None)
RNG = jax.random.key(3)
X = 0.7 * jax.random.normal(jax.random.key(0), (64, 2)) + jnp.array([1.0, -2.0])


def gradient(objective, batch, rng=RNG):
  params, carry = objective.init(jax.random.key(1), batch)
  loss = objective.players[0].loss
  (value, aux), grads = jax.jit(jax.value_and_grad(
      lambda p: loss(p, carry, batch, rng, 0), has_aux=True))(params)
  return value, aux, grads, params, carry


def test_exact_gradient_is_that_of_maximum_likelihood(gaussian):
  value, aux, grads, params, _ = gradient(
      kl.exact(gaussian(2)), {'x': X})
  mean, var = params['model']['mean'], jnp.exp(2 * params['model']['log_std'])
  np.testing.assert_allclose(grads['model']['mean'], (mean - X.mean(0)) / var, rtol=1e-4)
  np.testing.assert_allclose(
      grads['model']['log_std'], 1 - ((X - mean) ** 2).mean(0) / var, rtol=1e-4)
  np.testing.assert_allclose(value, aux.metrics['nll'])


def test_fit_has_no_players_and_stands_back_for_what_is_asked(gaussian):
  model = gaussian(2)._replace(fit=lambda rng, x: {'mean': x.mean(0)})
  objective = kl.fit(model)
  assert objective.players == () and objective.fit is model.fit
  choose = lambda asked: compat.choose(
      'objective', 'kl', kl.ESTIMATORS, compat.provides(model), asked, model='gaussian',
      data='ring8', others={}, models=dict)
  assert choose(None) == choose('') == choose('fit') == 'fit'
  assert choose('exact') == 'exact'
  with pytest.raises(BadInput, match="no estimator 'em'; it has: fit, exact, bound, estimate"):
    choose('em')
  with pytest.raises(BadInput, match=r"needs elbo \(bound\)\.\n"):  # of no other estimator
    choose('bound')


def test_an_energy_alone_picks_contrastive_divergence():
  have = compat.provides(Model(init=len, sample=len, energy=len))
  assert compat.legal(kl.ESTIMATORS, have) == ('contrastive_divergence',)


def bounded(log_w_std=0.8):
  """A constant ELBO: reconstruction a, KLs b and c; log weights N(m, s^2) around m."""
  def elbo(params, batch, rng):
    ones = jnp.ones(batch['x'].shape[0])
    return {'reconstruction': params['a'] * ones, 'kl_top': -params['b'] * ones,
            'kl_z': -params['c'] * ones}

  def log_weight(params, batch, rng):
    return params['a'] + log_w_std * jax.random.normal(rng, batch['x'].shape[:1])

  init = lambda rng, batch: {'a': jnp.float32(-3.0), 'b': jnp.float32(2.0), 'c': jnp.float32(0.5)}
  return Model(init, elbo=elbo, log_weight=log_weight)


def test_bound_weighs_its_kl_terms_and_logs_each():
  value, aux, grads, _, _ = gradient(
      kl.bound(bounded()), {'x': X})
  np.testing.assert_allclose(value, 5.5)
  assert set(aux.metrics) == {'reconstruction', 'kl_top', 'kl_z', 'elbo'}
  value, aux, grads, _, _ = gradient(
      kl.bound(bounded(), beta=4.0, free_bits=1.0), {'x': X})
  np.testing.assert_allclose(value, 3.0 + 4.0 * (2.0 + 1.0))
  # the KLs themselves, not the terms of the bound
  assert aux.metrics['kl_top'] >= 0 and aux.metrics['kl_z'] >= 0 > aux.metrics['reconstruction']
  np.testing.assert_allclose(aux.metrics['elbo'], -5.5)  # the bound itself, unweighted
  np.testing.assert_allclose(jax.tree.leaves(grads), [-1.0, 4.0, 0.0])  # c is below its free bits


def test_beta_without_a_kl_term_is_refused():
  model = bounded()._replace(elbo=lambda params, batch, rng: {'log_density': batch['x'][:, 0]})
  with pytest.raises(BadInput, match='beta=2.0.*log_density'):
    gradient(kl.bound(model, beta=2.0), {'x': X})


def test_importance_weighted_rises_from_the_elbo_to_the_likelihood():
  x = {'x': jnp.zeros((4000, 2))}
  bounds = [-gradient(kl.importance_weighted(bounded(),
                              num_samples=k), x)[0] for k in (1, 4, 64)]
  np.testing.assert_allclose(bounds[0], -3.0, atol=0.05)  # L_1 = m
  assert bounds[0] < bounds[1] < bounds[2]
  # L_k is log p - Var(w / p) / (2 k) to first order, log p = m + s^2 / 2
  np.testing.assert_allclose(
      bounds[2], -3.0 + 0.32 - (np.exp(0.64) - 1) / 128, atol=0.02)


def test_contrastive_divergence_gradient_and_chains(gaussian):
  objective = kl.contrastive_divergence(gaussian(2), spec=SPEC, alpha=0.0,
                      num_steps=5, restart=0.25)
  _, aux, grads, params, carry = gradient(objective, {'x': X})
  chains = aux.carry['rows']['chains']
  assert chains.shape == carry['rows']['chains'].shape == X.shape
  # E = |x - m|^2 / 2 s^2 + log s + ..., the constants cancel between the phases
  var = jnp.exp(2 * params['model']['log_std'])
  np.testing.assert_allclose(
      grads['model']['mean'], (chains.mean(0) - X.mean(0)) / var, rtol=1e-3, atol=1e-5)
  moved = np.abs(chains - carry['rows']['chains']).max(1)
  assert 4 <= (moved > 1.2).sum() <= 36  # restarted; Langevin alone moves sqrt(5 / 100)


def test_contrastive_divergence_reaches_the_moments(gaussian):
  objective = kl.contrastive_divergence(gaussian(2), spec=SPEC, alpha=0.0,
                      num_steps=10, step_size=0.1, restart=0.0)
  params, carry = objective.init(jax.random.key(1), {'x': X})
  loss = objective.players[0].loss

  def step(state, key):
    params, carry = state
    grads, aux = jax.grad(lambda p: loss(p, carry, {'x': X}, key, 0), has_aux=True)(params)
    params = jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)
    return (params, aux.carry), params['model']

  _, path = jax.lax.scan(step, (params, carry), jax.random.split(RNG, 1500))
  late = jax.tree.map(lambda a: a[500:].mean(0), path)
  np.testing.assert_allclose(late['mean'], X.mean(0), atol=0.05)
  # the discretised chain's variance is s^2 / (1 - step / 4 s^2): below, so that the chain matches
  std = jnp.exp(late['log_std'])
  np.testing.assert_allclose(std / jnp.sqrt(1 - 0.1 / (4 * std**2)), X.std(0), rtol=0.05)


def test_chains_keep_their_labels_and_levels_start_within_the_box(gaussian):
  spec = DataSpec((2,), 17, 3)
  batch = {'x': jnp.zeros((64, 2)), 'cond': jnp.full(64, 2)}
  objective = kl.contrastive_divergence(gaussian(2), spec=spec, restart=0.0)
  params, carry = objective.init(jax.random.key(1), {**batch, 'cond': jnp.arange(64) % 3})
  assert np.abs(carry['rows']['chains']).max() <= 1.0
  _, aux = objective.players[0].loss(params, carry, batch, RNG, 0)
  np.testing.assert_array_equal(aux.carry['rows']['cond'], jnp.arange(64) % 3)


@pytest.mark.parametrize(('make', 'kw'), [
    (kl.bound, {'beta': -1.0}), (kl.bound, {'free_bits': -0.5}),
    (kl.importance_weighted, {'num_samples': 0}),
    (functools.partial(kl.contrastive_divergence, spec=SPEC), {'restart': 1.5}),
    (functools.partial(kl.contrastive_divergence, spec=SPEC), {'step_size': 'x'})])
def test_values_out_of_range_are_named(gaussian, make, kw):
  name = next(iter(kw))
  with pytest.raises(BadInput, match=f'{name}=.*has to'):
    make(gaussian(2), **kw)


def test_a_learned_schedule_is_a_second_player_on_its_own_parameters():
  """It descends the square of the bound's estimate, the network the bound (2107.00630, I.2)."""
  def terms(params, scale):
    return scale * params['network'] * params['schedule']

  model = Model(lambda rng, batch: {'network': jnp.float32(2.0), 'schedule': jnp.float32(3.0)},
                elbo=lambda params, batch, rng: {'diffusion': -terms(params, batch['x'][:, 0])},
                diffusion=Diffusion(None, None, schedule_loss=lambda params, batch, rng: (
                    terms(params, batch['x'][:, 0]) ** 2)))
  objective = kl.bound(model)
  assert [(p.name, p.trains) for p in objective.players] == [
      ('model', ('model/network',)), ('schedule', ('model/schedule',))]
  batch = {'x': jnp.array([[1.0], [3.0]])}
  params, carry = objective.init(RNG, batch)
  (value, aux), (square, of_square) = (player.loss(params, carry, batch, RNG, 0)
                                       for player in objective.players)
  assert float(value) == 12.0 and float(aux.metrics['diffusion']) == -12.0
  assert float(square) == float(of_square.metrics['bound_square']) == 180.0
  for diffusion in (None, Diffusion(None, None)):
    fixed = kl.bound(model._replace(diffusion=diffusion))
    assert [p.trains for p in fixed.players] == [('model',)]
