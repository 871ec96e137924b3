"""The bound with exact denoisers against closed forms, and the family around it."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import compat, prob
from genjax.models import diffusion, diffusion_bound
from genjax.nn.monotone import Monotone
from genjax.nn.time_mlp import TimeMLP
from genjax.numerics import path as paths
from genjax.numerics import prediction as predictions
from genjax.numerics import schedules
from genjax.types import BadInput, DataSpec
from tests.networks import family

MEAN = jnp.array([0.5, -0.3])
STD = jnp.array([0.6, 1.2])  # independent dimensions
N = 2**15


def made(spec, name='', conditional=False, **kw):
  """A diffusion, of whose keywords those that `make` does not name are its network's."""
  own = {key: value for key, value in kw.items()
         if key not in inspect.signature(diffusion.make).parameters}
  kw = {key: value for key, value in kw.items() if key not in own}
  return family('diffusion', spec, {'denoiser': (name, own)}, conditional=conditional, **kw)


def exact(path):
  """E[x_0 | x_t] of N(MEAN, STD^2)."""
  def denoise(x_t, t):
    alpha, sigma = (a[:, None] for a in path(t))
    return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * MEAN)
  return denoise


def expected(path, x, denoise=None, **kw):
  """Means of the terms over the rows of x, and the standard error of their sum."""
  terms = jax.jit(lambda x: diffusion_bound.bound(
      denoise or exact(path), path, x, jax.random.key(1), levels=None, **kw))(x)
  total = sum(terms.values())
  assert total.shape == x.shape[:1]
  return {k: float(v.mean()) for k, v in terms.items()}, float(total.std()) / len(x) ** 0.5


@pytest.mark.parametrize('point', [(0.5, -0.3), (1.4, 1.0)])
def test_the_bound_is_tight_for_the_exact_denoiser(point):
  path = schedules.cosine(-10.0, 10.0)
  terms, error = expected(path, jnp.tile(jnp.array(point), (8 * N, 1)))
  log_p = prob.normal_log_prob(jnp.array(point), MEAN, STD).sum()
  assert error < 0.04
  np.testing.assert_allclose(sum(terms.values()), log_p, atol=3 * error)


def between(path, *bounds):
  """Times at which logsnr has these values."""
  return tuple(paths.time_of_logsnr(path, jnp.array(bounds)))


@pytest.mark.slow
@pytest.mark.parametrize(('uniform_in', 'name'), [
    *(('logsnr', name) for name in schedules.SCHEDULES), ('time', 'cosine'), ('time', 'linear'),
    *(('time', name) for name in ('sub_vp', 've', 'edm'))])
def test_diffusion_term_is_the_integral_of_mmse_on_every_schedule(uniform_in, name):
  """1/2 int mmse d snr = 1/2 log det(I + snr S) between equal finite ends, whatever between."""
  x = MEAN + STD * jax.random.normal(jax.random.key(0), (N, 2))
  path = schedules.schedule(name, -6.0, 8.0)
  terms, _ = expected(path, x, ends=between(path, 8.0, -6.0), uniform_in=uniform_in)
  snr = np.exp([8.0, -6.0])
  high, low = (0.5 * np.log1p(s * np.square(STD)).sum() for s in snr)
  np.testing.assert_allclose(-terms['diffusion'], high - low,
                             rtol=0.02 if uniform_in == 'logsnr' else 0.06)
  np.testing.assert_allclose(  # of x_1 against the sampler's N(0, sigma_1^2)
      -terms['prior'], 0.5 * np.exp(-6.0) * float((x**2).sum(1).mean()), rtol=0.01)


