"""Share of recognised samples: the test data's own figure, and balance of the classes."""

import numpy as np
import pytest

from genjax import data, encoders
from genjax.evals import classified
from genjax.types import BadInput


def run(x):
  dataset = data.load('digits')
  made = classified.make(None, estimator='classifier', dataset=dataset, split='test',
                         encoder=encoders.load('digits'))
  return made({}, lambda n: (x[:n], {}))


def test_real_images_are_recognised_and_noise_is_not():
  test = data.load('digits').splits['test']['x']
  values = run(test)
  assert values['classified_09'].value == values['classified_09_data'].value > 0.9
  assert values['min_class_share'].value == values['min_class_share_data'].value > 0.06
  assert values['classified_09'].low < values['classified_09'].value < values['classified_09'].high
  # each pixel from another image: the marginals of digits, and no digit
  train = data.load('digits').splits['train']['x'].reshape(-1, 64)
  rng = np.random.default_rng(5)
  mixed = train[rng.integers(0, len(train), (1000, 64)), np.arange(64)].reshape(-1, 8, 8, 1)
  assert run(mixed)['classified_09'].value < 0.05


def test_a_collapsed_model_is_seen():
  dataset = data.load('digits')
  zeros = dataset.splits['test']['x'][dataset.splits['test']['cond'] == 0]
  values = run(zeros)
  assert values['min_class_share'].value == 0.0
  assert values['classified_09'].card['detail']['class_shares'][0] > 0.95


def test_an_encoder_without_classes_is_refused():
  encoder = encoders.load('digits')._replace(probs=None)
  with pytest.raises(BadInput, match='class probabilities'):
    classified.make(None, estimator='classifier', dataset=data.load('digits'), split='test',
                    encoder=encoder)
