"""Committed weights: what they score, how large they are, and what happens to damaged files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, disk, encoders
from genjax.encoders import classifier
from genjax.types import BadInput, DataSpec
from genjax.wiring import networks

SPECS = {'digits': DataSpec((8, 8, 1), 17, 10), 'fmnist': DataSpec((28, 28, 1), 256, 10)}


def test_committed_weights():
  for name, sha256 in encoders.COMMITTED.items():
    encoder = encoders.load(name, SPECS[name])
    assert encoder.card['sha256'] == sha256
    assert (encoders.WEIGHTS / f'{name}.npz').stat().st_size <= 200_000


def test_digits_features_and_accuracy_on_data_it_was_not_trained_on():
  dataset, encoder = data.load('digits'), encoders.load('digits', SPECS['digits'])
  assert encoder.card['dim'] <= 16
  assert encoder.card['source']['data']['sha256'] == dataset.identity['sha256']
  test = dataset.splits['test']
  probs = encoder.probs(test['x'])
  assert np.mean(probs.argmax(1) == test['cond']) > 0.97
  assert np.mean(probs.max(1) >= 0.9) > 0.9
  train = encoder.features(dataset.splits['train']['x'])
  assert train.shape == (1197, encoder.card['dim']) and train.dtype == np.float32
  assert abs(train.astype(np.float64).var(0).mean() - 1) < 1e-3


def test_batches_and_padding_do_not_change_the_features():
  encoder = encoders.load('digits', SPECS['digits'])
  x = data.load('digits').splits['train']['x'][:700]
  np.testing.assert_allclose(encoder.features(x)[600:], encoder.features(x[600:]), atol=1e-5)


def test_patches():
  x = jnp.arange(2 * 4 * 4 * 1, dtype=jnp.float32).reshape(2, 4, 4, 1)
  near = classifier.neighbourhoods(x)
  np.testing.assert_array_equal(near[0, 1, 1], [0, 1, 2, 4, 5, 6, 8, 9, 10])
  np.testing.assert_array_equal(near[0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 4, 5])
  blocks = classifier.depth_from_space(x, 2)
  np.testing.assert_array_equal(blocks[0, 0, 1], [2, 3, 6, 7])
  assert classifier.depth_from_space(x, 3).shape == (2, 2, 2, 9)


@pytest.fixture(scope='module')
def tiny():
  network = classifier.Classifier(classifier.Patches((4, 4), 3), 10)
  params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))['params']
  return network, params


@pytest.fixture
def saved(tmp_path, tiny):
  path = tmp_path / 'tiny.npz'
  classifier.save(path, tiny[1], tiny[0], SPECS['digits'], 2.0, {'seed': 0})
  return path, *tiny


def test_what_is_saved_is_loaded(saved):
  path, network, params = saved
  x = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1))
  expected = network.apply({'params': params}, jnp.asarray(x / 8.0 - 1, jnp.float32))[0]
  np.testing.assert_allclose(classifier.load('tiny', path).features(x), 2 * expected, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize('name, kw', [('conv', {'width': 8, 'dtype': 'bfloat16'}),
                                      ('mlp', {'features': (4,)})])
def test_a_network_of_the_role_is_a_trunk(tmp_path, name, kw):
  trunk = networks.bound('classifier', SPECS['digits']._replace(num_classes=None), name=name, kw=kw,
                         out=3)
  network = classifier.Classifier(trunk, 10)
  params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))['params']
  classifier.save(tmp_path / 'own.npz', params, network, SPECS['digits'], 1.0, {})
  x = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1))
  expected = network.apply({'params': params}, jnp.asarray(x / 8.0 - 1, jnp.float32))[0]
  loaded = classifier.load('own', tmp_path / 'own.npz')
  np.testing.assert_allclose(loaded.features(x), expected, atol=0.05)


@pytest.mark.parametrize('damage', ['flip', 'cut', 'empty', 'text'])
def test_damaged_files_are_refused(saved, damage):
  path = saved[0]
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes({'flip': bytes(content), 'cut': path.read_bytes()[:-200], 'empty': b'',
                    'text': b'not an archive'}[damage])
  with pytest.raises(BadInput, match='tiny'):
    classifier.load('tiny', path)


def test_every_flipped_bit_of_an_encoder_is_seen(saved):
  path = saved[0]
  whole = path.read_bytes()
  weights = np.load(path)  # the seal is behind the archive
  assert 'card' in weights.files
  rng = np.random.default_rng(0)
  for bit in rng.integers(8 * len(whole), size=200):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    if bit // 8 < len(whole) - 72:
      with pytest.raises(BadInput, match='tiny'):
        classifier.load('tiny', path)
  path.write_bytes(disk.unseal(whole))  # from before there were seals
  assert classifier.load('tiny', path).card['dim'] == 3


def test_a_hash_that_differs_is_refused(saved):
  with pytest.raises(BadInput, match='sha256 is .*allowed: 00'):
    classifier.load('tiny', saved[0], '00')


def test_wrong_names_and_shapes_are_refused():
  with pytest.raises(BadInput, match='incption.*allowed: identity, digits'):
    encoders.load('incption', SPECS['digits'])
  with pytest.raises(BadInput, match='cannot read'):
    encoders.load('missing.npz', SPECS['digits'])
  with pytest.raises(BadInput, match=r'\(28, 28, 1\).*allowed: \(8, 8, 1\)'):
    encoders.load('digits', SPECS['digits']).features(np.zeros((2, 28, 28, 1), np.uint8))