def test_eps_error_of_the_exact_denoiser_is_the_least_possible():
  """min E|eps - eps_hat|^2 = tr[a^2 S (a^2 S + s^2)^-1], and the score is that of x_t's density."""
  path = schedules.cosine()
  t = jnp.full(N, 0.4)
  alpha, sigma = (float(a) for a in path(jnp.array(0.4)))
  x_0 = MEAN + STD * jax.random.normal(jax.random.key(0), (N, 2))
  eps = jax.random.normal(jax.random.key(1), (N, 2))
  x_t = paths.diffuse(x_0, eps, *path(t))
  x_hat = exact(path)(x_t, t)
  var = alpha**2 * STD**2 + sigma**2
  error = ((eps - predictions.to_noise(x_hat, x_t, *path(t))) ** 2).sum(-1)
  np.testing.assert_allclose(error.mean(), (alpha**2 * STD**2 / var).sum(), rtol=0.03)
  score = jax.vmap(jax.grad(
      lambda x: prob.normal_log_prob(x, alpha * MEAN, jnp.sqrt(var)).sum()))(x_t)
  np.testing.assert_allclose(predictions.to_score(x_hat, x_t, *path(t)), score, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'num_steps', 'v'), [
    ('cosine', 3, 0.0), ('cosine', 3, 1.0), ('cosine', 3, 0.4), ('cosine', 10, 0.0),
    ('linear', 3, 1.0), ('linear', 3, 0.0), ('edm', 3, 0.0), ('edm', 3, 1.0)])
def test_gap_of_the_t_step_bound_is_known(name, num_steps, v):
  """E log p - E bound: KL at the end, (r - 1 - log r) / 2 a step, and the reconstruction's KL.

  r is the exact reverse variance over the chosen one, beta_tilde^(1 - v) beta^v: DDPM's two fixed
  choices are v = 0 and 1.
  """
  path = schedules.schedule(name, -5.0, 6.0)
  start, end = between(path, 6.0, -5.0) if name == 'linear' else (0.0, 1.0)
  x = MEAN + STD * jax.random.normal(jax.random.key(0), (16 * N, 2))
  variance = {0.0: 'posterior', 1.0: 'upper'}.get(v, 'learned')
  denoise = exact(path)
  if variance == 'learned':
    denoise = lambda x_t, t: (exact(path)(x_t, t), jnp.full(x_t.shape, v))
  terms, error = expected(path, x, denoise, num_steps=num_steps, variance=variance,
                          ends=(start, end))
  times = start + (end - start) * jnp.arange(num_steps + 1) / num_steps
  alpha, sigma = (np.float64(a) for a in path(times))
  mean, var = np.float64(MEAN), np.float64(STD) ** 2
  last = (alpha[-1] / sigma[-1]) ** 2 * var + 1.0
  gap = 0.5 * (last + (alpha[-1] / sigma[-1] * mean) ** 2 - 1 - np.log(last)).sum()
  for i in range(num_steps):
    scales = alpha[i], sigma[i], alpha[i + 1], sigma[i + 1]
    _, on_x_0, tilde = paths.posterior_coefficients(*scales)
    chosen = tilde ** (1 - v) * paths.transition_variance(*scales) ** v
    r = (tilde + on_x_0**2 / (1 / var + (alpha[i + 1] / sigma[i + 1]) ** 2)) / chosen
    gap += 0.5 * (r - 1 - np.log(r)).sum()
  noise = (sigma[0] / alpha[0]) ** 2  # p(x|z_0) = N(z_0 / alpha, noise), the posterior is narrower
  r = var / (var + noise)
  gap += 0.5 * (r + noise / (var + noise) - 1 - np.log(r)).sum()
  negative_entropy = -0.5 * (np.log(2 * np.pi * var) + 1).sum()
  assert gap > 8 * error
  np.testing.assert_allclose(negative_entropy - sum(terms.values()), gap, atol=4 * error)


def test_bound_on_a_mass_is_tight_for_a_coin():
  """x = -1 or 1, P(1) = 0.3: E[x_0|x_t] = tanh(a x_t / s^2 + logit / 2)."""
  path = schedules.cosine(-10.0, diffusion.default_logsnr_max(2))

  def denoise(x_t, t):
    alpha, sigma = (a[:, None] for a in path(t))
    return jnp.tanh(alpha * x_t / sigma**2 + 0.5 * jnp.log(0.3 / 0.7))

  for x, p in [(-1.0, 0.7), (1.0, 0.3)]:
    terms = diffusion_bound.bound(denoise, path, jnp.full((N, 1), x), jax.random.key(0), levels=2)
    total = sum(terms.values())
    assert abs(float(total.mean()) - np.log(p)) < 4 * float(total.std()) / N**0.5 + 0.01
    assert float(total.mean()) < np.log(p) + 4 * float(total.std()) / N**0.5


