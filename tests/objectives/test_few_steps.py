"""MeanFlow, consistency and distillation: their losses at the exact maps of a Gaussian."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import compat, wiring
from genjax.numerics import flow_map as maps
from genjax.objectives import consistency, distillation, mean_flow, score_matching
from genjax.train import init
from genjax.types import BadInput, DataSpec, Denoised, Diffusion, Model, TwoTimes
from genjax.wiring import parts
from tests import networks
from tests.numerics import known_denoisers as known
from tests.numerics.test_flow_map import exact_x_hat
from tests.test_contract import config_of, moved

POINTS, LABELLED = DataSpec((2,), None, None), DataSpec((2,), None, 3)
SMALL = {'denoiser': {'width': 16, 'num_blocks': 1}}
N = 2**14
EXACT = {'gain': jnp.ones(()), 'shift': jnp.zeros(())}
T_MIN = 1e-2


def diffusing(path, x_hat, init=None, two_time=None):
  """A diffusion on a path t -> alpha, sigma whose denoiser says x_hat."""
  return Model(init=init, diffusion=Diffusion(
      lambda params, t: path(t), lambda *args: Denoised(x_hat(*args)), two_time))


def gaussian_model(path):
  """A diffusion of the known Gaussian: exact for gain 1 and shift 0, and else not."""
  def of(x_hat, params):
    return params['gain'] * x_hat + params['shift']

  init = lambda rng, batch: EXACT
  return diffusing(
      path, lambda params, x_t, t, cond, rng: of(
          exact_x_hat(path, x_t, t, jnp.full_like(t, T_MIN)), params), init,
      TwoTimes(init, lambda params, x_t, t, s, cond, rng: of(
          exact_x_hat(path, x_t, t, s), params)))


def gradients(objective, step=10**6):
  """params -> the mean gradient over batches, and its standard error, in the two parameters."""
  [player] = objective.players

  @jax.jit
  def one(rng, params):
    rng_x, rng = jax.random.split(rng)
    x_0 = jnp.asarray(known.MEAN) + jax.random.normal(rng_x, (N // 16, 2)) @ jnp.asarray(
        np.linalg.cholesky(known.COV).T)
    grads = jax.grad(lambda p: player.loss({'model': p}, (), {'x': x_0}, rng, step)[0])(params)
    return jnp.stack([grads['gain'], grads['shift']])

  def mean(params):
    found = np.stack([one(jax.random.key(i), params) for i in range(16)])
    return found.mean(0), found.std(0, ddof=1) / 4.0

  return mean


OBJECTIVES = {
    'mean_flow': lambda model: mean_flow.average_velocity(
        model, spec=POINTS, t_min=T_MIN, apart=0.5, weight_power=0.0),
    # tangents that are hardly normalised: what is normalised has no mean of 0
    'consistency': lambda model: consistency.continuous(
        model, t_min=T_MIN, warmup=1, tangent_floor=1e4)}


@pytest.mark.slow
@pytest.mark.parametrize('name', OBJECTIVES)
@pytest.mark.parametrize('path', ('linear', 'vp'))
def test_the_gradient_is_zero_at_the_exact_map_and_points_to_it_from_elsewhere(name, path):
  with jax.enable_x64(True):
    gradient = gradients(OBJECTIVES[name](gaussian_model(known.PATHS[path])))
    mean, error = gradient(EXACT)
    assert (np.abs(mean) < 4.0 * error).all(), (mean, error)
    for key, i in (('gain', 0), ('shift', 1)):
      up, down = (gradient({**EXACT, key: EXACT[key] + d})[0][i] for d in (0.3, -0.3))
      assert up > 8.0 * error[i] and down < -8.0 * error[i], (key, up, down, error)


def test_the_tangent_is_normalised_and_its_slope_warmed_up():
  """The loss is (|g| / (|g| + c))^2 in value; at step 0 the network's own slope plays no part."""
  with jax.enable_x64(True):
    path = known.vp
    x = jax.random.normal(jax.random.key(0), (256, 2), jnp.float64)
    moving = lambda steep: diffusing(
        path, lambda p, x_t, t, cond, rng: x_t + jnp.sin(steep * (t[:, None] - 0.5)) * 1e-9,
        lambda *_: {})
    make = lambda steep, floor: consistency.continuous(
        moving(steep), warmup=100, tangent_floor=floor).players[0].loss
    compiled = {floor: networks.jit(lambda steep, step, floor=floor: make(steep, floor)(
        {'model': {}}, (), {'x': x}, jax.random.key(1), step)[0]) for floor in (0.1, 1e-9)}
    loss = lambda steep, step, floor=0.1: compiled[floor](steep, step)
    assert loss(0.0, 0, 1e-9) == pytest.approx(1.0, abs=1e-6) and loss(0.0, 0) < 1.0
    assert loss(1e12, 0) == pytest.approx(float(loss(0.0, 0)), abs=1e-6)
    assert loss(1e12, 100) > loss(0.0, 100) + 0.02


