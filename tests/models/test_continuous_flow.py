"""Continuous flows: Hutchinson's estimate against the exact trace, and the error of the solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.models import continuous_flow
from genjax.types import BadInput, DataSpec
from tests.networks import family, initial, jit, moved

SMALL = {'velocity': {'width': 16, 'num_blocks': 1}}


def built(shape, levels=None, **kw):
  model = family('continuous_flow', DataSpec(shape, levels, None), SMALL, **kw)
  return model, moved(initial(model, {'x': jnp.zeros((2, *shape))}), 0.05)


@pytest.mark.slow  # diffrax takes seconds to import
def test_the_solver_is_of_fifth_order():
  rates = jnp.asarray([[-1.0, 2.0], [-2.0, -0.5]])
  slope = lambda y, t: y @ rates * (1.0 + t)
  start = jnp.asarray([[1.0, -1.0]])
  ends = jit(lambda y: [continuous_flow.solve(slope, y, n) for n in (2, 4, 64)])(start)
  errors = [np.abs(end - ends[-1]).max() for end in ends[:2]]
  assert errors[0] > 16 * errors[1] > 0
  back = jit(lambda y: continuous_flow.solve(slope, y, 64, backwards=True))(ends[-1])
  np.testing.assert_allclose(back, start, atol=1e-5)


@pytest.mark.slow
def test_the_estimate_is_unbiased_and_replaces_the_exact_density():
  exact, params = built((3,), trace='exact')
  noisy, _ = built((3,), trace='hutchinson')
  batch = {'x': jax.random.normal(jax.random.key(0), (4, 3))}
  assert noisy.log_prob is None and noisy.sample_and_log_prob is None
  assert exact.log_prob_estimate is None
  estimate = lambda key: sum(noisy.log_prob_estimate(params, batch, key).values())
  draws = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), 500)))
  error = draws.std(0) / np.sqrt(len(draws))
  assert np.all(error > 1e-4)  # it is an estimate
  assert np.all(np.abs(draws.mean(0) - exact.log_prob(params, batch, None)) < 4 * error + 1e-5)


@pytest.mark.slow
def test_above_eight_dimensions_levels_have_an_estimate_alone():
  model, params = built((9,), 5)
  assert model.log_prob is model.elbo is model.log_weight is None
  terms = jit(model.log_prob_estimate)(params, {'x': jnp.zeros((2, 9))}, jax.random.key(0))
  assert set(terms) == {'log_base', 'log_det', 'log_cell_volume'}
  assert built((2,), 5)[0].elbo is not None


def test_bad_input():
  with pytest.raises(BadInput, match="'sliced'; allowed: exact, hutchinson"):
    family('continuous_flow', DataSpec((2,), None, None), SMALL, trace='sliced')