def test_reconstruction_is_a_mass_over_the_levels():
  scales = jnp.full(17, 0.9), jnp.full(17, 0.2)
  x = prob.grid(17).reshape(17, 1, 1, 1)
  z_0 = jnp.full((17, 1, 1, 1), 0.21)
  log_p = diffusion_bound.reconstruction(x, z_0, *scales, 17)
  np.testing.assert_allclose(jnp.exp(log_p).sum(), 1.0, rtol=1e-5)
  assert int(jnp.argmax(log_p)) == int(prob.to_levels(0.21 / 0.9, 17))


def test_beta_is_exact_for_unit_data_and_beta_tilde_for_a_point():
  """2006.11239, Sec. 3.2: the step's KL against the exact reverse variance vanishes there."""
  for x, data_std, variance in (
      (jax.random.normal(jax.random.key(0), (N, 1)), 1.0, 'upper'),
      (jnp.full((N, 1), 0.3), 0.0, 'posterior')):
    path = schedules.cosine(-6.0, 6.0)

    def denoise(x_t, t, std=data_std):
      alpha, sigma = (a[:, None] for a in path(t))
      mean = 0.0 if std else 0.3
      return mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (x_t - alpha * mean)

    gaps = {}
    for name in ('posterior', 'upper'):
      terms, error = expected(path, x, denoise, num_steps=4, variance=name)
      gaps[name] = -terms['diffusion']
    # of the exact variance only the information of z_0 and z_1 about x remains
    least = 0.5 * (np.log1p(np.exp(6.0)) - np.log1p(np.exp(-6.0))) if data_std else 0.0
    np.testing.assert_allclose(gaps[variance], least, atol=4 * error + 1e-6)
    assert min(gaps, key=gaps.get) == variance and max(gaps.values()) > least + 0.1


def test_mean_level_is_the_posterior_mean_of_independent_levels():
  """Two independent dimensions of three levels: the prior's logits are the network's output."""
  p = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
  x_t, (alpha, sigma) = np.array([[0.4, -0.9]]), (0.8, 0.6)
  grid = np.array([-1.0, 0.0, 1.0])
  joint = p * np.exp(-0.5 * ((x_t[0][:, None] - alpha * grid) / sigma) ** 2)
  got = diffusion_bound.mean_level(jnp.log(p).reshape(1, 6), jnp.array(x_t), jnp.full(1, alpha),
                             jnp.full(1, sigma), 3)
  np.testing.assert_allclose(got[0], (joint * grid).sum(1) / joint.sum(1), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(('spec', 'prediction'), [
    (DataSpec((4, 4, 1), 17, 3), 'levels'),
    (DataSpec((4, 4, 1), 17, 3), 'v'),
    (DataSpec((12,), 2, None), None),
    (DataSpec((2,), None, None), 'noise'),
    *((DataSpec((2,), None, None), p) for p in ('data', None))])
def test_family_gives_finite_terms_and_gradients(spec, prediction):
  heads = {'num_heads': 2} if len(spec.shape) == 3 else {}
  model = made(spec, width=16, num_blocks=1, prediction=prediction, dropout=0.1,
                         conditional=spec.num_classes is not None, **heads)
  x = jax.random.uniform(jax.random.key(0), (4, *spec.shape), minval=-1.0)
  if spec.levels:
    x = prob.from_levels(prob.to_levels(x, spec.levels), spec.levels)
  batch = {'x': x, 'cond': jnp.zeros(4, jnp.int32)}
  shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
  params = jax.jit(model.init)(jax.random.key(0), batch)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)

  def loss(params):
    terms = model.elbo(params, batch, jax.random.key(1))
    return -sum(terms.values()).mean(), terms

  grads, terms = jax.jit(jax.grad(loss, has_aux=True))(params)
  assert set(terms) == {'reconstruction', 'prior', 'diffusion'}
  assert all(v.shape == (4,) and jnp.isfinite(v).all() for v in terms.values())
  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
  x_hat, share = jax.jit(model.diffusion.denoise)(
      params, x, jnp.linspace(0.0, 1.0, 4), None, jax.random.key(2))
  assert share is None and jnp.isfinite(x_hat).all()
  assert x_hat.shape == x.shape and x_hat.dtype == jnp.float32