@pytest.mark.slow
def test_the_loss_of_mean_flow_is_divided_by_its_own_power():
  x = jax.random.normal(jax.random.key(0), (64, 2))
  model = gaussian_model(known.linear)
  loss = lambda power: mean_flow.average_velocity(
      model, spec=POINTS, weight_power=power).players[0].loss
  value = lambda power: float(networks.jit(loss(power))(
      {'model': {**EXACT, 'gain': 2.0}}, (), {'x': x}, jax.random.key(1), 0)[0])
  assert value(1.0) == pytest.approx(1.0, abs=0.02) and value(0.0) > 2.0


def test_times_of_mean_flow_are_two_independent_draws_in_order():
  draw = lambda rng, n: (jnp.arange(n) + jax.random.uniform(rng)) / n  # as stratified as can be
  t, s = mean_flow._two_times(jax.random.key(0), 4000, 0.25, draw)
  assert (s <= t).all() and abs(float((s < t).mean()) - 0.25) < 0.03
  t, s = (a[s < t] for a in (t, s))
  # of two uniform numbers: E max = 2/3, E min = 1/3, correlation 1/2
  np.testing.assert_allclose((t.mean(), s.mean()), (2 / 3, 1 / 3), atol=0.03)
  assert abs(np.corrcoef(t, s)[0, 1] - 0.5) < 0.08


def test_guidance_of_mean_flow_moves_the_target_of_labelled_examples_alone():
  """At s = t the network regresses on weight x_0 + (1 - weight) x_hat of no label."""
  def field(params, x_t, t, s, cond, rng):
    return params['gain'] * jnp.where((cond == 3)[:, None], 5.0, 0.0) * jnp.ones_like(x_t)

  # a path on which the velocity is h x_t - x_0 at all times
  model = diffusing(lambda t: (jnp.ones_like(t), jnp.exp(t)), None,
                    two_time=TwoTimes(None, field))
  objective = mean_flow.average_velocity(
      model, spec=LABELLED, apart=0.0, weight_power=0.0, guidance=3.0, label_dropout=0.4)
  batch = {'x': jnp.ones((5000, 2)), 'cond': jnp.zeros(5000, jnp.int32)}
  _, aux = networks.jit(objective.players[0].loss)(
      {'model': {'gain': 1.0}}, (), batch, jax.random.key(0), 0)
  # labelled: the target is 3 - 2 * 5 = -7 and the network says 0; dropped: 1, and it says 5
  share = (49.0 - float(aux.metrics['u_mse'])) / (49.0 - 16.0)
  assert abs(share - 0.4) < 0.03


