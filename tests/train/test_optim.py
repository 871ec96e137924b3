"""Learning rates by the step, and what an optimizer refuses."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.train import optim
from genjax.types import BadInput

CONFIG = {'name': 'adam', 'lr': 1e-3, 'b1': 0.9, 'b2': 0.999, 'eps': 1e-8, 'weight_decay': 0.0,
          'clip': 0.0, 'warmup': 0, 'decay': 'constant'}


def test_stages_are_those_of_the_paper():
  """Stage i makes 3^i passes at 10^(-i / 7) of the rate: 3280 passes in all."""
  rate, start = optim.stages(1e-3, 3280), 0
  for i in range(8):
    for update in (start, start + 3**i - 1):
      assert np.isclose(rate(update), 1e-3 * 10 ** (-i / 7))
    start += 3**i
  assert start == 3280


def test_stages_of_a_short_run_end_at_a_tenth():
  """Stages shorter than half an update are left out."""
  rate = optim.stages(1.0, 328)
  np.testing.assert_allclose([rate(0), rate(327)], [10 ** (-2 / 7), 0.1], rtol=1e-6)
  assert np.all(np.diff([float(rate(i)) for i in range(328)]) <= 0)


def test_eps_is_added_to_the_root_of_the_second_moment():
  rule = optim.make(**{**CONFIG, 'eps': 1e-4}, num_updates=10)
  params, grads = jnp.zeros(1), jnp.full(1, 1e-4)
  updates, _ = rule.update(grads, rule.init(params), params)
  np.testing.assert_allclose(updates, -1e-3 * 0.5, rtol=1e-4)  # g / (|g| + eps) = 1 / 2
  expected, _ = optax.adam(1e-3, eps=1e-4).update(grads, optax.adam(1e-3).init(params), params)
  np.testing.assert_allclose(updates, expected)


@pytest.mark.parametrize('change, words', [
    ({'eps': 0.0}, 'optim.eps=0.0'),
    ({'decay': 'stage'}, "optim.decay='stage'; allowed: constant, cosine, linear, stages"),
    ({'name': 'adan'}, "optim.name='adan'; allowed: adam")])
def test_what_is_no_optimizer(change, words):
  with pytest.raises(BadInput, match=words):
    optim.make(**{**CONFIG, **change}, num_updates=10)
