import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.numerics import f_divergence
from genjax.numerics.shapes import sum_event
from genjax.objectives import adversarial, through_samples
from genjax.prob import normal_log_prob
from genjax.types import BadInput, DataSpec, Model
from tests.networks import critic

SPEC = DataSpec((1,), None, None)
RNG = jax.random.key(2)
NAMES = sorted(f_divergence.F_DIVERGENCES)
GRID, CELL = np.linspace(-12.0, 12.0, 24001).astype(np.float32), 0.001


def optimal_critic(name):
  """v* between the data N(0, 1) and a model that stands still at N(0.5, 1.2^2)."""
  def output(params, x, cond):
    log_u = sum_event(normal_log_prob(x) - normal_log_prob(x, params['mean'], params['std']))
    return f_divergence.get(name).output(log_u)

  return critic(output, lambda rng, x, cond: {'mean': jnp.array(0.5), 'std': jnp.array(1.2)})


def exact(name, params):
  log_q = normal_log_prob(GRID, params['mean'], jnp.exp(params['log_std']))
  return f_divergence.divergence(name, normal_log_prob(GRID), log_q, CELL)


def start(model, net, x, **kw):
  objective = adversarial.by_critic(model, net, spec=SPEC, **kw)
  return objective, *objective.init(jax.random.key(0), {'x': x})


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_at_the_optimal_critic_value_and_saturating_gradient_are_the_divergences(
    name, quantile_gaussian, quantiles):
  batch = {'x': quantiles(20000)}
  objective, params, carry = start(
      quantile_gaussian, optimal_critic(name), batch['x'], divergence=name, saturating=True)
  critic_player, model = objective.players
  assert (critic_player.name, model.name) == ('critic', 'model')
  loss, aux = jax.jit(critic_player.loss)(params, carry, batch, RNG, 0)
  divergence, slope = jax.jit(jax.value_and_grad(lambda p: exact(name, p)))(params['model'])
  np.testing.assert_allclose(aux.metrics['divergence_bound'], divergence, rtol=5e-3)
  np.testing.assert_allclose(loss, -divergence, rtol=5e-3)
  grads = jax.jit(jax.grad(lambda p: model.loss(p, carry, batch, RNG, 0)[0]))(params)
  np.testing.assert_allclose(grads['model']['mean'][0], slope['mean'][0], rtol=1e-2)
  np.testing.assert_allclose(grads['model']['log_std'][0], slope['log_std'][0], rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_the_optimal_critic_is_where_its_gradient_vanishes_and_the_bound_is_largest(
    name, quantile_gaussian, quantiles):
  batch = {'x': quantiles(20000)}
  objective, params, carry = start(
      quantile_gaussian, optimal_critic(name), batch['x'], divergence=name)
  loss = jax.jit(jax.value_and_grad(
      lambda p: objective.players[0].loss(p, carry, batch, RNG, 0)[0]))
  value, grads = loss(params)
  # the quantiles miss the outermost 1 / 40000 of each tail
  np.testing.assert_allclose(jax.tree.leaves(grads['critic']), np.zeros(2), atol=8e-3)
  for key, change in (('mean', 0.2), ('mean', -0.2), ('std', 0.1), ('std', -0.1)):
    moved = {**params, 'critic': {**params['critic'], key: params['critic'][key] + change}}
    assert loss(moved)[0] > value


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_non_saturating_model_raises_the_activation(name, quantile_gaussian, quantiles):
  batch = {'x': quantiles(500)}
  objective, params, carry = start(
      quantile_gaussian, optimal_critic(name), batch['x'], divergence=name)
  f = f_divergence.get(name)

  def by_hand(p):
    x = p['mean'] + jnp.exp(p['log_std']) * quantiles(500)
    log_u = sum_event(normal_log_prob(x) - normal_log_prob(x, 0.5, 1.2))
    return -f.df(jnp.exp(log_u)).mean()

  grads = jax.jit(jax.grad(
      lambda p: objective.players[1].loss(p, carry, batch, RNG, 0)[0]))(params)
  expected = jax.jit(jax.grad(by_hand))(params['model'])
  np.testing.assert_allclose(grads['model']['mean'], expected['mean'], rtol=1e-3)
  np.testing.assert_allclose(grads['model']['log_std'], expected['log_std'], rtol=1e-3)


@pytest.mark.parametrize('saturating', [False, True])
def test_a_player_has_no_gradient_in_the_others_parameters(gaussian, linear_critic, saturating):
  x = jax.random.normal(RNG, (16, 1))
  objective, params, carry = start(
      gaussian(1), linear_critic, x, saturating=saturating, gradient_penalty=1.0)
  for player in objective.players:
    grads = jax.grad(lambda p: player.loss(p, carry, {'x': x}, RNG, 0)[0])(params)
    for tree, leaves in grads.items():
      own = (tree,) == player.trains
      assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(leaves)) == own
      assert all(np.isfinite(g).all() for g in jax.tree.leaves(leaves))