@pytest.mark.parametrize(('kw', 'word'), [
    ({'name': 'vit'}, 'vit.*time_mlp, dit, unet'), ({'name': 'unet'}, 'time_mlp'),
    ({'patch': 4}, "'time_mlp' of the role denoiser takes no 'patch'.*'dit'.*it takes: width"),
    ({'scan': True}, "'time_mlp' of the role denoiser takes no 'scan'"),
    ({'dtype': 'float16'}, 'float16.*bfloat16'),
    ({'prediction': 'levels'}, 'levels.*noise'), ({'condition': 'sigma'}, 'sigma.*logsnr'),
    ({'variance': 'upper'}, 'num_steps'), ({'fourier': (7,)}, "takes no 'fourier'"),
    ({'variance': 'beta', 'num_steps': 3}, 'beta.*posterior, upper, learned'),
    ({'schedule': 'sine'}, 'cosine'), ({'num_steps': 0}, '0'), ({'name': 'dit'}, 'time_mlp')])
def test_refusals(kw, word):
  with pytest.raises(BadInput, match=word):
    made(DataSpec((2,), None, None), **kw)


IMAGES = DataSpec((8, 8, 1), 17, 3)


def parameters(**kw):
  model = made(IMAGES, **kw)
  return jax.eval_shape(model.init, jax.random.key(0), {'x': jnp.zeros((2, 8, 8, 1))})


def test_each_network_has_its_fields_and_defaults():
  assert parameters()['place'].shape == (16, 96)  # DiT's own patch 2 and width 96
  assert parameters(patch=4, width=128)['place'].shape == (4, 128)
  assert parameters(scan=True, remat=True)['blocks']['up']['kernel'].shape == (3, 96, 384)
  stem = parameters(name='time_mlp')['stem']['kernel']
  assert stem.shape == (64, 96)
  unet = parameters(name='unet', width=16, multipliers=[1, 3], attention=[8], num_blocks=1)
  assert unet['down_1_0']['conv_1']['kernel'].shape == (3, 3, 16, 48)
  assert 'down_0_0_attention' in unet and 'down_1_0_attention' not in unet
  for kw, words in (({'name': 'unet', 'patch': 2}, "'unet' .* takes no 'patch'"),
                    ({'multipliers': (1, 2)}, "'dit' .* takes no 'multipliers'")):
    with pytest.raises(BadInput, match=words):
      parameters(**kw)


@pytest.mark.slow
@pytest.mark.parametrize('kw', [{'name': 'dit', 'num_heads': 2},
                                {'name': 'unet', 'num_heads': 2, 'multipliers': (1,)}])
def test_dtype_reaches_the_network_and_the_answer_stays_float32(kw):
  kw = {**kw, 'width': 16, 'num_blocks': 1}
  batch = {'x': jnp.zeros((2, 8, 8, 1))}
  model = made(IMAGES, **kw, dtype='bfloat16')
  params = jax.eval_shape(model.init, jax.random.key(0), batch)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}

  def denoise(model):
    return lambda params: model.diffusion.denoise(
        params, batch['x'], jnp.ones(2), None, None).x_0

  assert jax.eval_shape(denoise(model), params).dtype == jnp.float32
  assert 'bf16' in str(jax.make_jaxpr(denoise(model))(params))
  assert 'bf16' not in str(jax.make_jaxpr(denoise(made(IMAGES, **kw)))(params))


POINTS = DataSpec((2,), None, None)


def loss_and_gradient(model, x, params):
  def loss(params):
    terms = model.elbo(params, {'x': x}, jax.random.key(1))
    return -sum(terms.values()).mean(), terms
  return jax.jit(jax.grad(loss, has_aux=True))(params)


