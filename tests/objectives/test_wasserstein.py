import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import compat
from genjax.objectives import wasserstein
from genjax.types import BadInput, DataSpec

SPEC = DataSpec((1,), None, None)
RNG = jax.random.key(2)


def start(model, critic, x, **kw):
  objective = (wasserstein.by_sinkhorn(model, spec=SPEC, **kw) if critic is None else
               wasserstein.by_critic(model, critic, spec=SPEC, **kw))
  params, carry = objective.init(jax.random.key(0), {'x': x})
  losses = [lambda p, player=player: player.loss(p, carry, {'x': x}, RNG, 0)
            for player in objective.players]
  return objective, params, losses


@pytest.mark.slow
def test_linear_critic_of_slope_one_reads_w1_of_a_shift(
    quantile_gaussian, quantiles, linear_critic):
  x = 2.0 + 1.2 * quantiles(500)  # the model's own shape, shifted by 1.5
  objective, params, (critic_loss, model_loss) = start(quantile_gaussian, linear_critic, x)
  assert [p.num_updates for p in objective.players] == [5, 1]
  (value, aux), grads = jax.value_and_grad(critic_loss, has_aux=True)(params)
  np.testing.assert_allclose(aux.metrics['wasserstein_estimate'], 1.5, rtol=1e-4)
  np.testing.assert_allclose(aux.metrics['gradient_penalty'], 0.0, atol=1e-6)
  np.testing.assert_allclose(value, -1.5, rtol=1e-4)
  np.testing.assert_allclose(grads['critic']['w'], [-1.5], rtol=1e-4)
  slope = jax.grad(lambda p: model_loss(p)[0])(params)
  np.testing.assert_allclose(slope['model']['mean'], [-1.0], rtol=1e-5)  # - dW1 / d shift
  np.testing.assert_allclose(slope['model']['log_std'], [0.0], atol=1e-4)


@pytest.mark.slow
def test_penalised_optimum_exceeds_slope_one_by_w1_over_twice_lambda(
    quantile_gaussian, quantiles, linear_critic):
  x = 2.0 + 1.2 * quantiles(500)
  _, params, (critic_loss, _) = start(quantile_gaussian, linear_critic, x, gradient_penalty=10.0)
  params['critic'] = {'w': jnp.array([1.0 + 1.5 / 20.0])}
  grads = jax.grad(lambda p: critic_loss(p)[0])(params)
  np.testing.assert_allclose(grads['critic']['w'], [0.0], atol=1e-3)


def test_one_sided_penalty_spares_small_slopes(gaussian, linear_critic):
  x = jax.random.normal(RNG, (16, 1))
  for w, one_sided, expected in ((0.4, True, 0.0), (0.4, False, 3.6), (1.5, True, 2.5)):
    _, params, (critic_loss, _) = start(gaussian(1), linear_critic, x, one_sided=one_sided)
    params['critic'] = {'w': jnp.array([w])}
    np.testing.assert_allclose(
        critic_loss(params)[1].metrics['gradient_penalty'], expected, atol=1e-5)


def test_a_player_has_no_gradient_in_the_others_parameters(gaussian, linear_critic):
  x = jax.random.normal(RNG, (16, 1))
  objective, params, losses = start(gaussian(1), linear_critic, x)
  for player, loss in zip(objective.players, losses, strict=True):
    grads = jax.grad(lambda p: loss(p)[0])(params)
    for tree, leaves in grads.items():
      own = (tree,) == player.trains
      assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(leaves)) == own


@pytest.mark.slow
def test_sinkhorn_of_a_shift_is_its_square_and_pulls_the_mean(quantile_gaussian, quantiles):
  x = 2.0 + 1.2 * quantiles(64)
  objective, params, (loss,) = start(quantile_gaussian, None, x)
  assert set(params) == {'model'}
  (value, aux), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  np.testing.assert_allclose(value, 1.5**2, rtol=2e-3)
  np.testing.assert_allclose(aux.metrics['wasserstein_estimate'], value)
  np.testing.assert_allclose(grads['model']['mean'], [-3.0], rtol=2e-3)
  np.testing.assert_allclose(grads['model']['log_std'], [0.0], atol=0.02)


def test_bad_values_are_named(gaussian, linear_critic):
  with pytest.raises(BadInput, match='num_critic=0'):
    start(gaussian(1), linear_critic, jnp.zeros((2, 1)), num_critic=0)
  with pytest.raises(BadInput, match='epsilon=0.0'):
    start(gaussian(1), None, jnp.zeros((2, 1)), epsilon=0.0)
  with pytest.raises(BadInput, match="no estimator 'dual'; it has: critic, sinkhorn"):
    compat.choose('objective', 'wasserstein', wasserstein.ESTIMATORS,
                  compat.provides(gaussian(1)), 'dual', model='gaussian', data='ring8', others={},
                  models=dict)