def test_the_target_of_distillation_is_two_exact_steps():
  """With the exact denoiser, by hand: x -> (sigma_s / sigma_t) (x - alpha_t x_0) + alpha_s x_0."""
  with jax.enable_x64(True):
    path, denoise = known.vp, known.gaussian(known.vp)
    t, u, s = (jnp.full(5, v) for v in (0.75, 0.625, 0.5))
    x_t = jax.random.normal(jax.random.key(0), (5, 2), jnp.float64)
    x, z = np.asarray(x_t), None
    for a, b in ((0.75, 0.625), (0.625, 0.5)):
      (alpha_a, sigma_a), (alpha_b, sigma_b) = path(np.float64(a)), path(np.float64(b))
      x_0 = np.asarray(denoise(jnp.asarray(x), jnp.full(5, a)))
      z = (x - alpha_a * x_0) / sigma_a
      x = alpha_b * x_0 + sigma_b * z
    target = distillation.two_steps(denoise, path, x_t, t, u, s)
    np.testing.assert_allclose(maps.step(path, x_t, target, t, s), x, rtol=1e-10)
    one = maps.step(path, x_t, denoise(x_t, t), t, s)
    assert np.abs(one - x).max() > 1e-3


def stages(model, **kw):
  """(objective, the loss's value and what it writes at a step), for parameters {'model': gain}."""
  objective = distillation.progressive(
      model, init_from='a run', first_steps=8, last_steps=2, stage_steps=10, **kw)
  x = jax.random.normal(jax.random.key(0), (512, 2))

  def at(step, params):
    value, aux = networks.jit(objective.players[0].loss)(
        params, (), {'x': x}, jax.random.key(1), step)
    return float(value), aux.metrics, aux.writes['teacher']

  return objective, at


def test_steps_halve_by_stages_and_the_student_becomes_the_teacher():
  path = known.vp
  model = diffusing(path, lambda p, x_t, t, cond, rng: p * known.gaussian(path)(x_t, t),
                    lambda rng, batch: jnp.float32(0.7))
  objective, at = stages(model)
  params, carry = objective.init(None, None)
  assert carry == () and objective.players[0].trains == ('model',)
  params = {**params, 'model': jnp.float32(0.9)}
  seen = []
  for step in (0, 9, 10, 19, 20, 57):
    _, metrics, teacher = at(step, params)
    seen.append((float(metrics['num_steps']), int(teacher['stage']), float(teacher['model'])))
    params = {'model': params['model'] + 0.01, 'teacher': teacher}
  old, first, second = np.float32((0.7, 0.92, 0.94))  # the student as it is at steps 10 and 20
  np.testing.assert_allclose(seen, [(8, 0, old), (8, 0, old), (4, 1, first), (4, 1, first),
                                    (2, 2, second), (2, 2, second)], rtol=1e-6)
  # of a skipped step nothing is written: the next one replaces the teacher
  fresh, _ = objective.init(None, None)
  assert int(at(13, fresh)[2]['stage']) == 1


@pytest.mark.slow
def test_a_student_that_makes_the_two_steps_has_no_loss():
  path, n = known.vp, 8
  two = lambda x_t, t: distillation.two_steps(known.gaussian(path), path, x_t, t, t - 0.5 / n,
                                              t - 1.0 / n)
  model = diffusing(path, lambda p, x_t, t, cond, rng: (
      p['share'] * two(x_t, t) + (1.0 - p['share']) * known.gaussian(path)(x_t, t)))
  _, at = stages(model)
  teacher = {'model': {'share': 0.0}, 'stage': jnp.int32(0)}
  exact, off = (at(0, {'model': {'share': v}, 'teacher': teacher})[0] for v in (1.0, 0.5))
  assert exact < 1e-9 and off > 1e-5
  # max(snr, 1) is never below the plain error, nor below snr
  _, plain = stages(model, weighting='data')
  _, of_noise = stages(model, weighting='simple')
  params = {'model': {'share': 0.5}, 'teacher': teacher}
  assert max(plain(0, params)[0], of_noise(0, params)[0]) < off