def test_gradient_penalty_of_a_linear_critic_is_its_squared_slope(gaussian, linear_critic):
  x = jax.random.normal(RNG, (16, 1))
  objective, params, carry = start(gaussian(1), linear_critic, x, gradient_penalty=3.0)
  params['critic'] = {'w': jnp.array([0.4])}
  _, aux = objective.players[0].loss(params, carry, {'x': x}, RNG, 0)
  np.testing.assert_allclose(aux.metrics['gradient_penalty'], 1.5 * 0.4**2, rtol=1e-5)


def test_running_statistics_are_written_by_the_critic_alone(gaussian):
  counting = critic(lambda params, x, cond: (x[:, 0], {'stats/n': params['stats']['n'] + 1}),
                    lambda rng, x, cond: {'stats': {'n': jnp.zeros(())}})
  x = jax.random.normal(RNG, (16, 1))
  objective, params, carry = start(gaussian(1), counting, x, num_critic=4)
  assert [p.num_updates for p in objective.players] == [4, 1]
  writes = [p.loss(params, carry, {'x': x}, RNG, 0)[1].writes for p in objective.players]
  assert writes == [{'critic/stats/n': 1.0}, {}]


def test_real_data_are_dequantised_and_labels_are_passed_on(gaussian):
  seen = []

  def output(params, x, cond):
    seen.append((np.asarray(x), cond))
    return x[:, 0]

  objective = adversarial.by_critic(gaussian(1), critic(output), spec=DataSpec((1,), 17, 10))
  batch = {'x': jnp.zeros((64, 1)), 'cond': jnp.arange(64) % 10}
  params, carry = objective.init(RNG, batch)
  objective.players[0].loss(params, carry, batch, RNG, 0)
  real = seen[0][0]
  assert 0.04 < np.abs(real).max() <= 1 / 16
  assert all(cond is batch['cond'] for _, cond in seen)


def test_what_only_a_bound_describes_is_removed_and_exact_models_stay_whole(
    gaussian, linear_critic):
  make = lambda model: adversarial.by_critic(model, linear_critic, spec=SPEC).model
  exact_model = gaussian(1)
  assert make(exact_model) is exact_model
  vae = Model(init=len, sample=len, rsample=len, elbo=len, log_weight=len)
  trained = make(vae)
  assert {name for name, field in trained._asdict().items() if field} == {
      'init', 'sample', 'rsample'}
  # what is drawn is what the critic saw, not a draw of the likelihood around it
  shown = make(vae._replace(rsample=lambda params, rng, n, cond: [params, n]))
  assert shown.sample('theta', None, 3, None) == (['theta', 3], 1)


def test_unknown_divergence_lists_the_known(gaussian, linear_critic):
  with pytest.raises(BadInput, match="'renyi' is not one of: gan, jeffreys, js, kl, pearson"):
    start(gaussian(1), linear_critic, None, divergence='renyi')


def test_noise_alone_does_not_tell_samples_from_data():
  """A model that makes the data's own levels: nothing is left by which a critic could tell."""
  spec = DataSpec((4,), 3, None)
  grid = lambda rng, n: jax.random.randint(rng, (n, 4), 0, 3) - 1.0
  levels = Model(init=None, rsample=lambda p, rng, n, cond: grid(rng, n))
  # of a density, which has the noise in it
  density = levels._replace(sample_and_log_prob=lambda p, rng, n, cond: (grid(rng, n), 0.0))
  batch = {'x': grid(jax.random.key(5), 20_000)}
  off_level = lambda x: x - jnp.round(x)
  for model, width in ((levels, 1.0), (density, 0.0)):
    real, fake = through_samples.real_and_fake(model, spec, {}, batch, RNG)
    np.testing.assert_allclose(off_level(real).var(), 1 / 12, rtol=0.03)
    np.testing.assert_allclose(off_level(fake).var(), width / 12, rtol=0.03)
    assert abs(float((off_level(real) * off_level(fake)).mean())) < 0.002  # independent
  continuous = through_samples.real_and_fake(levels, DataSpec((4,), None, None), {}, batch, RNG)
  for x in continuous:
    assert not np.any(off_level(x))
