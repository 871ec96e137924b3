"""Inception-2015-12-05 in JAX: its parts by hand, and the whole against PyTorch."""

import importlib
import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.encoders import inception, resize, weights
from genjax.types import BadInput

SIDES = {  # of 299 pixels, and channels: as published
    'Conv2d_1a_3x3': (149, 32), 'Conv2d_2a_3x3': (147, 32), 'Conv2d_2b_3x3': (147, 64),
    'MaxPool_1': (73, 64), 'Conv2d_3b_1x1': (73, 80), 'Conv2d_4a_3x3': (71, 192),
    'MaxPool_2': (35, 192), 'Mixed_5b': (35, 256), 'Mixed_5c': (35, 288), 'Mixed_5d': (35, 288),
    'Mixed_6a': (17, 768), 'Mixed_6b': (17, 768), 'Mixed_6c': (17, 768), 'Mixed_6d': (17, 768),
    'Mixed_6e': (17, 768), 'Mixed_7a': (8, 1280), 'Mixed_7b': (8, 2048), 'Mixed_7c': (8, 2048)}


@pytest.fixture(scope='module')
def state():
  return inception.random_state(np.random.default_rng(0))


def images(batch, height, width):
  return np.random.default_rng(1).uniform(-1, 1, (batch, height, width, 3)).astype(np.float32)


apply = jax.jit(inception.apply)


def in_torch(arrays):
  """torch-fidelity's network with these weights: one file of a package whose others need more."""
  torch, package = pytest.importorskip('torch'), importlib.util.find_spec('torch_fidelity')
  if package is None:
    pytest.skip('torch_fidelity is not installed')
  mine = lambda: [name for name in sys.modules if name.partition('.')[0] == 'torch_fidelity']
  before = {name: sys.modules.pop(name) for name in mine()}
  try:
    sys.modules['torch_fidelity'] = types.ModuleType('torch_fidelity')
    sys.modules['torch_fidelity'].__path__ = list(package.submodule_search_locations)
    theirs = importlib.import_module('torch_fidelity.feature_extractor_inceptionv3')
  finally:
    for name in mine():
      del sys.modules[name]
    sys.modules.update(before)
  tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
  theirs.load_state_dict_from_url = lambda *args, **kw: tensors
  return theirs.FeatureExtractorInceptionV3('inception', ['2048', 'logits_unbiased', 'logits'])


def off(ours, theirs):
  """The largest difference over the largest value."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  assert ours.shape == theirs.shape
  return np.abs(ours - theirs).max() / np.abs(theirs).max()


def compare(arrays, x):
  """Every stage and output against torch-fidelity's; the largest error."""
  torch, net = pytest.importorskip('torch'), in_torch(arrays)
  found = apply(inception.from_torch(arrays), x)
  errors, h = {}, torch.from_numpy(x).permute(0, 3, 1, 2)
  with torch.inference_mode():
    for name in inception.STAGES:
      h = getattr(net, name)(h)
      errors[name] = off(found[name], h.permute(0, 2, 3, 1))
    pooled = torch.flatten(net.AvgPool(h), 1)
    errors['pool3'] = off(found['pool3'], pooled)
    errors['logits_unbiased'] = off(found['logits_unbiased'], pooled.mm(net.fc.weight.T))
    errors['logits'] = off(found['logits'], net.fc(pooled))
  assert set(errors) == set(found)
  return max(errors.values())


@pytest.mark.parametrize('size', [(107, 139), (78, 75)], ids=str)
def test_every_stage_is_that_of_pytorch(state, size):
  assert compare(state, images(2, *size)) < 1e-5


@pytest.mark.slow
def test_every_stage_of_images_of_299_is_that_of_pytorch(state):
  assert compare(state, images(2, inception.SIDE, inception.SIDE)) < 1e-5


@pytest.mark.slow
def test_from_levels_to_features_as_torch_fidelity_does(state):
  torch, net = pytest.importorskip('torch'), in_torch(state)
  x = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), np.uint8)
  with torch.inference_mode():
    theirs = net(torch.from_numpy(x).permute(0, 3, 1, 2))
  found = apply(inception.from_torch(state), resize.tf1(x))
  for name, value in zip(('pool3', 'logits_unbiased', 'logits'), theirs, strict=True):
    assert off(found[name], value) < 1e-5


