"""Likelihoods against hand-made models with known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import compat, data, prob
from genjax.data import Dataset
from genjax.evals import card, likelihood
from genjax.models import categorical_mixture, gaussian
from genjax.models.diffusion_bound import mean_level
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, DataSpec, Denoised, Diffusion, Model
from tests.evals import asked

SPEC = DataSpec((8, 8, 1), 17, 10)


def digits(x):
  return data.Dataset('tiny', SPEC, {'test': {'x': x}}, {})


def run(model, dataset, estimator, params=None, *, conditional=False, metrics=(), **kw):
  task = asked.task(dataset, conditional=conditional, asked=metrics)
  return asked.of_model(likelihood, estimator, model, task, **kw)(params or {}, None)


def images(n):
  return np.random.default_rng(0).integers(0, 17, (n, 8, 8, 1)).astype(np.uint8)


def test_uniform_is_log2_17_exactly():
  nats = 64 * np.log(17.0)
  model = Model(init=None, log_prob=lambda p, b, r: jnp.full(b['x'].shape[0], -nats))
  values = run(model, digits(images(37)), 'exact', batch_size=16)
  assert set(values) == {'nll_exact_bpd'}
  value = values['nll_exact_bpd']
  assert abs(value.value - np.log2(17)) < 1e-6
  assert value.card['kind'] == 'exact' and value.card['n_reference'] == 37


def test_binary_data_are_measured_in_bits_and_in_nats():
  spec = DataSpec((8, 8, 1), 2, None)
  binary = data.Dataset('tiny', spec, {'test': {'x': images(5) % 2}}, {})
  model = Model(init=None, elbo=lambda p, b, r: {'a': jnp.full(b['x'].shape[0], -40.0),
                                                 'b_kl': jnp.full(b['x'].shape[0], -4.0)})
  values = run(model, binary, 'bound', metrics=('nll_bound_nats', 'nll_bound_bpd'))
  bits, nats = values['nll_bound_bpd'], values['nll_bound_nats']
  assert set(values) == {'nll_bound_bpd', 'nll_bound_nats'}
  assert (nats.value, nats.card['unit']) == (44.0, 'nats per example')
  assert abs(bits.value - 44 / 64 / np.log(2)) < 1e-9
  assert nats.card['detail']['terms'] == {'a': 40.0, 'b_kl': 4.0}
  with pytest.raises(BadInput, match='with 17 levels is in bpd; allowed: nll_bound_bpd'):
    run(model, digits(images(5)), 'bound', metrics=('nll_bound_nats',))


def test_what_the_model_is_conditioned_on_is_protocol():
  model = Model(init=None, log_prob=lambda p, b, r: jnp.full(b['x'].shape[0], -1.0))
  labelled = digits(images(4))
  labelled = labelled._replace(splits={'test': {
      **labelled.splits['test'], 'cond': np.zeros(4, np.int32)}})
  of = lambda **kw: run(model, labelled, 'exact', **kw)['nll_exact_bpd'].card['conditioned_on']
  assert of(conditional=True) == 'label' and of() is None
  unlabelled = run(model, digits(images(4)), 'exact', conditional=True)['nll_exact_bpd']
  assert unlabelled.card['conditioned_on'] is None


def test_what_is_asked_for_is_measured_or_refused_with_the_keyword():
  some = lambda *args: None
  model = Model(init=None, elbo=lambda p, b, r: {'x': jnp.zeros(len(b['x']))},
                diffusion=Diffusion(some, some))
  both = Dataset('tiny', DataSpec((2,), None, None), {'test': {'x': np.zeros((3, 2))}}, {})
  measured = lambda model, *names: run(model, both, 'bound', metrics=names)
  assert set(measured(model, 'nll_bound_nats')) == {'nll_bound_nats'}
  with pytest.raises(BadInput, match="'nll_estimate_nats' is not what this config measures; "
                     'allowed: nll_bound_nats, or .*evals.kw.likelihood.estimator=ode'):
    measured(model, 'nll_bound_nats', 'nll_estimate_nats')
  with pytest.raises(BadInput, match="'nll_exact_nats' needs log_prob, which this model does not"):
    measured(model, 'nll_exact_nats')
  with pytest.raises(BadInput, match='of continuous data is in nats; allowed: nll_bound_nats'):
    measured(model, 'nll_bound_bpd')


def test_uniform_density_on_the_cells_is_a_bound_that_is_tight():
  # density 1 / (2 + 2/16)^D on the union of all cells; dequantisation loses nothing
  log_density = -64 * np.log(2 + 2 / 16)
  model = Model(init=None, log_prob=lambda p, b, r: jnp.full(b['x'].shape[0], log_density))
  model = prob.dequantise(model, SPEC)
  for estimator in ('bound', 'importance_weighted'):
    values = run(model, digits(images(20)), estimator)
    assert abs(values['nll_bound_bpd'].value - np.log2(17)) < 1e-5
  assert set(run(model, digits(images(20)), 'bound')['nll_bound_bpd'].card['detail']['terms']) == {
      'log_density', 'log_cell_volume'}


def test_padding_and_batch_size_change_nothing_and_it_is_traced_once():
  traces = []

  def log_prob(params, batch, rng):
    traces.append(rng)
    assert 'mask' in batch
    return -sum_event(batch['x'] ** 2)

  x = images(50)
  model = Model(init=None, log_prob=log_prob)
  small = run(model, digits(x), 'exact', batch_size=16)['nll_exact_bpd']
  assert traces == [None]
  whole = run(model, digits(x), 'exact', batch_size=64)['nll_exact_bpd']
  expected = np.sum((x / 8.0 - 1) ** 2, (1, 2, 3)) / (64 * np.log(2))
  np.testing.assert_allclose([small.value, whole.value], expected.mean(), rtol=1e-6)
  interval = card.of_mean(expected, {}, '')
  np.testing.assert_allclose([small.low, small.high], [interval.low, interval.high], rtol=1e-5)


def test_continuous_data_are_reported_in_nats():
  x = np.random.default_rng(1).standard_normal((500, 2)).astype(np.float32)
  dataset = data.Dataset('normal', DataSpec((2,), None, None), {'test': {'x': x}}, {})
  model = Model(init=None, log_prob=lambda p, b, r: sum_event(prob.normal_log_prob(b['x'])))
  value = run(model, dataset, 'exact')['nll_exact_nats']
  assert abs(value.value - (1 + prob.LOG_2PI - 1 + np.mean(np.sum(x**2, 1)) / 2)) < 1e-5
  assert value.low < 1 + np.log(2 * np.pi) < value.high


def test_one_example_that_is_not_finite_is_not_averaged_away():
  def log_prob(params, batch, rng):
    return jnp.where(batch['x'][:, 0, 0, 0] == -1.0, jnp.nan, -1.0)

  x = images(30)
  x[:, 0] = 5
  x[7, 0] = 0
  value = run(Model(init=None, log_prob=log_prob), digits(x), 'exact')['nll_exact_bpd']
  assert value.value is None and value.low is None
  assert '1 of 30' in value.card['reason']


def test_importance_weights_tighten_the_bound_towards_the_known_value():
  # log w ~ N(m, s^2): L_1 = m and the limit is m + s^2 / 2
  m, s = -10.0, 1.0
  model = Model(
      init=None,
      elbo=lambda p, b, r: {'a': m + s * jax.random.normal(r, (b['x'].shape[0],))},
      log_weight=lambda p, b, r: m + s * jax.random.normal(r, (b['x'].shape[0],)))
  x = np.zeros((2000, 2), np.float32)
  dataset = data.Dataset('zeros', DataSpec((2,), None, None), {'test': {'x': x}}, {})
  l_1 = run(model, dataset, 'bound', num_repeats=4)['nll_bound_nats']
  l_k = [run(model, dataset, 'importance_weighted', num_weights=k)['nll_bound_nats'].value
         for k in (1, 4, 400)]
  assert l_1.low < 10.0 < l_1.high
  assert l_k[0] > l_k[1] > l_k[2]
  assert abs(l_k[2] - 9.5) < 0.02
  # four repeats halve the noise of a bound that has no other
  assert abs((l_1.high - l_1.low) / (2 * 1.96 * s / np.sqrt(4 * 2000)) - 1) < 0.1


def test_counts_below_one_are_refused():
  with pytest.raises(BadInput, match='num_repeats=0'):
    run(Model(init=None, elbo=lambda p, b, r: {}), digits(images(2)), 'bound', num_repeats=0)


def test_a_part_of_the_split_is_fixed_by_its_seed_and_keeps_labels_with_their_examples():
  x, cond = images(50), np.arange(50, dtype=np.int32)
  dataset = data.Dataset('tiny', SPEC, {'test': {'x': x, 'cond': cond}}, {})
  model = Model(init=None, log_prob=lambda p, b, r: -sum_event(b['x']**2) - 64.0 * b['cond'])
  each = np.sum((x / 8.0 - 1) ** 2, (1, 2, 3)) / 64 + cond
  found = [run(model, dataset, 'exact', num_examples=20, subset_seed=s)['nll_exact_bpd']
           for s in (3, 3, 4)]
  assert found[0].value == found[1].value != found[2].value
  index = np.sort(np.random.default_rng(3).permutation(50)[:20])
  np.testing.assert_allclose(found[0].value, each[index].mean() / np.log(2), rtol=1e-6)
  assert found[0].card['n_reference'] == 20 and found[0].card['subset_seed'] == 3
  with pytest.raises(BadInput, match='num_examples=51.* at most 50'):
    run(model, dataset, 'exact', num_examples=51)


BYTES = DataSpec((4, 4, 3), 256, None)


def every_level():
  """Images of 256 levels in which all levels are equally frequent: [64, 4, 4, 3]."""
  x = np.tile(np.arange(256), 12)
  return np.random.default_rng(3).permutation(x).reshape(64, 4, 4, 3).astype(np.uint8)


def uniform_density(edge):
  """Density of the uniform distribution on [-edge, edge]^48."""
  def log_prob(params, batch, rng):
    inside = jnp.all(jnp.abs(batch['x']) <= edge * (1 + 1e-6), axis=(1, 2, 3))
    return jnp.where(inside, -48 * np.log(2 * edge), -jnp.inf)

  return prob.dequantise(Model(init=None, log_prob=log_prob), BYTES)


def test_256_equally_likely_levels_cost_8_bits_in_every_way():
  dataset = data.Dataset('bytes', BYTES, {'test': {'x': every_level()}}, {})
  # a density of the cube through dequantisation, and as many weights of it
  for estimator in ('bound', 'importance_weighted'):
    value = run(uniform_density(1 + 1 / 255), dataset, estimator)['nll_bound_bpd']
    assert abs(value.value - 8.0) < 1e-5
    assert value.card['dequantisation'] == 'uniform' and value.card['kind'] == 'bound'
  # the probability mass of a family of the integers
  model = categorical_mixture.make(BYTES, num_components=2, smoothing=1.0, marginal_prior=0.0,
                                   loop={}, num_restarts=1)
  params = jax.tree.map(jnp.zeros_like, jax.jit(model.init)(jax.random.key(0), None))
  value = run(model, dataset, 'exact', params=params)['nll_exact_bpd']
  assert abs(value.value - 8.0) < 1e-5
  assert value.card['dequantisation'] == 'none' and value.card['kind'] == 'exact'
  # without the cells' halves outside [-1, 1] it is no density of these data, and no number
  value = run(uniform_density(1.0), dataset, 'bound')['nll_bound_bpd']
  assert value.value is None and 'not finite' in value.card['reason']


def test_cards_name_dequantisation_repeats_and_weights():
  # a bound on the mass of the integers themselves is not dequantised
  model = Model(init=None, elbo=lambda p, b, r: {'kl': jnp.zeros(b['x'].shape[0])},
                log_weight=lambda p, b, r: jnp.zeros(b['x'].shape[0]))
  dataset = digits(images(4))
  bound = run(model, dataset, 'bound', num_repeats=3)['nll_bound_bpd'].card
  weighted = run(model, dataset, 'importance_weighted', num_weights=5)['nll_bound_bpd'].card
  assert (bound['dequantisation'], bound['num_repeats']) == ('none', 3)
  assert (weighted['dequantisation'], weighted['num_weights']) == ('none', 5)
  model = gaussian.make(SPEC)
  params = jax.jit(model.init)(jax.random.key(0), data.prepare({'x': images(4)}, SPEC))
  for estimator in ('bound', 'importance_weighted'):
    value = run(model, dataset, estimator, params=params)['nll_bound_bpd']
    assert value.card['dequantisation'] == 'uniform'


def ode_model(scale):
  """The exact denoiser of N(0, scale^2 I) on the linear path; it does nothing else."""
  def denoise(params, x_t, t, cond, rng):
    alpha, sigma = (a.reshape(-1, *[1] * (x_t.ndim - 1)) for a in (1.0 - t, t))
    return Denoised(alpha * scale**2 / (alpha**2 * scale**2 + sigma**2) * x_t)

  return Model(init=None, diffusion=Diffusion(lambda params, t: (1.0 - t, t), denoise))


def test_the_ode_estimate_is_the_gaussian_with_its_spread_and_its_steps():
  x = 0.5 * np.random.default_rng(1).standard_normal((200, 3)).astype(np.float32)
  dataset = data.Dataset('normal', DataSpec((3,), None, None), {'test': {'x': x}}, {})
  value = run(ode_model(0.5), dataset, 'ode', num_steps=24, batch_size=64)['nll_estimate_nats']
  exact = np.mean(np.sum(0.5 * (x / 0.5) ** 2 + 0.5 * np.log(2 * np.pi * 0.25), 1))
  assert abs(value.value - exact) < 2e-3
  assert value.card['kind'] == 'estimate' and value.card['solver'] == 'rk4(24)'
  detail = value.card['detail']
  assert abs(detail['half_the_steps']) < 0.05 and detail['half_the_steps'] != 0.0
  assert detail['probe_std'] < 1e-4  # the Jacobian is a multiple of I: Rademacher has no noise


def test_the_ode_estimate_of_levels_is_of_the_dequantised_mass():
  """A wide Gaussian: the mass of a level is the density times the cell, but for Jensen's gap."""
  x = images(16)[:, :4, :4]
  dataset = data.Dataset('tiny', DataSpec((4, 4, 1), 17, None), {'test': {'x': x}}, {})
  value = run(ode_model(0.7), dataset, 'ode', num_steps=24, num_probes=1,
              dequantisation='uniform')['nll_estimate_bpd']
  k = np.arange(17) / 8 - 1
  bits = (0.5 * (k / 0.7) ** 2 + 0.5 * np.log(2 * np.pi * 0.49) - np.log(2 / 16)) / np.log(2)
  assert abs(value.value - bits[x].mean()) < 0.02
  assert set(value.card['detail']['terms']) == {'prior', 'divergence', 'log_cell_volume'}


