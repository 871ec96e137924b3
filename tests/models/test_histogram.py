"""Histograms: counts on paper, integrals and sums that are one, and the choice of their cells."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from genjax import prob
from genjax.models import histogram
from genjax.types import BadInput, DataSpec
from tests import fitting
from tests import networks as compiled

RNG = jax.random.key(0)
LINE, PLANE = DataSpec((1,), None, None), DataSpec((2,), None, None)
BITS, IMAGE = DataSpec((12,), 2, None), DataSpec((3, 3, 1), 17, None)


fitted = functools.partial(fitting.fitted, histogram.make)


def log_prob(model, params, x):
  return np.asarray(jax.jit(model.log_prob)(params, {'x': jnp.asarray(x, jnp.float32)}, None))


def bits_data(num):
  rng = np.random.default_rng(0)
  rate = np.array([0.1, 0.9])[rng.integers(0, 2, num)]
  return np.asarray(prob.from_levels(rng.random((num, 12)) < rate[:, None], 2))


def test_a_density_is_what_is_counted():
  x = np.array([[0.0], [0.1], [0.3], [0.6], [1.0]])
  model, params = fitted(x, LINE, num_bins=2, smoothing=0.5, outside=0.1)
  np.testing.assert_allclose(params['edges'], [[0, 0.5, 1]])
  inside = np.array([(3 + 0.5) / 6, (2 + 0.5) / 6]) / 0.5
  floor = lambda v: np.exp(-0.5 * ((v - 0.5) / 0.5) ** 2) / (0.5 * np.sqrt(2 * np.pi))
  at = np.array([0.2, 0.8, 3.0, -1.0, 1.0])
  wanted = 0.1 * floor(at) + 0.9 * np.array([*inside, 0, 0, inside[1]])
  np.testing.assert_allclose(np.exp(log_prob(model, params, at[:, None])), wanted, rtol=1e-5)


@pytest.mark.parametrize('kw', [{}, {'num_bins': 7}, {'outside': 0.4}], ids=str)
def test_the_density_integrates_to_one_on_a_line(kw):
  model, params = fitted(fitting.rows_of(300, 1), LINE, **kw)
  low, high = params['edges'][0, 0], params['edges'][0, -1]
  middles = np.linspace(low, high, 25_601)  # a multiple of every number of bins but 7
  middles = (middles[1:] + middles[:-1]) / 2
  inside = np.exp(np.float64(log_prob(model, params, middles[:, None]))).mean() * (high - low)
  share = float(jax.nn.sigmoid(params['outside_logit']))
  assert inside == pytest.approx(1 - share * 2 * special.ndtr(-1.0), abs=1e-4)
  far = np.linspace(float(high) + 1e-4, float(high) + 50, 20_001)
  tail = np.exp(np.float64(log_prob(model, params, far[:, None]))).mean() * 50
  assert tail == pytest.approx(share * special.ndtr(-1.0), rel=2e-2)


@pytest.mark.parametrize('joint', [True, False])
def test_the_density_integrates_to_one_in_the_plane(joint):
  x = fitting.rows_of(400, 2) @ np.array([[1.0, 0.8], [0.0, 0.6]])
  model, params = fitted(x, PLANE, joint=joint, num_bins=8, outside=0.2)
  low, high = np.float64(params['edges'][:, 0]), np.float64(params['edges'][:, -1])
  # a box of 16 half widths whose points lie on both sides of each edge alike
  unit = (np.arange(1024) + 0.5) / 1024 * 16 - 8
  axes = [m + u * unit for m, u in zip((low + high) / 2, (high - low) / 2, strict=True)]
  points = np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 2)
  total = np.exp(np.float64(log_prob(model, params, points))).sum()
  assert total * np.prod((high - low) / 2 * 16 / 1024) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize('joint', [True, False])
def test_the_masses_of_all_binary_vectors_sum_to_one(joint):
  states = np.array(list(itertools.product([-1.0, 1.0], repeat=12)), np.float32)
  model, params = fitted(bits_data(300), BITS, joint=joint)
  assert params['log_mass'].shape == ((1, 4096) if joint else (12, 2))
  for each in (params, model.init(RNG, None)):
    assert np.exp(np.float64(log_prob(model, each, states))).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_joint_histogram_sees_what_a_product_does_not():
  train, test = bits_data(40_000)[:30_000], bits_data(40_000)[30_000:]
  ones = (test > 0).sum(1)
  truth = np.log(0.5 * 0.9**ones * 0.1 ** (12 - ones) + 0.5 * 0.1**ones * 0.9 ** (12 - ones))
  joint, product = (log_prob(*fitted(train, BITS, joint=j), test).mean() for j in (None, False))
  assert product == pytest.approx(-12 * np.log(2), abs=0.01)
  assert truth.mean() - 0.1 < joint < truth.mean()


def test_masses_of_levels_are_smoothed_counts():
  level = np.random.default_rng(0).integers(0, 4, (50, 3, 3, 1))
  model, params = fitted(np.asarray(prob.from_levels(level, 17)), IMAGE, smoothing=1.0)
  counts = np.stack([(level.reshape(50, 9) == k).sum(0) for k in range(17)], 1)
  np.testing.assert_allclose(np.exp(params['log_mass']), (counts + 1) / (50 + 17), rtol=1e-5)
  x = prob.from_levels(np.full((1, 3, 3, 1), 2), 17)
  np.testing.assert_allclose(log_prob(model, params, x),
                             np.log((counts[:, 2] + 1) / 67).sum(), rtol=1e-5)
  assert model.rsample is None and model.energy is None and model.elbo is None


def test_the_score_is_the_leave_one_out_likelihood():
  bins = np.random.default_rng(1).integers(0, 4, (30, 2))
  counts = np.stack([np.bincount(bins[:, d], minlength=4) for d in range(2)])
  got = histogram.leave_one_out(counts, np.array([0.1, 2.0]))
  for a, value in zip((0.1, 2.0), got, strict=True):
    by_row = [sum(np.log((np.sum(np.delete(bins, i, 0)[:, d] == bins[i, d]) + a)
                         / (29 + 4 * a) * 4) for d in range(2)) for i in range(30)]
    assert value == pytest.approx(np.mean(by_row), rel=1e-9)


@pytest.mark.slow
def test_the_chosen_cells_are_the_best_of_those_that_were_asked_for():
  rows, held = fitting.rows_of(2000, 1), fitting.rows_of(50_000, 1, 1)
  chosen = fitted(rows, LINE)
  nll = {k: -log_prob(*fitted(rows, LINE, num_bins=k), held).mean()
         for k in (8, 16, 32, 64)}
  best = min(nll, key=nll.get)
  assert int(chosen[1]['chosen']['num_bins']) in (best // 2, best, best * 2)
  assert -log_prob(*chosen, held).mean() < min(nll.values()) + 0.01
  # a coarse histogram on finer cells is itself: masses of neighbours are equal
  mass = np.asarray(chosen[1]['log_mass'][0]).reshape(int(chosen[1]['chosen']['num_bins']), -1)
  np.testing.assert_array_equal(mass, mass[:, :1].repeat(mass.shape[1], 1))


def test_the_error_of_k_bins_is_that_of_k_minus_one_parameters():
  """E KL(p, p_N) = (K - 1) / (2 N) to first order, for p that is constant on the bins."""
  rng = np.random.default_rng(2)
  kl = []
  for _ in range(40):
    mass = np.exp(fitted(rng.random((4000, 1)), LINE, num_bins=16, smoothing=1e-3,
                         outside=1e-6)[1]['log_mass'][0])
    kl.append(np.sum(1 / 16 * np.log(1 / 16 / mass)))
  wanted, error = 15 / 8000, np.std(kl) / np.sqrt(40)
  assert abs(np.mean(kl) - wanted) < 5 * error + 0.02 * wanted


@pytest.mark.slow
@pytest.mark.parametrize('kw', [{'joint': True}, {'joint': False}], ids=str)
def test_draws_follow_the_density(kw):
  x = fitting.rows_of(300, 2) @ np.array([[1.0, 0.8], [0.0, 0.6]])
  model, params = fitted(x, PLANE, num_bins=4, smoothing=1.0, outside=1e-6, **kw)
  num = 20_000
  drawn, evaluations = jax.jit(lambda p: model.sample(p, jax.random.key(5), num, None))(params)
  assert int(evaluations) == 0
  edges = np.float64(params['edges'])
  counts = np.histogram2d(*np.float64(drawn).T, bins=list(edges))[0].ravel()
  middles = np.stack(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in edges], indexing='ij'), -1)
  mass = np.exp(np.float64(log_prob(model, params, middles.reshape(-1, 2))))
  mass = mass * np.prod(edges[:, 1] - edges[:, 0])
  chi2 = ((counts - num * mass) ** 2 / (num * mass)).sum()
  assert chi2 < special.chdtri(15, 1e-4), chi2  # exact draws pass 9,999 times of 10,000
  # within a cell they are uniform: the place in the cell has mean 1 / 2 and variance 1 / 12
  place = (np.float64(drawn) - edges[:, 0]) / (edges[:, 1] - edges[:, 0]) % 1
  assert abs(place.mean() - 0.5) < 5 * np.sqrt(1 / 12 / place.size)
  assert abs(place.var() - 1 / 12) < 0.002


def test_draws_of_levels_and_of_the_floor():
  model, params = fitted(bits_data(500), BITS)
  drawn = np.asarray(jax.jit(lambda p: model.sample(p, RNG, 20_000, None)[0])(params))
  assert set(np.unique(drawn)) == {-1.0, 1.0}
  np.testing.assert_allclose((drawn > 0).mean(0), (bits_data(500) > 0).mean(0), atol=0.03)
  model, params = fitted(fitting.rows_of(500, 1), LINE, outside=0.5)
  drawn = np.asarray(jax.jit(lambda p: model.sample(p, RNG, 20_000, None)[0])(params))
  beyond = (drawn < params['edges'][0, 0]) | (drawn > params['edges'][0, -1])
  assert beyond.mean() == pytest.approx(0.5 * 2 * special.ndtr(-1.0), abs=0.012)


@pytest.mark.slow
@pytest.mark.parametrize('spec, kw', [(LINE, {}), (PLANE, {'num_bins': 5}), (BITS, {}), (IMAGE, {}),
                                      (DataSpec((9,), None, None), {})], ids=str)
def test_a_fit_has_the_shapes_of_init_and_gradients_are_finite(spec, kw):
  x = fitting.rows_of(40, int(np.prod(spec.shape))).reshape(-1, *spec.shape)
  x = x if spec.levels is None else np.asarray(
      prob.from_levels(prob.to_levels(x, spec.levels), spec.levels))
  model, params = fitted(x, spec, **kw)
  like = jax.eval_shape(model.init, RNG, {'x': jax.ShapeDtypeStruct(x.shape, jnp.float32)})
  shapes = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
  assert shapes(params) == shapes(like)
  loss = lambda p: -model.log_prob(p, {'x': jnp.asarray(3 * x)}, None).mean()
  slope = jax.jit(jax.grad(loss))(params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
  assert np.any(slope['log_mass']) and not np.any(slope.get('edges', 0.0))


def test_constant_dimensions_and_rows_far_outside_have_finite_density():
  x = np.concatenate([fitting.rows_of(50, 1), np.full((50, 1), 7.0)], 1)
  model, params = fitted(x, PLANE)
  np.testing.assert_allclose(params['edges'][1, [0, -1]], [6.5, 7.5])
  assert np.isfinite(log_prob(model, params, np.array([[0, 7], [1e6, 7], [0, -1e6]]))).all()


def test_bad_input():
  for kw, words in (({'num_bins': 4}, 'num_bins belongs to continuous data; these have 17 levels'),
                    ({'outside': 0.1}, 'outside belongs to continuous data'),
                    ({'smoothing': 0}, 'smoothing=0 gives cells .* the mass 0'),
                    ({'joint': True}, '17 bins in each of 9 dimensions .* allowed: joint=False')):
    with pytest.raises(BadInput, match=words):
      histogram.make(IMAGE, **kw)
  with pytest.raises(BadInput, match='1000 bins in each of 2 dimensions are more than 65536 cells'):
    histogram.make(PLANE, num_bins=1000, joint=True)
  with pytest.raises(BadInput, match=r'outside=1.5; allowed: numbers in \(0, 1\)'):
    compiled.family('histogram', PLANE, outside=1.5)
  with pytest.raises(BadInput, match="takes no 'bandwidth'"):
    compiled.family('histogram', PLANE, bandwidth=1.0)
  with pytest.raises(BadInput, match='1 training rows; allowed: at least 2'):
    fitted(fitting.rows_of(1, 1), LINE)