def trained(make, **kw):
  """A small diffusion, an objective on it, and parameters of its model off their start."""
  base = networks.family('diffusion', POINTS, SMALL, schedule='linear', prediction='velocity')
  goal = make(base, **kw)
  params, _ = init.initialise(goal.init, jax.random.key(0), {'x': jnp.zeros((1, 2))})
  return base, goal, networks.moved(params['model'], 0.3)


MEAN_FLOW = functools.partial(mean_flow.average_velocity, spec=POINTS)
CONSISTENCY, DISTILLATION = consistency.continuous, distillation.progressive
FEW = pytest.mark.parametrize(('make', 'kw'), [
    (MEAN_FLOW, {}), (CONSISTENCY, {}), (DISTILLATION, {'init_from': 'a run'})],
    ids=('mean_flow', 'consistency', 'distillation'))


@FEW
def test_what_stands_afterwards(make, kw):
  base, goal, theta = trained(make, **kw)
  model, diffusion = goal.model, goal.model.diffusion
  assert model.flow_map and model.elbo is diffusion.two_time is None
  assert diffusion.learned_variance_steps is None
  assert (diffusion.denoise is not None) == (make is MEAN_FLOW)
  assert ('denoise' in compat.provides(model)) == (make is MEAN_FLOW)
  x, t = jax.random.normal(jax.random.key(1), (64, 2)), jnp.linspace(0.05, 1.0, 64)
  flow_map = networks.jit(lambda s: model.flow_map(theta, x, t, s, None))
  np.testing.assert_allclose(flow_map(t), x, atol=1e-5)
  away = flow_map(0.5 * t)
  assert np.abs(away - x).min(0).max() > 1e-4
  if make is MEAN_FLOW:  # on the linear path: x_s = x_t - (t - s) u, and u at s = t is v
    x_0 = networks.jit(diffusion.denoise)(theta, x, t, None, None).x_0
    near = 0.999 * t
    u = (x - flow_map(near)) / (t - near)[:, None]
    np.testing.assert_allclose(u, (x - x_0) / t[:, None], rtol=0.02, atol=0.02)
  else:
    x_0 = networks.jit(base.diffusion.denoise)(theta, x, t, None, None).x_0
    path = lambda t: base.diffusion.path(theta, t)
    np.testing.assert_allclose(
        away, maps.step(path, x, x_0, t, 0.5 * t), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@FEW
def test_the_sampler_that_suits_needs_no_line(make, kw):
  _, goal, theta = trained(make, **kw)
  model, chosen = goal.model, lambda name, given: parts.suited(goal.sampler, name, given)
  sample = lambda name, **kw: networks.jit(lambda key: parts.with_sampler(
      model, POINTS, *chosen(name, kw)).sample(theta, key, 8, None))(jax.random.key(3))
  x, nfe = sample('')
  assert nfe == {MEAN_FLOW: 1, CONSISTENCY: 2, DISTILLATION: 4}[make]
  assert sample('', num_steps=3)[1] == sample('flow_map', times=(0.6, 0.3))[1] == 3
  np.testing.assert_array_equal(x, sample('flow_map')[0])
  if make is MEAN_FLOW:
    assert sample('ddim', num_steps=7)[1] == 7  # its field is a denoiser's
  else:
    with pytest.raises(BadInput, match="'ddim' asks for denoise.*allowed: flow_map"):
      sample('ddim')
  with pytest.raises(BadInput, match='takes no guidance'):
    parts.with_sampler(model, LABELLED, *chosen('', {}), weight=2.0)


def test_a_denoiser_has_no_flow_map_and_ddim_suits_it():
  base = networks.family('diffusion', POINTS, SMALL)
  trained_for = score_matching.denoising(base, spec=POINTS).sampler
  assert parts.suited(trained_for, '', {'eta': 1.0}) == ('ddim', {'eta': 1.0})
  with pytest.raises(BadInput, match="'flow_map' asks for flow_map.*ddim.*heun"):
    parts.with_sampler(base, POINTS, 'flow_map', {})


@pytest.mark.slow
def test_two_times_are_heard_apart_and_embedded_slowly():
  """The network of two times changes with s, and far less by t than the usual embedding does."""
  model = networks.family('diffusion', POINTS, SMALL)
  two_time = model.diffusion.two_time
  params = networks.jit(two_time.init)(jax.random.key(0), {})
  params['head']['kernel'] = jnp.ones_like(params['head']['kernel'])
  x, t = jnp.ones((64, 2)), jnp.linspace(0.1, 1.0, 64)
  of = lambda s: two_time.denoise(params, x, t, s, None, None)
  assert np.abs(of(t) - of(0.5 * t)).max() > 1e-3
  assert params['time']['kernel'].shape[0] == 2 * networks.jit(model.init)(
      jax.random.key(0), {})['time']['kernel'].shape[0]
  rough = networks.family('diffusion', POINTS, SMALL, time_scale=1000.0).diffusion.two_time
  jumps = [np.abs(np.diff(np.asarray(m.denoise(params, x, t, t, None, None))[:, 0], 2)).mean()
           for m in (two_time, rough)]
  assert jumps[1] > 10 * jumps[0], jumps
  for kw in ({'schedule': 'learned'}, {'num_steps': 4, 'variance': 'learned'}):
    other = networks.family('diffusion', POINTS, **kw)
    assert other.diffusion.two_time is None and 'two_time' not in compat.provides(other)


@pytest.mark.parametrize(('make', 'kw', 'words'), [
    (MEAN_FLOW, {'apart': 1.5}, 'apart=1.5'), (MEAN_FLOW, {'guidance': 2.0}, 'without labels'),
    (MEAN_FLOW, {'time_sampling': 'importance'}, 'importance'),
    (MEAN_FLOW, {'time_sampling': 'uniform', 'time_mean': 0.0}, 'time_mean=0.0'),
    (CONSISTENCY, {'warmup': 0}, 'warmup=0'), (CONSISTENCY, {'t_min': 0.0}, 't_min=0.0'),
    (DISTILLATION, {}, 'no teacher.*config.init_from'),
    (DISTILLATION, {'init_from': 'a', 'first_steps': 12, 'last_steps': 8}, 'allowed: 8, 16'),
    (DISTILLATION, {'init_from': 'a', 'first_steps': 2, 'last_steps': 4}, 'allowed: 4, 8'),
    (DISTILLATION, {'init_from': 'a', 'weighting': 'snr'}, 'truncated_snr')])
def test_bad_words_are_refused(make, kw, words):
  with pytest.raises(BadInput, match=words):
    make(gaussian_model(known.vp), **kw)


def test_guidance_needs_dropped_labels():
  with pytest.raises(BadInput, match='label_dropout'):
    mean_flow.average_velocity(gaussian_model(known.vp), spec=LABELLED, guidance=2.0)


@pytest.mark.slow
@pytest.mark.parametrize('objective', ('mean_flow', 'distillation'))
def test_parts_of_a_batch_give_the_mean_of_their_gradients(objective):
  """accumulate=2 trains too, the same teacher for both parts; the teacher is of the state alone."""
  config = config_of('diffusion', objective, 'continuous')
  config.accumulate, config.ema = 2, 0.9
  config.objective.kw = {**config.objective.kw, **(
      {'stage_steps': 1, 'first_steps': 2, 'last_steps': 1} if objective == 'distillation' else {})}
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  step = networks.jit(run.step)
  for i in range(2):
    before, (state, metrics) = state, step(state, run.source[i])
  assert np.isfinite(metrics['model/loss'])
  if objective == 'distillation':
    assert metrics['model/num_steps'] == 1.0 and set(state.opt_state['model'][0].mu) == {'model'}
    assert not moved(state.params['teacher']['model'], before.params['model'])
    assert moved(state.params['teacher']['model'], before.params['teacher']['model'])
    assert jax.tree.structure(state.ema) == jax.tree.structure(state.params['model'])
