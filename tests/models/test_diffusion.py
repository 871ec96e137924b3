"""The bound with exact denoisers against closed forms, and the family around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.models import diffusion
from genjax.numerics import path as paths
from genjax.types import BadInput, DataSpec

MEAN = jnp.array([0.5, -0.3])
STD = jnp.array([0.6, 1.2])  # independent dimensions
N = 2**15


def exact(path):
  """E[x_0 | x_t] of N(MEAN, STD^2)."""
  def denoise(x_t, t):
    alpha, sigma = (a[:, None] for a in path(t))
    return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * MEAN)
  return denoise


def expected(path, x, **kw):
  """Means of the terms over the rows of x, and the standard error of their sum."""
  terms = jax.jit(lambda x: diffusion.bound(exact(path), path, x, jax.random.key(1), levels=None,
                                            **kw))(x)
  total = sum(terms.values())
  assert total.shape == x.shape[:1]
  return {k: float(v.mean()) for k, v in terms.items()}, float(total.std()) / len(x) ** 0.5


@pytest.mark.parametrize('point', [(0.5, -0.3), (1.4, 1.0)])
def test_the_bound_is_tight_for_the_exact_denoiser(point):
  path = paths.cosine(-10.0, 10.0)
  terms, error = expected(path, jnp.tile(jnp.array(point), (8 * N, 1)))
  log_p = prob.normal_log_prob(jnp.array(point), MEAN, STD).sum()
  assert error < 0.04
  np.testing.assert_allclose(sum(terms.values()), log_p, atol=3 * error)


@pytest.mark.parametrize('name', list(paths.SCHEDULES))
def test_diffusion_term_is_the_integral_of_mmse_on_every_schedule(name):
  """1/2 int mmse d snr = 1/2 log det(I + snr S) between the ends, whatever the path between."""
  x = MEAN + STD * jax.random.normal(jax.random.key(0), (N, 2))
  terms, _ = expected(paths.schedule(name, -6.0, 8.0), x)
  snr = np.exp([8.0, -6.0])
  high, low = (0.5 * np.log1p(s * np.square(STD)).sum() for s in snr)
  np.testing.assert_allclose(-terms['diffusion'], high - low, rtol=0.02)


def test_eps_error_of_the_exact_denoiser_is_the_least_possible():
  """min E|eps - eps_hat|^2 = tr[a^2 S (a^2 S + s^2)^-1], and the score is that of x_t's density."""
  path = paths.cosine()
  t = jnp.full(N, 0.4)
  alpha, sigma = (float(a) for a in path(jnp.array(0.4)))
  x_0 = MEAN + STD * jax.random.normal(jax.random.key(0), (N, 2))
  eps = jax.random.normal(jax.random.key(1), (N, 2))
  x_t = paths.diffuse(x_0, eps, *path(t))
  x_hat = exact(path)(x_t, t)
  var = alpha**2 * STD**2 + sigma**2
  error = ((eps - paths.to_noise(x_hat, x_t, *path(t))) ** 2).sum(-1)
  np.testing.assert_allclose(error.mean(), (alpha**2 * STD**2 / var).sum(), rtol=0.03)
  score = jax.vmap(jax.grad(
      lambda x: prob.normal_log_prob(x, alpha * MEAN, jnp.sqrt(var)).sum()))(x_t)
  np.testing.assert_allclose(paths.to_score(x_hat, x_t, *path(t)), score, atol=1e-4)