@pytest.mark.slow
def test_published_weights():
  try:
    arrays, _ = weights.load('inception', download=False)
  except BadInput as error:
    pytest.skip(str(error))
  assert compare(arrays, images(2, inception.SIDE, inception.SIDE)) < 1e-4


def test_the_network_of_the_benchmark_is_the_same(state):
  torch = pytest.importorskip('torch')
  from benchmarks import torch_inception
  net, x = torch_inception.Network().eval(), images(1, 107, 139)
  net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()},
                      strict=False)  # of older files: no counts of batches
  with torch.inference_mode():
    theirs = net(torch.from_numpy(x).permute(0, 3, 1, 2))
  assert off(apply(inception.from_torch(state), x)['pool3'], theirs) < 1e-5


def plain(state, name, conv, x):
  """Convolution, batch norm, relu as they are defined."""
  y = jax.lax.conv_general_dilated(
      x, state[f'{name}.conv.weight'], (conv.stride,) * 2, conv.padding, precision='highest',
      dimension_numbers=('NHWC', 'OIHW', 'NHWC'))
  p = {leaf: state[f'{name}.bn.{leaf}'] for leaf in inception.NORM}
  y = (y - p['running_mean']) / np.sqrt(p['running_var'] + 1e-3)
  return np.asarray(jax.nn.relu(y * p['weight'] + p['bias']))


def windows(x, pad):
  """[9, B, h, w, C]: the 3 x 3 neighbours of each position, `pad` outside."""
  x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=pad)
  h, w = x.shape[1] - 2, x.shape[2] - 2
  return np.stack([x[:, i:i + h, j:j + w] for i in range(3) for j in range(3)])


AVERAGE = lambda x: np.nanmean(windows(x, np.nan), 0)
MAX = lambda x: windows(x, -np.inf).max(0)


@pytest.fixture(scope='module')
def found(state):
  return jax.tree.map(np.asarray, apply(inception.from_torch(state), images(2, 107, 139)))


@pytest.mark.slow
@pytest.mark.parametrize('stage, before', [
    ('Conv2d_1a_3x3', None), ('Conv2d_2a_3x3', 'Conv2d_1a_3x3'), ('Conv2d_2b_3x3', 'Conv2d_2a_3x3'),
    ('Conv2d_3b_1x1', 'MaxPool_1'), ('Conv2d_4a_3x3', 'Conv2d_3b_1x1')])
def test_layers_of_the_stem(state, found, stage, before):
  x = found[before] if before else images(2, 107, 139)
  assert off(found[stage], plain(state, stage, inception.STAGES[stage], x)) < 1e-5


@pytest.mark.parametrize('stage, before, pool', [
    ('Mixed_5b', 'MaxPool_2', AVERAGE), ('Mixed_6e', 'Mixed_6d', AVERAGE),
    ('Mixed_7b', 'Mixed_7a', AVERAGE), ('Mixed_7c', 'Mixed_7b', MAX)])
def test_pool_branches_average_inside_the_image_and_the_last_takes_the_maximum(
    state, found, stage, before, pool):
  conv = inception.Conv('branch_pool', 32 if stage == 'Mixed_5b' else 192)
  expected = plain(state, f'{stage}.branch_pool', conv, pool(found[before]))
  assert off(found[stage][..., -conv.width:], expected) < 1e-5


@pytest.mark.parametrize('stage, before', [
    ('MaxPool_1', 'Conv2d_2b_3x3'), ('MaxPool_2', 'Conv2d_4a_3x3'), ('Mixed_6a', 'Mixed_5d'),
    ('Mixed_7a', 'Mixed_6e')])
def test_pools_that_halve(found, stage, before):
  x = found[before]
  expected = windows(x, -np.inf).max(0)[:, 1:-1:2, 1:-1:2]
  np.testing.assert_array_equal(found[stage][..., -x.shape[3]:], expected)