@pytest.mark.slow
def test_noise_of_the_path_keeps_what_a_model_knows_of_the_levels():
  """Independent levels, with their exact denoiser: -log P(x), which uniform noise hides."""
  log_p = jnp.log(jnp.asarray([0.5, 0.1, 0.05, 0.3, 0.05]))

  def path(params, t):
    return 1.0 - t, t

  def denoise(params, x_t, t, cond, rng):
    return Denoised(mean_level(jnp.tile(log_p, x_t.shape), x_t, *path(params, t), 5))

  model = Model(init=None, diffusion=Diffusion(path, denoise))
  x = np.random.default_rng(0).choice(5, (64, 2, 2, 1), p=np.exp(log_p)).astype(np.uint8)
  dataset = data.Dataset('levels', DataSpec((2, 2, 1), 5, None), {'test': {'x': x}}, {})
  found = {how: run(model, dataset, 'ode', num_steps=200, t_min=0.02, dequantisation=how)
           ['nll_estimate_bpd'] for how in ('gaussian', 'uniform')}
  exact = -np.asarray(log_p)[x].mean() / np.log(2)
  assert abs(found['gaussian'].value - exact) < 0.02
  assert found['uniform'].value > exact + 1.0
  card = found['gaussian'].card
  assert card['dequantisation'] == 'gaussian' and card['kind'] == 'estimate'
  assert set(card['detail']['terms']) == {'prior', 'divergence', 'noise', 'reconstruction'}
  with pytest.raises(BadInput, match="dequantisation='cubic'; allowed: gaussian, uniform"):
    run(model, dataset, 'ode', dequantisation='cubic')