@pytest.mark.parametrize('num_steps', [3, 10])
def test_gap_of_the_t_step_bound_is_known(num_steps):
  """E log p - E bound: KL at the end, (r - 1 - log r) / 2 a step, and the reconstruction's KL."""
  path = paths.cosine(-5.0, 6.0)
  x = MEAN + STD * jax.random.normal(jax.random.key(0), (N, 2))
  terms, error = expected(path, x, num_steps=num_steps)
  alpha, sigma = (np.float64(a) for a in path(jnp.arange(num_steps + 1) / num_steps))
  mean, var = np.float64(MEAN), np.float64(STD) ** 2
  end = alpha[-1] ** 2 * var + sigma[-1] ** 2
  gap = 0.5 * (end + (alpha[-1] * mean) ** 2 - 1 - np.log(end)).sum()
  for i in range(num_steps):
    _, on_x_0, tilde = paths.posterior_coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1])
    r = 1 + on_x_0**2 / (1 / var + (alpha[i + 1] / sigma[i + 1]) ** 2) / tilde
    gap += 0.5 * (r - 1 - np.log(r)).sum()
  noise = (sigma[0] / alpha[0]) ** 2  # p(x|z_0) = N(z_0 / alpha, noise), the posterior is narrower
  r = var / (var + noise)
  gap += 0.5 * (r + noise / (var + noise) - 1 - np.log(r)).sum()
  negative_entropy = -0.5 * (np.log(2 * np.pi * var) + 1).sum()
  assert gap > 0.1
  np.testing.assert_allclose(negative_entropy - sum(terms.values()), gap, atol=4 * error)


def test_bound_on_a_mass_is_tight_for_a_coin():
  """x = -1 or 1, P(1) = 0.3: E[x_0|x_t] = tanh(a x_t / s^2 + logit / 2)."""
  path = paths.cosine(-10.0, diffusion.default_logsnr_max(2))

  def denoise(x_t, t):
    alpha, sigma = (a[:, None] for a in path(t))
    return jnp.tanh(alpha * x_t / sigma**2 + 0.5 * jnp.log(0.3 / 0.7))

  for x, p in [(-1.0, 0.7), (1.0, 0.3)]:
    terms = diffusion.bound(denoise, path, jnp.full((N, 1), x), jax.random.key(0), levels=2)
    total = sum(terms.values())
    assert abs(float(total.mean()) - np.log(p)) < 4 * float(total.std()) / N**0.5 + 0.01
    assert float(total.mean()) < np.log(p) + 4 * float(total.std()) / N**0.5


def test_reconstruction_is_a_mass_over_the_levels():
  z_0 = jax.random.normal(jax.random.key(0), (17, 1, 1, 1)).at[1:].set(0.21)
  scales = jnp.full(17, 0.9), jnp.full(17, 0.2)
  x = prob.grid(17).reshape(17, 1, 1, 1)
  z_0 = jnp.full((17, 1, 1, 1), 0.21)
  log_p = diffusion.reconstruction(x, z_0, *scales, 17)
  np.testing.assert_allclose(jnp.exp(log_p).sum(), 1.0, rtol=1e-5)
  assert int(jnp.argmax(log_p)) == int(prob.to_levels(0.21 / 0.9, 17))


@pytest.mark.parametrize('prediction', paths.PREDICTIONS)
def test_a_hand_set_network_denoises_exactly(prediction):
  path = paths.cosine()
  t = paths.time_of_logsnr(path, jnp.linspace(-6.0, 6.0, 64))
  scales = path(t)
  x_t = jax.random.normal(jax.random.key(0), (64, 2))
  x_hat = exact(path)(x_t, t)
  output = {'data': x_hat, 'noise': paths.to_noise(x_hat, x_t, *scales),
            'v': paths.to_v(x_hat, x_t, *scales)}[prediction]
  np.testing.assert_allclose(paths.to_data(prediction, output, x_t, *scales), x_hat, atol=1e-5)


def test_mean_level_is_the_posterior_mean_of_independent_levels():
  """Two independent dimensions of three levels: the prior's logits are the network's output."""
  p = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
  x_t, (alpha, sigma) = np.array([[0.4, -0.9]]), (0.8, 0.6)
  grid = np.array([-1.0, 0.0, 1.0])
  joint = p * np.exp(-0.5 * ((x_t[0][:, None] - alpha * grid) / sigma) ** 2)
  got = diffusion.mean_level(jnp.log(p).reshape(1, 6), jnp.array(x_t), jnp.full(1, alpha),
                             jnp.full(1, sigma), 3)
  np.testing.assert_allclose(got[0], (joint * grid).sum(1) / joint.sum(1), rtol=1e-5)