def test_a_branch_whose_ends_stand_side_by_side(state, found):
  x, name = found['Mixed_7a'], 'Mixed_7b.branch3x3dbl'
  for layer in (inception.Conv('_1', 448), inception.Conv('_2', 384, (3, 3))):
    x = plain(state, name + layer.name, layer, x)
  ends = (inception.Conv('_3a', 384, (1, 3)), inception.Conv('_3b', 384, (3, 1)))
  expected = np.concatenate([plain(state, name + end.name, end, x) for end in ends], -1)
  assert off(found['Mixed_7b'][..., 1088:1856], expected) < 1e-5


def test_outputs(state, found):
  pooled = found['Mixed_7c'].astype(np.float64).mean((1, 2))
  assert off(found['pool3'], pooled) < 1e-6
  logits = pooled @ state['fc.weight'].T.astype(np.float64)
  assert off(found['logits_unbiased'], logits) < 1e-5
  assert off(found['logits'], logits + state['fc.bias']) < 1e-5
  assert off(found['logits_unbiased'], found['logits']) > 1e-2


def test_sizes_are_the_published_ones(state):
  assert 0 < weights.WEIGHTS['inception'].bytes - 4 * sum(a.size for a in state.values()) < 100_000
  params = inception.from_torch(state)
  x = jax.ShapeDtypeStruct((5, inception.SIDE, inception.SIDE, 3), jnp.float32)
  shapes = {name: value.shape for name, value in jax.eval_shape(inception.apply, params, x).items()}
  assert shapes.pop('pool3') == (5, 2048)
  assert shapes.pop('logits') == shapes.pop('logits_unbiased') == (5, 1008)
  assert shapes == {name: (5, n, n, width) for name, (n, width) in SIDES.items()}


def test_random_activations_are_of_order_one(found):
  for name, value in found.items():
    assert 0.1 < np.sqrt(np.square(value).mean()) < 10, name


def test_batch_norms_are_folded_in_float64(state):
  odd = dict(state)
  name = 'Conv2d_1a_3x3'
  odd[f'{name}.bn.running_var'] = np.zeros(32, np.float32)
  odd[f'{name}.bn.running_mean'] = np.full(32, 1000, np.float32)
  odd[f'{name}.bn.bias'] = np.full(32, 31622.776, np.float32)
  odd[f'{name}.bn.weight'] = np.ones(32, np.float32)
  found = inception.from_torch(odd)
  np.testing.assert_allclose(
      found[f'{name}.kernel'],
      state[f'{name}.conv.weight'].transpose(2, 3, 1, 0).astype(np.float64) / np.sqrt(1e-3),
      rtol=1e-7)
  exact = np.float64(np.float32(31622.776)) - 1000 / np.sqrt(1e-3)
  np.testing.assert_allclose(found[f'{name}.bias'], exact, rtol=1e-6)  # in float32 nothing is left
  assert {a.dtype for a in found.values()} == {np.dtype(np.float32)}


def test_other_weights_are_refused(state):
  today = {**state, 'fc.weight': np.zeros((1000, 2048), np.float32),
           'AuxLogits.fc.bias': np.zeros(1000, np.float32)}
  del today['Mixed_7c.branch_pool.bn.running_var']
  with pytest.raises(BadInput) as error:
    inception.from_torch(today)
  for word in ('Inception-2015-12-05', '1 missing (Mixed_7c.branch_pool.bn.running_var)',
               '1 unknown (AuxLogits.fc.bias)', 'fc.weight (1000, 2048) for (1008, 2048)'):
    assert word in str(error.value)
  counted = {**state, 'Conv2d_1a_3x3.bn.num_batches_tracked': np.array(0)}
  assert set(inception.from_torch(counted)) == set(inception.from_torch(state))


@pytest.mark.parametrize('shape, dtype', [
    ((2, 74, 299, 3), 'float32'), ((2, 299, 299, 1), 'float32'), ((2, 3, 299, 299), 'float32'),
    ((299, 299, 3), 'float32'), ((2, 299, 299, 3), 'uint8')])
def test_what_is_no_input_is_refused(shape, dtype):
  with pytest.raises(BadInput, match='allowed: floats in'):
    jax.eval_shape(inception.apply, {}, jax.ShapeDtypeStruct(shape, dtype))
