"""Active units: a count against known posterior means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.evals import active_units
from genjax.types import BadInput, DataSpec, Latents, Model
from tests.evals import asked

# deviations of E[u | x] over x: those above 0.1 are active
SCALES = np.float32([1.0, 0.2, 0.05, 0.0])


def run(infer, n=1200, **kw):
  x = np.random.default_rng(0).standard_normal((n, 1)).astype(np.float32)
  dataset = data.Dataset('line', DataSpec((1,), None, None), {'test': {'x': x}}, {})
  model = Model(init=None, latents=Latents(infer, None, None, None))
  return asked.of_model(active_units, 'draws', model, asked.task(dataset), **kw)({}, None)


def test_units_whose_mean_moves_by_more_than_the_threshold_are_active():
  def infer(params, batch, rng):
    mean = batch['x'] * SCALES
    z = mean + jax.random.normal(rng, mean.shape)  # noise that is no activity
    return [z[:, :1], z[:, 1:].reshape(-1, 3, 1)]  # a tree: its leaves' elements are the units

  values = run(infer, batch_size=500)
  count, share = values['active_units'], values['active_units_share']
  assert count.value == 2 and share.value == 0.5
  card = count.card
  assert (card['n_reference'], card['threshold'], card['num_draws']) == (1000, 0.01, 32)
  assert card['detail']['units'] == 4
  low, middle, high = card['detail']['quartiles_of_variance']
  expected = np.quantile(SCALES**2, (0.25, 0.5, 0.75))
  np.testing.assert_allclose([low, middle, high], expected, atol=0.02)
  assert run(infer, threshold=2.0, num_examples=50)['active_units'].value == 0


def test_one_draw_is_refused():
  with pytest.raises(BadInput, match='num_draws=1'):
    run(lambda params, batch, rng: jnp.zeros((1, 1)), num_draws=1)
