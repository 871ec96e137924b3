"""One Gaussian trained by gradient on well separated modes ends where quadrature says it must.

'Within 1 %' here: the divergence attained is at most 1 % above its minimum, the mean is within 1 %
of the minimiser's standard deviation (|L*^-1 (m - m*)|), and so is each standard deviation (the
singular values of L*^-1 L). With a critic the latter two are 3 %.

Jeffreys by a critic is asked for where the modes overlap (three_modes with a standard deviation of
1.25, four_modes with 2). With 0.5, at its minimiser on three modes 8 % of q, and 1.0 of the 3.7
nats of KL(q || p), lie where p has a mass of less than 1 in the 200,000 data points; on four modes
37 % and 7.4 of 9.7 nats. No critic can learn that from samples: the game ended 10 % above the
minimum of 5.55 on three modes, and at 30.6 in place of 19.1 on four. With the best critic in place
of a learned one the same objective reaches its minimisers there too.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import data
from genjax.models import gaussian
from genjax.numerics import f_divergence
from genjax.objectives import adversarial
from genjax.types import DataSpec
from tests.learning import quadrature, running
from tests.networks import critic

THREE, FOUR = [(2, 2), (-2, -2), (2, -2)], [(4, 4), (4, -4), (-4, 4), (-4, -4)]
CENTRES = {'three_modes': THREE, 'four_modes': FOUR}
SPEC = DataSpec((2,), None, None)
EXACT, CRITIC = 0.01, 0.03


def target(name: str, std: float) -> quadrature.Target:
  edge = np.abs(CENTRES[name]).max() + 10 * max(std, 1.0)
  return quadrature.target(CENTRES[name], std, edge, 0.125)


def theta_of(params) -> np.ndarray:
  mean, log_diag, lower = (np.asarray(params[k], np.float64) for k in ('mean', 'log_diag', 'lower'))
  return np.array([*mean, *log_diag, lower[1, 0]])


def trained(name, std, start, words, **settings) -> np.ndarray:
  """theta of the Gaussian that the toy config trains from N(start mean, start scale^2 I)."""
  mean, scale = start
  argument = (f'data={name},data.std={std},data.num_train=200000,family=gaussian,'
              f'model.init_mean={mean},model.init_scale={scale},model.init_spread=0.0,{words}')
  config = running.config_of(argument.replace(' ', ''), **{
      'steps_per_dispatch': 100, 'optim__lr': 1e-2, **settings})
  return theta_of(running.train(config)[1])


def check(divergence, theta, p, tolerance, best=None):
  """theta is as near as asked to the minimiser that BFGS reaches from it (or to `best`)."""
  best = quadrature.minimise(divergence, theta, p)[0] if best is None else best
  value, minimum = (quadrature.divergence(divergence, t, p)[0] for t in (theta, best))
  mean, stretch = quadrature.distance(theta, best)
  print(f'{divergence}: D {value:.4f}, minimum {minimum:.4f}, mean {mean:.4f}, std {stretch:.4f}')
  assert value <= 1.01 * minimum
  assert mean < tolerance
  assert stretch < tolerance
  return value


@pytest.mark.slow
@pytest.mark.parametrize('name', ['three_modes', 'four_modes'])
def test_kl_reaches_the_gaussian_of_equal_moments(name):
  words = 'objective=kl,estimator=exact'
  theta = trained(name, 0.5, ((0.5, 0.0), 2.0), words, steps=1500, batch_size=2048)
  p = target(name, 0.5)
  moments = quadrature.pack(np.mean(p.centres, 0),
                            0.25 * np.eye(2) + np.cov(p.centres.T, bias=True))
  np.testing.assert_allclose(quadrature.minimise('kl', theta, p)[0], moments, atol=1e-5)
  check('kl', theta, p, EXACT, moments)


@pytest.mark.slow
@pytest.mark.parametrize('start', [((1.0, 0.5), 1.0), ((2.0, 0.0), 1.0)], ids=['mode', 'pair'])
def test_reverse_kl_reaches_a_local_minimiser_on_three_modes(start):
  theta = trained('three_modes', 0.5, start, 'objective=reverse_kl', steps=2000, batch_size=2048)
  value = check('reverse_kl', theta, target('three_modes', 0.5), EXACT)
  # one mode, or along two
  assert min(abs(value - np.log(3)), abs(value - 2.2766)) < 0.01


def test_reverse_kl_settles_at_log_4_on_four_modes():
  theta = trained('four_modes', 0.5, ((3.0, 3.0), 1.0), 'objective=reverse_kl', steps=1500)
  value = check('reverse_kl', theta, target('four_modes', 0.5), EXACT)
  assert abs(value - np.log(4)) < 0.02


BROAD_3, BROAD_4 = ((0.0, 0.0), 2.0), ((0.5, 0.0), 4.0)
CASES = {  # (data, divergence) -> std, start, settings
    ('three_modes', 'kl'): (0.5, BROAD_3, {}),
    ('three_modes', 'reverse_kl'): (0.5, ((1.8, -1.8), 0.35), {}),
    ('three_modes', 'js'): (0.5, BROAD_3, {}),
    ('three_modes', 'pearson'): (0.5, BROAD_3, {}),
    ('three_modes', 'squared_hellinger'): (0.5, BROAD_3, {}),
    ('three_modes', 'jeffreys'): (1.25, BROAD_3, {}),
    ('four_modes', 'kl'): (0.5, BROAD_4, {'batch_size': 1024, 'optim__lr': 5e-3}),
    ('four_modes', 'reverse_kl'): (0.5, ((4.2, 3.8), 0.35), {}),
    ('four_modes', 'js'): (0.5, BROAD_4, {'batch_size': 2048, 'optim__lr': 5e-3}),
    ('four_modes', 'pearson'): (0.5, BROAD_4, {'batch_size': 1024, 'steps': 4500}),
    ('four_modes', 'squared_hellinger'): (0.5, BROAD_4, {'optim__lr': 5e-3}),
    ('four_modes', 'jeffreys'): (2.0, BROAD_4, {'optim__lr': 5e-3}),
}


@pytest.mark.slow
@pytest.mark.parametrize('name,divergence', CASES, ids=['-'.join(case) for case in CASES])
def test_a_critic_leads_to_a_minimiser_of_its_divergence(name, divergence):
  std, start, settings = CASES[name, divergence]
  words = (f'objective=adversarial,divergence={divergence},objective.saturating=True,'
           'objective.num_critic=4')
  theta = trained(name, std, start, words, **{
      'steps': 3000, 'batch_size': 512, 'optim__lr': 2.5e-3, 'ema': 0.995,
      'optim_by_player__critic__lr': 2e-3, 'networks__critic__kw': {'features': (64, 64)},
      **settings})
  check(divergence, theta, target(name, std), CRITIC)


def quantile_noise(model, side: int):
  """The Gaussian with its noise at side^2 equally likely points: expectations without luck."""
  at = jax.scipy.stats.norm.ppf((jnp.arange(side) + 0.5) / side)
  z = jnp.stack(jnp.meshgrid(at, at, indexing='ij'), -1).reshape(-1, 2)
  return model._replace(rsample=lambda params, rng, n, cond: gaussian.colour(params, z))


def with_best_critic(toy, divergence: str, side: int):
  """The objective on a Gaussian of side^2 quantiles; the critic's params are the model's own."""
  best = f_divergence.get(divergence).output

  def ratio(params, x, cond):
    log_ratio = toy.log_density(x) - gaussian.log_density(params, x)
    return best(jnp.maximum(log_ratio, -80.0))  # exp(80) and its products are in float32

  model = quantile_noise(gaussian.make(SPEC), side)
  return adversarial.by_critic(model, critic(ratio), spec=SPEC, divergence=divergence,
                               saturating=True)


@pytest.mark.slow
@pytest.mark.parametrize('divergence', quadrature.GENERATORS)
def test_with_the_best_critic_the_model_follows_the_gradient_of_the_divergence(divergence):
  toy = data.load('three_modes', std=1.0, num_train=64, num_validation=8, num_test=8)
  objective = with_best_critic(toy, divergence, side=400)
  params = {'mean': jnp.array([0.9, -0.4]), 'log_diag': jnp.array([0.7, 0.9]),
            'lower': jnp.array([[0.0, 0.0], [0.6, 0.0]])}
  loss = lambda theta: objective.players[1].loss(
      {'model': theta, 'critic': params}, (), {'x': jnp.zeros((2, 2))}, jax.random.key(0), 0)[0]
  found = theta_of(jax.jit(jax.grad(loss))(params))
  slope = quadrature.divergence(divergence, theta_of(params), target('three_modes', 1.0))[1]
  np.testing.assert_allclose(found, slope, atol=0.01 * np.abs(slope).max())


@pytest.mark.slow
@pytest.mark.parametrize('name', ['three_modes', 'four_modes'])
def test_with_the_best_critic_jeffreys_reaches_its_minimiser(name):
  toy = data.load(name, std=0.5, num_train=64, num_validation=8, num_test=8)
  objective = with_best_critic(toy, 'jeffreys', side=256)
  optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 1500))

  def step(state, _):
    theta, moments = state
    loss = lambda theta_: objective.players[1].loss(
        {'model': theta_, 'critic': theta}, (), {'x': jnp.zeros((2, 2))}, jax.random.key(0), 0)[0]
    updates, moments = optimizer.update(jax.grad(loss)(theta), moments)
    return (optax.apply_updates(theta, updates), moments), None

  theta = {'mean': jnp.array([0.5, -0.5]), 'log_diag': jnp.log(jnp.array([2.0, 2.5])),
           'lower': jnp.zeros((2, 2))}
  start = (theta, optimizer.init(theta))
  (theta, _), _ = jax.jit(lambda state: jax.lax.scan(step, state, length=1500))(start)
  check('jeffreys', theta_of(theta), target(name, 0.5), CRITIC)