ON_ENDS = ({'prediction': 'velocity'},
           {'prediction': 'noise', 'num_steps': 4, 'variance': 'learned'})


@pytest.mark.slow
@pytest.mark.parametrize(('schedule', 'kw'), [
    ('linear', ON_ENDS[0]),
    *((name, ON_ENDS[1]) for name in ('linear', 'learned')),
    *((name, kw)
      for name in ('zero_terminal_snr', 've', 'edm') for kw in (*ON_ENDS, {'prediction': 'edm'}))])
def test_bounds_are_finite_on_every_path(schedule, kw):
  model = made(POINTS, width=8, num_blocks=1, schedule=schedule, **kw)
  x = jax.random.normal(jax.random.key(0), (8, 2))
  params = jax.jit(model.init)(jax.random.key(0), {'x': x})
  grads, terms = loss_and_gradient(model, x, params)
  assert all(jnp.isfinite(v).all() for v in jax.tree.leaves((grads, terms)))
  x_hat, v = model.diffusion.denoise(params, x, jnp.linspace(0.0, 1.0, 8), None, None)
  assert jnp.isfinite(x_hat).all()
  assert model.diffusion.learned_variance_steps == (4 if 'variance' in kw else None)
  assert (model.diffusion.schedule_loss is not None) == (schedule == 'learned')
  assert (v is not None) == ('variance' in kw)
  if v is not None:
    assert v.shape == x.shape and (v == 0.5).all()  # the head starts at zero


def test_a_diffusion_provides_what_its_schedule_and_its_variance_allow():
  provided = lambda **kw: compat.provides(made(POINTS, **kw))
  fixed = {'elbo', 'diffusion', 'denoise', 'fixed_path'}
  assert provided() == fixed | {'two_time'}
  assert provided(num_steps=4, variance='learned') == fixed
  assert provided(schedule='learned') == fixed - {'fixed_path'} | {'schedule_loss'}


@pytest.mark.slow
def test_learned_variance_stands_beside_levels():
  spec = DataSpec((3,), 5, None)
  model = made(spec, width=8, num_blocks=1, num_steps=4, variance='learned')
  x = prob.from_levels(jnp.array([[0, 2, 4], [1, 3, 0]]), 5)
  params = jax.jit(model.init)(jax.random.key(0), {'x': x})
  x_hat, v = model.diffusion.denoise(params, x, jnp.array([0.1, 0.9]), None, None)
  assert x_hat.shape == v.shape == x.shape
  # the last number put out for each dimension is its variance
  params['head']['bias'] = jnp.tile(jnp.array([0.0, 0.0, 0.0, 0.0, 9.0, 2.0]), 3)
  moved, v = model.diffusion.denoise(params, x, jnp.array([0.1, 0.9]), None, None)
  np.testing.assert_allclose(v, jax.nn.sigmoid(2.0), rtol=1e-6)
  assert (moved >= x_hat).all() and moved[1].min() > 0.9


def test_learned_schedule_falls_and_keeps_its_ends():
  net = Monotone(32)
  t = jnp.linspace(0.0, 1.0, 101)
  params = jax.jit(net.init)(jax.random.key(0), t)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
      lambda a: np.float32(10.0 * np.asarray(a) + 9.0 * rng.standard_normal(a.shape)), params)
  rise = np.asarray(jax.jit(net.apply)(params, t))
  assert rise[0] == 0.0 and rise[-1] == 1.0 and (np.diff(rise) > 0).all()
  assert np.abs(rise - t).max() > 0.01
  model = made(POINTS, width=8, num_blocks=1, schedule='learned', logsnr_min=-5.0,
                         logsnr_max=7.0)
  params = jax.jit(model.init)(jax.random.key(0), {'x': jnp.zeros((1, 2))})
  assert set(params) == {'network', 'schedule'}
  params['schedule'] = jax.tree.map(lambda a: np.asarray(a) + 1.0, params['schedule'])
  logsnr = np.asarray(jax.jit(
      lambda params: paths.logsnr(*model.diffusion.path(params, t)))(params))
  np.testing.assert_allclose(logsnr[[0, -1]], [7.0, -5.0], atol=1e-4)
  assert (np.diff(logsnr) < 0).all()


