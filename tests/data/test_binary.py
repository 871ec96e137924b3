"""Binary images: the three recipes, their identities, and what is drawn in training."""

import jax
import numpy as np
import pytest

from genjax import configs, data, wiring
from genjax.data import binary, shapes
from genjax.types import BadInput

DIGITS = data.load('digits')


def test_a_threshold_is_half_of_the_largest_level():
  bits = data.load('digits', binarise='threshold').splits['test']['x']
  assert bits.dtype == np.uint8
  np.testing.assert_array_equal(bits, DIGITS.splits['test']['x'] >= 8)


def test_a_fixed_draw_has_the_mean_of_the_levels_and_is_fixed():
  made = data.load('digits', binarise='fixed:3')
  assert made.spec == DIGITS.spec._replace(levels=2)
  for split, arrays in made.splits.items():
    levels = DIGITS.splits[split]['x'] / 16.0
    assert set(arrays) == {'x', 'cond'} and set(np.unique(arrays['x'])) == {0, 1}
    # a pixel of level 0 or L - 1 is never drawn otherwise
    assert np.all(arrays['x'][levels == 0] == 0) and np.all(arrays['x'][levels == 1] == 1)
    error = np.sqrt(np.sum(levels * (1 - levels)))
    assert abs(arrays['x'].sum() - levels.sum()) < 4 * error
  again, other = (data.load('digits', binarise=f'fixed:{seed}') for seed in (3, 4))
  assert again.identity == made.identity
  assert other.identity['sha256'] != made.identity['sha256']
  assert 'binarised: fixed:3' in made.identity['recipe']


def test_a_stochastic_draw_is_new_in_training_and_fixed_in_evaluation():
  made, fixed = (data.load('digits', binarise=how) for how in ('stochastic', 'fixed:0'))
  for split in ('validation', 'test'):
    np.testing.assert_array_equal(made.splits[split]['x'], fixed.splits[split]['x'])
    assert 'intensity' not in made.splits[split]
  rows = {key: array[:400] for key, array in made.splits['train'].items()}
  still = data.prepare(rows, made.spec)
  np.testing.assert_array_equal(still['x'], 2.0 * rows['x'] - 1.0)
  first, second = (data.prepare(rows, made.spec, jax.random.key(seed)) for seed in (0, 1))
  assert set(first) == {'x', 'cond'} and set(np.unique(first['x'])) == {-1.0, 1.0}
  p = DIGITS.splits['train']['x'][:400] / 16.0
  np.testing.assert_allclose(rows['intensity'] / 65535.0, p, atol=1e-5)
  # two draws differ at a pixel with probability 2 p (1 - p)
  expected, error = np.sum(2 * p * (1 - p)), np.sqrt(np.sum(2 * p * (1 - p)))
  assert abs(np.sum(first['x'] != second['x']) - expected) < 4 * error


def test_a_run_on_stochastic_images_is_trained_on_new_draws():
  config = configs.load('configs/digits.py:family=vae,objective=kl,data.binarise=stochastic')
  run = wiring.run(config)
  rows = run.source[0]
  x = [np.asarray(run.prepare(rows, jax.random.key(seed))['x']) for seed in (0, 1)]
  assert run.dataset.spec.levels == 2 and np.any(x[0] != x[1])


def test_shapes_alone_are_enough_to_compile():
  made = binary.binarised(shapes.of_arrays(DIGITS), 'stochastic')
  assert made.spec.levels == 2 and made.splits['train']['intensity'].dtype == np.uint16
  assert made.splits['test']['x'].dtype == np.uint8


@pytest.mark.parametrize('name, how, words', [
    ('digits', 'stochastical', "binarise='stochastical'; allowed: threshold, stochastic, fixed"),
    ('digits', 'fixed', "binarise='fixed'; allowed"),
    ('digits', 'fixed:-1', "binarise='fixed:-1'; allowed"),
    ('digits', 'fixed:99999999999', 'its seed.*99999999999'),
    ('digits', 3, 'binarise=3; allowed'),
    ('ring8', 'threshold', "data set 'ring8' has no images"),
])
def test_what_is_no_recipe_is_refused(name, how, words):
  with pytest.raises(BadInput, match=words):
    data.load(name, binarise=how)


def test_what_has_two_levels_is_not_binarised_again():
  with pytest.raises(BadInput, match='2 levels already'):
    binary.binarised(data.load('digits', binarise='threshold'), 'threshold')