def test_the_estimate_is_chosen_only_where_no_bound_is():
  everything = {'log_prob', 'elbo', 'log_weight', 'denoise', 'fixed_path'}
  assert compat.legal(likelihood.ESTIMATORS, frozenset(everything))[-1] == 'ode'
  assert compat.legal(likelihood.ESTIMATORS, frozenset({'denoise', 'fixed_path'})) == ('ode',)


@pytest.mark.parametrize('estimator', ['bound', 'importance_weighted'])
def test_noise_of_codes_and_of_latents_is_independent(estimator):
  """Codes x = m + s e_1 and a latent z = e_2: E |x - z|^2 / 2 = (|m|^2 + D (s^2 + 1)) / 2.

  Were e_1 = e_2, as with one key both split and folded, it would be |m|^2 / 2 + D (s - 1)^2 / 2.
  """
  dim, std = 16, 0.7
  mean = np.random.default_rng(0).standard_normal((400, dim)).astype(np.float32)
  dataset = data.Dataset('codes', DataSpec((dim,), None, None),
                         {'test': {'x': mean, 'std': np.full_like(mean, std)}}, {})

  def log_weight(params, batch, rng):
    rng_z, _ = jax.random.split(rng)
    return -0.5 * sum_event((batch['x'] - jax.random.normal(rng_z, batch['x'].shape)) ** 2)

  model = Model(init=None, elbo=lambda *args: {'match': log_weight(*args)}, log_weight=log_weight)
  kw = {'bound': {'num_repeats': 8}, 'importance_weighted': {'num_weights': 1}}[estimator]
  value = run(model, dataset, estimator, **kw)['nll_bound_nats']
  exact = 0.5 * (np.mean(np.sum(mean.astype(np.float64) ** 2, 1)) + dim * (std**2 + 1.0))
  correlated = exact - dim * std
  assert abs(value.value - exact) < 1.0 < abs(value.value - correlated) / 5
  # the codes are drawn anew for each repeat, and another split has noise of its own
  if estimator == 'bound':
    more = run(model, dataset, estimator, num_repeats=40)['nll_bound_nats']
    assert abs(more.value - exact) < 0.1


def test_importance_weights_are_100_on_1000_examples_unless_set():
  model = Model(init=None, log_weight=lambda p, b, r: jnp.full(b['x'].shape[0], -2.0))
  x = np.zeros((1100, 2), np.float32)
  dataset = data.Dataset('zeros', DataSpec((2,), None, None), {'test': {'x': x}}, {})
  value = run(model, dataset, 'importance_weighted')['nll_bound_nats']
  assert (value.card['num_weights'], value.card['n_reference']) == (100, 1000)
  assert value.card['kind'] == 'bound' and abs(value.value - 2.0) < 1e-5
  value = run(model, dataset, 'importance_weighted', num_weights=300, num_examples=1100)
  assert abs(value['nll_bound_nats'].value - 2.0) < 1e-5  # of three calls
  assert value['nll_bound_nats'].card['n_reference'] == 1100
  with pytest.raises(BadInput, match='num_weights=150; allowed: 1 to 100, or a multiple of 100'):
    run(model, dataset, 'importance_weighted', num_weights=150)