@pytest.mark.slow
def test_a_learned_schedule_moves_the_variance_of_the_bound_and_not_its_mean():
  model = made(POINTS, width=8, num_blocks=1, schedule='learned')
  x = jax.random.normal(jax.random.key(0), (N, 2))
  params = jax.jit(model.init)(jax.random.key(0), {'x': x})
  terms = lambda params: jax.jit(model.elbo)(params, {'x': x}, jax.random.key(1))['diffusion']
  bent = {**params, 'schedule': {**params['schedule'], 'height': jnp.full(1024, 20.0),
                                 'steepness': jnp.full(1024, 8.0), 'bias': jnp.zeros(1024)}}
  before, after = terms(params), terms(bent)
  error = 4 * float(jnp.maximum(before.std(), after.std())) / N**0.5
  assert abs(float(before.mean() - after.mean())) < error
  assert abs(float(before.std() / after.std()) - 1) > 0.1
  loss = jax.jit(model.diffusion.schedule_loss)(params, {'x': x}, jax.random.key(1))
  np.testing.assert_allclose(loss, (before / 2) ** 2, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_what_the_network_is_told_and_shown():
  """c_in by the data's deviation, logsnr between its bounds, time itself elsewhere."""
  seen = []

  def told(**kw):
    model = made(POINTS, width=8, num_blocks=1, **kw)
    params = jax.jit(model.init)(jax.random.key(0), {'x': jnp.zeros((1, 2))})
    original = TimeMLP.__call__
    try:
      TimeMLP.__call__ = lambda self, x, t, *rest, **kw: (
          seen.append((x, t)), original(self, x, t, *rest, **kw))[1]

      @jax.jit
      def shown(params, t):
        model.diffusion.denoise(params, jnp.ones((3, 2)), t, None, None)
        return (*seen[-1], *model.diffusion.path(params, t))

      return [np.asarray(a) for a in shown(params, np.array([0.0, 0.4, 1.0], np.float32))]
    finally:
      TimeMLP.__call__ = original

  x, t, _, _ = told()
  np.testing.assert_array_equal((x[:, 0], t), (np.ones(3), np.float32([0.0, 0.4, 1.0])))
  x, t, _, sigma = told(schedule='edm', prediction='edm', sigma_data=0.5)
  np.testing.assert_allclose(sigma[[0, -1]], [0.002, 80.0], rtol=1e-4)
  np.testing.assert_allclose(x[:, 0], 1 / np.sqrt(sigma**2 + 0.25), rtol=1e-5)
  c_noise = 0.25 * np.log(sigma)  # affine in what the network is told
  np.testing.assert_allclose(t, (c_noise - c_noise[0]) / (c_noise[-1] - c_noise[0]), atol=1e-5)
  x, t, _, _ = told(schedule='linear', condition='logsnr', scale_input=True)
  np.testing.assert_array_equal(t[[0, -1]], [0.0, 1.0])
  np.testing.assert_allclose(x[:, 0], [2.0, 1 / np.sqrt(0.16 + 0.09), 1.0], rtol=1e-5)


@pytest.mark.parametrize('kw', [
    {'name': 'dit', 'num_heads': 2, 'fourier': (3, 4)},
    {'name': 'unet', 'num_heads': 2, 'multipliers': (1,), 'fourier': (3, 4),
     'residual_scale': 0.7071}])
def test_details_of_published_networks_are_fields(kw):
  plain = {key: value for key, value in kw.items() if key not in ('fourier', 'residual_scale')}
  shapes = [jax.tree.map(jnp.shape, parameters(width=16, num_blocks=1, **some))
            for some in (kw, plain)]
  assert [shape['stem']['kernel'][-2] for shape in shapes] == (
      [20, 4] if kw['name'] == 'dit' else [5, 1])
  assert shapes[0]['head'] == shapes[1]['head']