@pytest.mark.parametrize(('spec', 'prediction'), [
    (DataSpec((4, 4, 1), 17, 3), 'levels'), (DataSpec((4, 4, 1), 17, 3), 'v'),
    (DataSpec((12,), 2, None), None), (DataSpec((2,), None, None), 'noise'),
    (DataSpec((2,), None, None), 'data'), (DataSpec((2,), None, None), None)])
def test_family_gives_finite_terms_and_gradients(spec, prediction):
  heads = {'num_heads': 2} if len(spec.shape) == 3 else {}
  model = diffusion.make(spec, width=16, num_blocks=1, prediction=prediction, dropout=0.1,
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
  x_hat = jax.jit(model.denoise)(params, x, jnp.linspace(0.0, 1.0, 4), None, jax.random.key(2))
  assert x_hat.shape == x.shape and x_hat.dtype == jnp.float32 and jnp.isfinite(x_hat).all()


@pytest.mark.parametrize(('kw', 'word'), [
    ({'network': 'vit'}, 'vit.*dit, unet, time_mlp'), ({'network': 'unet'}, 'time_mlp'),
    ({'patch': 4}, "'time_mlp' takes no patch = 4; it takes: width, num_blocks, dropout, dtype"),
    ({'scan': True}, "'time_mlp' takes no scan = True"),
    ({'dtype': 'float16'}, 'float16.*bfloat16'),
    ({'prediction': 'levels'}, 'levels.*noise'),
    ({'schedule': 'sine'}, 'cosine'), ({'num_steps': 0}, '0'), ({'network': 'dit'}, 'time_mlp'),
    ({'conditional': True}, 'labels')])
def test_refusals(kw, word):
  with pytest.raises(BadInput, match=word):
    diffusion.make(DataSpec((2,), None, None), **kw)


IMAGES = DataSpec((8, 8, 1), 17, 3)


def parameters(**kw):
  model = diffusion.make(IMAGES, **kw)
  return jax.eval_shape(model.init, jax.random.key(0), {'x': jnp.zeros((2, 8, 8, 1))})


def test_each_network_has_its_fields_and_defaults():
  assert parameters()['place'].shape == (16, 96)  # DiT's own patch 2 and width 96
  assert parameters(patch=4, width=128)['place'].shape == (4, 128)
  assert parameters(scan=True, remat=True)['blocks']['up']['kernel'].shape == (3, 96, 384)
  stem = parameters(network='time_mlp')['stem']['kernel']
  assert stem.shape == (64, 96)
  unet = parameters(network='unet', width=16, multipliers=[1, 3], attention=[8], num_blocks=1)
  assert unet['down_1_0']['conv_1']['kernel'].shape == (3, 3, 16, 48)
  assert 'down_0_0_attention' in unet and 'down_1_0_attention' not in unet
  for kw, words in (({'network': 'unet', 'patch': 2}, "'unet' takes no patch = 2"),
                    ({'multipliers': (1, 2)}, r"'dit' takes no multipliers = \(1, 2\)")):
    with pytest.raises(BadInput, match=words):
      parameters(**kw)


@pytest.mark.parametrize('kw', [{'network': 'dit', 'num_heads': 2},
                                {'network': 'unet', 'num_heads': 2, 'multipliers': (1,)}])
def test_dtype_reaches_the_network_and_the_answer_stays_float32(kw):
  kw = {**kw, 'width': 16, 'num_blocks': 1}
  batch = {'x': jnp.zeros((2, 8, 8, 1))}
  model = diffusion.make(IMAGES, **kw, dtype='bfloat16')
  params = jax.eval_shape(model.init, jax.random.key(0), batch)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}

  def denoise(model):
    return lambda params: model.denoise(params, batch['x'], jnp.ones(2), None, None)

  assert jax.eval_shape(denoise(model), params).dtype == jnp.float32
  assert 'bf16' in str(jax.make_jaxpr(denoise(model))(params))
  assert 'bf16' not in str(jax.make_jaxpr(denoise(diffusion.make(IMAGES, **kw)))(params))
