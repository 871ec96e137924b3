"""The kernel density estimate against scikit-learn, scipy, quadrature and its own draws."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity

from genjax import prob
from genjax.models import kde
from genjax.types import BadInput, DataSpec
from tests import fitting
from tests import networks as compiled

RNG = jax.random.key(0)
LINE, PLANE = DataSpec((1,), None, None), DataSpec((2,), None, None)
IMAGE = DataSpec((2, 2, 1), 5, None)
GRID = np.logspace(-1, 1, 20)  # of scikit-learn's plot_digits_kde_sampling
BEST = 3.79269019073225  # what it prints
# rows of a leaf of scikit-learn's tree: sums over several leaves lose most digits where kernels
# underflow (hundreds of nats in 16 dimensions at h = 0.3), and one leaf does not
LEAF = 10_000


fitted = functools.partial(fitting.fitted, kde.make)


def exact(x, centres, h):
  """log p(x) by scipy, in float64."""
  d2 = ((np.asarray(x, np.float64)[:, None] - centres) ** 2).sum(-1)
  dim = centres.shape[1]
  return (special.logsumexp(-d2 / (2 * h * h), axis=1) - np.log(len(centres))
          - dim * np.log(h) - dim / 2 * np.log(2 * np.pi))


@pytest.mark.parametrize('dim', [1, 2, 16])
@pytest.mark.parametrize('h', [0.3, 2.0])
def test_the_log_likelihood_is_that_of_scikit_learn(dim, h):
  rows, x = fitting.rows_of(500, dim), 2 * fitting.rows_of(100, dim, 1) + 3
  model, params = fitted(rows, DataSpec((dim,), None, None), bandwidth=h, num_points=512)
  got = jax.jit(model.log_prob)(params, {'x': jnp.asarray(x)}, None)
  wanted = KernelDensity(bandwidth=h, leaf_size=LEAF).fit(rows).score_samples(x)
  np.testing.assert_allclose(got, wanted, rtol=1e-5)
  np.testing.assert_allclose(got, exact(x, rows, h), rtol=1e-5)


def test_distances_by_products_keep_the_digits_of_a_high_dimension():
  x = load_digits().data.astype(np.float32)  # of mean 5 and up to 16
  params = {'centres': jnp.asarray(x[:1000]), 'weights': jnp.ones(1000),
            'log_bandwidth': jnp.log(jnp.float32(3.1))}
  got = jax.jit(kde.log_density)(params, jnp.asarray(x[1000:1100]))
  np.testing.assert_allclose(got, exact(x[1000:1100], x[:1000], 3.1), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('dim', [2, 20])
def test_blocks_do_not_change_the_density(monkeypatch, dim):
  rows, x = fitting.rows_of(101, dim), jnp.asarray(fitting.rows_of(30, dim, 1))
  params = {'centres': jnp.asarray(rows), 'weights': jnp.ones(101),
            'log_bandwidth': jnp.float32(-0.2)}
  both = lambda: jax.jit(jax.value_and_grad(lambda p: kde.log_density(p, x).sum()))(params)
  whole, slope = both()
  monkeypatch.setattr(kde, 'BLOCK', 30 * dim * 7)
  value, again = both()
  np.testing.assert_allclose(value, whole, rtol=1e-5)
  for name in ('centres', 'log_bandwidth'):
    assert np.isfinite(again[name]).all() and np.any(again[name])
    np.testing.assert_allclose(again[name], slope[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('dim', [8, 20])
def test_no_array_holds_the_distances_of_all_rows(monkeypatch, dim):
  monkeypatch.setattr(kde, 'BLOCK', 2**14)
  params = {'centres': jnp.zeros((2000, dim)), 'weights': jnp.ones(2000),
            'log_bandwidth': jnp.float32(0)}
  text = str(jax.make_jaxpr(jax.grad(lambda p, x: kde.log_density(p, x).sum(), 1))(
      params, jnp.zeros((100, dim))))
  sizes = [np.prod([int(n) for n in shape.split(',')]) for shape in re.findall(
      r'f32\[([\d,]+)\]', text)]
  # a block, or the centres and their padding
  assert 2000 * dim <= max(sizes) <= max(2**14, 2200 * dim)


def test_the_density_integrates_to_one():
  density = jax.jit(lambda params, x: jnp.exp(kde.log_density(params, x)).sum())
  params = fitted(fitting.rows_of(300, 1), LINE)[1]
  x = np.linspace(-12, 12, 1201, dtype=np.float32)
  assert float(density(params, x[:, None])) * 0.02 == (
      pytest.approx(1.0, abs=1e-4))
  params = fitted(fitting.rows_of(300, 2), PLANE)[1]
  axis = (np.arange(100) + 0.5) / 100 * 16 - 8
  x = np.stack(np.meshgrid(axis, axis, indexing='ij'), -1).reshape(-1, 2).astype(np.float32)
  assert float(density(params, x)) * 0.0256 == pytest.approx(
      1.0, abs=1e-4)


def test_cross_validation_reproduces_the_digits_example_of_scikit_learn():
  x = PCA(n_components=15, whiten=False).fit_transform(load_digits().data)
  for folds in (3, 5):
    scores = kde.cross_validated(np.float32(x), np.float32(x),
                                 jnp.log(jnp.asarray(GRID, jnp.float32)), folds)
    assert GRID[np.argmax(scores)] == BEST
  # their search on 600 rows, every score: ours is a mean over rows, theirs over folds of 120 rows
  near = GRID[np.argmax(scores) - 1:np.argmax(scores) + 2]
  search = GridSearchCV(KernelDensity(leaf_size=LEAF), {'bandwidth': near}, cv=KFold(5)).fit(
      x[:600])
  ours = kde.cross_validated(np.float32(x[:600]), np.float32(x[:600]), jnp.log(
      jnp.asarray(near, jnp.float32)), 5)
  np.testing.assert_allclose(ours, search.cv_results_['mean_test_score'] / 120, rtol=1e-5)


def test_leave_one_out_is_the_density_of_the_other_rows():
  rows = fitting.rows_of(60, 2)
  wanted = [exact(rows[i:i + 1], np.delete(rows, i, 0), 0.4)[0] for i in range(60)]
  got = kde.cross_validated(rows, rows, jnp.log(jnp.asarray([0.4])))
  np.testing.assert_allclose(got[0], np.mean(wanted), rtol=1e-5)


@pytest.mark.parametrize('folds', [None, 4])
def test_the_chosen_bandwidth_is_the_best_of_a_fine_grid(folds):
  rows = fitting.rows_of(200, 1)
  rows[100:] = 0.05 * rows[100:] + 5  # two widths: Scott's rule is far off
  chosen = kde.choose_log_bandwidth(rows, rows, folds)
  fine = np.log(np.geomspace(0.01, 3, 300))
  scores = np.asarray(kde.cross_validated(rows, rows, jnp.asarray(fine, jnp.float32), folds))
  assert abs(chosen - fine[np.argmax(scores)]) < 0.03
  assert np.exp(chosen) < 0.5 * rows.std() * 200 ** -0.2


def test_draws_follow_the_density():
  rows = fitting.rows_of(40, 1)
  model, params = fitted(rows, LINE, bandwidth=0.3, num_points=64)  # 24 places are empty
  num = 20_000
  x, evaluations = jax.jit(lambda p: model.sample(p, jax.random.key(3), num, None))(params)
  assert int(evaluations) == 0
  edges = np.linspace(-2.5, 2.5, 26)
  cdf = np.concatenate([[0], special.ndtr((edges[:, None] - rows.T) / 0.3).mean(1), [1]])
  counts = np.histogram(x, np.concatenate([[-np.inf], edges, [np.inf]]))[0]
  chi2 = ((counts - num * np.diff(cdf)) ** 2 / (num * np.diff(cdf))).sum()
  assert chi2 < special.chdtri(26, 1e-4), chi2  # exact draws pass 9,999 times of 10,000


@pytest.mark.slow
def test_rsample_has_the_gradient_of_the_expectation():
  """E |x|^2 = mean |c|^2 + D h^2."""
  rows = fitting.rows_of(8, 2)
  model, params = fitted(rows, PLANE, bandwidth=0.7, num_points=8)
  loss = lambda p: (model.rsample(p, RNG, 30_000, None) ** 2).sum(-1).mean()
  got = jax.jit(jax.grad(loss))(params)
  np.testing.assert_allclose(got['centres'], 2 * params['centres'] / 8, atol=0.03)
  assert float(got['log_bandwidth']) == pytest.approx(2 * 2 * 0.49, rel=0.04)
  assert not np.any(got['weights'])
  x, log_p = model.sample_and_log_prob(params, RNG, 5, None)
  np.testing.assert_allclose(log_p, -model.energy(params, x, None), rtol=1e-6)


def test_empty_places_count_for_nothing_and_more_rows_are_drawn_from():
  rows = fitting.rows_of(50, 2)
  x = jnp.asarray(fitting.rows_of(20, 2, 1))
  some, all_places = (fitted(rows, PLANE, bandwidth=0.5, num_points=n) for n in (50, 80))
  np.testing.assert_allclose(some[0].log_prob(some[1], {'x': x}, None),
                             all_places[0].log_prob(all_places[1], {'x': x}, None), rtol=1e-5)
  few = fitted(rows, PLANE, bandwidth=0.5, num_points=10)[1]['centres']
  assert len(np.unique(few, axis=0)) == 10 and {*map(tuple, np.asarray(few))} <= {*map(tuple, rows)}


@pytest.mark.slow
@pytest.mark.parametrize('num_points', [16, 300])
def test_a_fit_has_the_shapes_of_init(num_points):
  model, params = fitted(fitting.rows_of(60, 2), PLANE, num_points=num_points)
  like = jax.eval_shape(model.init, RNG, {'x': jax.ShapeDtypeStruct((4, 2), jnp.float32)})
  shapes = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
  assert shapes(params) == shapes(like)
  start = model.init(RNG, None)
  assert np.isfinite(model.log_prob(start, {'x': jnp.zeros((3, 2))}, None)).all()


def test_data_with_levels_are_a_dequantised_density():
  levels = np.random.default_rng(0).integers(0, 5, (200, 2, 2, 1))
  levels[:, 0, 0] = levels[:, 0, 1]  # most rows repeat: without the noise of a cell h would be 0
  x = np.asarray(prob.from_levels(levels, 5))
  model, params = fitted(x, IMAGE, num_points=256)
  assert model.log_prob is None and 0.03 < float(jnp.exp(params['log_bandwidth'])) < 1.0
  terms = jax.jit(model.elbo)(params, {'x': jnp.asarray(x)}, RNG)
  assert float(prob.bits_per_dim(-sum(terms.values()), IMAGE).mean()) < np.log2(5) + 0.3
  assert model.sample(params, RNG, 3, None)[0].shape == (3, 2, 2, 1)


def test_bad_input():
  for folds in (1, 3000):
    with pytest.raises(BadInput, match=f'folds={folds}; allowed: 2 to num_points=2048, or None'):
      kde.make(PLANE, folds=folds)
  with pytest.raises(BadInput, match='bandwidth=0.*finite numbers > 0'):
    compiled.family('kde', PLANE, bandwidth=0)
  with pytest.raises(BadInput, match=r"takes no 'num_bins' \(a keyword of model 'histogram'"):
    compiled.family('kde', PLANE, num_bins=4)
  with pytest.raises(BadInput, match='3 training rows are too few.*4 folds.*model.bandwidth'):
    fitted(fitting.rows_of(3, 2), PLANE, folds=4)
  with pytest.raises(BadInput, match='leave-one-out'):
    fitted(fitting.rows_of(1, 2), PLANE)
  with pytest.raises(BadInput, match='most training rows are repeated.*model.bandwidth'):
    fitted(np.repeat(fitting.rows_of(50, 2), 2, axis=0), PLANE)
