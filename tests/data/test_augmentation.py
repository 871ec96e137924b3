"""Training images mirrored by halves, and nothing but training images."""

import jax
import numpy as np
import pytest

from genjax import configs, data, identity, wiring
from genjax.types import BadInput

DIGITS = 'configs/digits.py:family=vae,objective=kl,posterior.features=(16,),decoder.features=(16,)'


def with_augment(argument, name):
  config = configs.load(argument)
  configs.override(config, {'augment': name})
  return config


def test_half_of_the_training_images_are_mirrored_and_no_others():
  config = with_augment(DIGITS, 'flip')
  made = wiring.run(config)
  rows = {'x': made.dataset.splits['train']['x']}
  plain = np.asarray(data.prepare(rows, made.dataset.spec)['x'])
  drawn = np.asarray(jax.jit(made.prepare)(rows, jax.random.key(0))['x'])
  is_kept = (drawn == plain).all((1, 2, 3))
  is_mirrored = (drawn == plain[:, :, ::-1]).all((1, 2, 3))
  assert (is_kept | is_mirrored).all()
  assert abs(is_mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(plain))
  other = np.asarray(jax.jit(made.prepare)(rows, jax.random.key(1))['x'])
  assert ((drawn != other).any((1, 2, 3)).mean()) > 0.4
  # what parameters start from is as it is, and so is what a run without augmentation trains on
  np.testing.assert_array_equal(made.prepare(rows)['x'], plain)
  as_is = wiring.run(with_augment(DIGITS, '')).prepare(rows, jax.random.key(0))['x']
  np.testing.assert_array_equal(as_is, plain)


def test_it_belongs_to_what_is_trained():
  off, on = (with_augment(DIGITS, name).to_dict() for name in ('', 'flip'))
  assert identity.trajectory(off) != identity.trajectory(on)


@pytest.mark.parametrize(('argument', 'name', 'words'), [
    (DIGITS, 'flop', "augment='flop'.*flip"),
    ('configs/toy2d.py:family=flow,objective=kl', 'flip', 'needs images, and .* has none'),
    ('configs/digits.py:family=gaussian,objective=kl', 'flip', 'fitted in one step')])
def test_refusals(argument, name, words):
  with pytest.raises(BadInput, match=words):
    wiring.run(with_augment(argument, name))
