"""A user's npz: which key is what, what is an image, labels, scales; each refusal mends itself."""

import json
import warnings

import numpy as np
import pytest

from configs import defaults
from genjax import data, wiring
from genjax.data import arrays, labels
from genjax.evals import likelihood
from genjax.types import BadInput

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (40, 6, 5, 3)).astype(np.uint8)
VECTORS = RNG.standard_normal((40, 3)).astype(np.float32)
Y = np.arange(40) % 3


def write(path, **content):
  np.savez(path / 'a.npz', **content)
  return str(path / 'a.npz')


def read(path, **kw):
  """The data set, with each warning an error."""
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    return data.load('npz', path=path, **kw)


def whole(sets, key='x'):
  return np.concatenate([split[key] for split in sets.splits.values()])


@pytest.mark.parametrize(('content', 'kw', 'num_classes'), [
    ({'x': PIXELS}, {}, None),
    ({'images': PIXELS, 'labels': Y}, {}, 3),
    ({'samples': PIXELS, 'y': Y}, {}, 3),
    ({'arr_0': PIXELS, 'arr_1': Y}, {}, 3),
    ({'arr_0': PIXELS}, {}, None),
    ({'data': PIXELS, 'label': Y.astype(np.uint8)}, {}, 3),
    ({'x': PIXELS, 'cond': Y == 1}, {}, 2),
    ({'x': PIXELS, 'y': Y}, {'cond_key': 'none'}, None),
    ({'x': PIXELS, 'y': Y, 'labels': Y % 2}, {'cond_key': 'labels'}, 2),
    ({'left': PIXELS, 'right': VECTORS, 'kind': Y}, {'x_key': 'left', 'cond_key': 'kind'}, 3)])
def test_keys_are_understood_or_named(content, kw, num_classes, tmp_path):
  sets = read(write(tmp_path, **content), **kw)
  assert sets.spec[:3] == ((6, 5, 3), 256, num_classes)
  order = np.argsort([x.tobytes() for x in whole(sets)])
  np.testing.assert_array_equal(whole(sets)[order],
                                PIXELS[np.argsort([x.tobytes() for x in PIXELS])])
  if num_classes:
    kept = dict(zip((x.tobytes() for x in whole(sets)), whole(sets, 'cond'), strict=True))
    key = kw.get('cond_key') or next(k for k in arrays.COND_KEYS if k in content)
    assert [kept[x.tobytes()] for x in PIXELS] == content[key].astype(int).tolist()
    assert sets.label_counts == tuple(np.bincount(sets.splits['train']['cond'],
                                                  minlength=num_classes))


@pytest.mark.parametrize(('content', 'kw', 'words'), [
    ({'x': PIXELS, 'images': PIXELS}, {}, 'x and images may be the examples.*data.x_key=KEY'),
    ({'left': PIXELS}, {}, 'no key x, images, .* or arr_0; it has: left.*data.x_key=KEY'),
    ({'x': PIXELS, 'y': Y, 'labels': Y}, {}, 'y and labels, which may be the labels'),
    ({'x': PIXELS}, {'x_key': 'images'}, 'no key images; it has: x'),
    ({'x': PIXELS}, {'cond_key': 'y'}, 'no key y; it has: x')])
def test_a_key_that_is_unclear_is_asked_for(content, kw, words, tmp_path):
  with pytest.raises(BadInput, match=words):
    read(write(tmp_path, **content), **kw)


def test_keys_that_were_not_read_are_said(tmp_path):
  sets = read(write(tmp_path, images=PIXELS, y=Y, weights=Y, ids=Y))
  assert sets.notes == ('x is its key images', 'labels are its key y', 'skipped keys: weights, ids')
  assert '3 classes' in data.summary(sets) and 'skipped keys' in data.summary(sets)


FLOATS = PIXELS.astype(np.float32)


@pytest.mark.parametrize(('x', 'words'), [
    (PIXELS.transpose(0, 3, 1, 2), r'looks like \[N, C, H, W\].*x.transpose\(0, 2, 3, 1\)'),
    (PIXELS[..., :1].transpose(0, 3, 1, 2), r'looks like \[N, C, H, W\]'),
    (PIXELS[..., 0], r'grey images need their axis of channels, x\[..., None\]'),
    (PIXELS.reshape(40, -1), r'x.reshape\(-1, H, W, C\)'),
    (PIXELS.astype(np.int64), 'of images x.astype.np.uint8.'),
    (PIXELS.astype(np.uint16) * 257, 'these go from 0 to 65535'),
    (PIXELS > 100, r'255 \* x.astype'),
    (FLOATS, r'images of 0..255; allowed: np.rint\(x\).astype\(np.uint8\), or levels=None'),
    (FLOATS * 0.7, 'looks like images of 0..255'),
    (FLOATS.transpose(0, 3, 1, 2), 'looks like images of 0..255'),
    (FLOATS[..., 0], 'looks like images of 0..255'),
    (np.full((40, 2), 1e300), 'not finite in float32'),
    (np.zeros((0, 2)), r'\(0, 2\); allowed: at least one'),
    (np.zeros((40, 0, 3)), 'at least one'),
    (np.array(['a'] * 40), 'allowed: uint8'),
    (VECTORS + 1j, 'complex')])
def test_arrays_in_another_convention_are_refused_with_what_mends_them(x, words, tmp_path):
  with pytest.raises(BadInput, match=words):
    read(write(tmp_path, x=x))


@pytest.mark.parametrize(('x', 'kw'), [
    (FLOATS, {'levels': None}), (VECTORS, {}), (FLOATS / 51 - 2, {}),
    (np.abs(VECTORS).repeat(10, 1), {}), (RNG.randint(0, 9, (40, 4)).astype(float), {})])
def test_continuous_values_stay_as_they_are(x, kw, tmp_path):
  sets = read(write(tmp_path, x=x), **kw)
  assert sets.spec[:3] == (x.shape[1:], None, None)
  assert sorted(map(bytes, whole(sets))) == sorted(map(bytes, x.astype(np.float32)))


@pytest.mark.parametrize(('x', 'words'), [
    (FLOATS / 255, r'np.rint\(255 \* x\)'), (FLOATS / 127.5 - 1, r'127.5 \* \(x \+ 1\)'),
    (FLOATS.reshape(40, -1), 'if its rows are images'),
    (np.concatenate([PIXELS, PIXELS[..., :1]], -1), 'is the last one transparency'),
    (VECTORS * [1, 1, 1000], r'column 2 is .* times that of column [01].*data.standardise=True'),
    (VECTORS * [1, 1, 0], 'column 2 does not vary')])
def test_what_is_probably_something_else_is_warned_of(x, words, tmp_path):
  with pytest.warns(UserWarning, match=words):
    data.load('npz', path=write(tmp_path, x=x))


LARGE = np.where(np.arange(40) == 7, 2**40, Y)


@pytest.mark.parametrize(('cond', 'words'), [
    (LARGE, f'largest label is {2**40}'), (LARGE.astype(np.uint64) + 2**63, 'largest label is'),
    (np.where(np.arange(40) == 7, 100000, 0), 'only 2 of 100001 occur.*return_inverse'),
    (Y - 1, 'smallest label is -1'), (Y[:-1], '39'), (np.eye(3)[Y], r'labels.argmax\(1\)'),
    (Y + 0.5, 'float64.*cond_key=none'), (np.array(3), 'allowed: 40 integers')])
def test_labels_that_are_none_are_refused_and_never_wrapped(cond, words, tmp_path):
  with pytest.raises(BadInput, match=words):
    read(write(tmp_path, x=PIXELS, y=cond))


@pytest.mark.parametrize(('cond', 'extra', 'kw', 'classes', 'num_classes'), [
    (np.array(['cat', 'dog', 'ant'])[Y], {}, {}, ('ant', 'cat', 'dog'), 3),
    (Y, {'classes': np.array(['a', 'b', 'c'])}, {}, ('a', 'b', 'c'), 3),
    (Y, {}, {'num_classes': 5}, None, 5),
    (100000 * (Y == 0), {}, {'num_classes': 100001}, None, 100001),
    (Y.astype('>i8'), {}, {}, None, 3)])
def test_labels_and_their_names(cond, extra, kw, classes, num_classes, tmp_path):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of labels that never occur
    sets = data.load('npz', path=write(tmp_path, x=PIXELS, y=cond, **extra), **kw)
  assert (sets.classes, sets.spec.num_classes) == (classes, num_classes)
  named = {0: 'cat', 1: 'dog', 2: 'ant'}
  kept = dict(zip((x.tobytes() for x in whole(sets)), whole(sets, 'cond'), strict=True))
  for x, label, y in zip(PIXELS, cond, Y, strict=True):
    assert classes and classes[0] == 'ant' and classes[kept[x.tobytes()]] == named[y] or (
        kept[x.tobytes()] == int(label) if cond.dtype.kind != 'U' else False)


def test_labels_that_never_occur_are_warned_of(tmp_path):
  with pytest.warns(UserWarning, match='1 of 4 labels never occur, the first is 0'):
    data.load('npz', path=write(tmp_path, x=PIXELS, y=Y + 1))


SETS = {names: data.Dataset('mine', data.load('digits').spec._replace(num_classes=3), {}, {},
                            classes=names)
        for names in (None, ('ant', 'bee', 'cat'), ('10', '2', '30'), ('none', 'some', 'all'))}


@pytest.mark.parametrize(('names', 'text', 'label'), [
    (None, '2', 2), (None, '3', 3), (None, 'none', 3), (('ant', 'bee', 'cat'), 'cat', 2),
    (('ant', 'bee', 'cat'), '1', 1), (('ant', 'bee', 'cat'), 'none', 3),
    (('10', '2', '30'), '2', 1),
    (('10', '2', '30'), '10', 0), (('none', 'some', 'all'), 'none', 0)])
def test_a_class_by_name_or_number(names, text, label):
  assert labels.of_text(text, SETS[names]) == label


@pytest.mark.parametrize(('names', 'text', 'words'), [
    (None, '4', 'cond=4 .*0..2, 3 or none'), (None, '-1', '0..2'), (None, 'cat', 'cond=cat .*0..2'),
    (('ant', 'bee', 'cat'), 'cta', "did you mean 'cat'.*ant, bee, cat"),
    (('10', '2', '30'), '1', 'allowed: 10, 2, 30, none for no label')])
def test_a_class_that_there_is_not(names, text, words):
  with pytest.raises(BadInput, match=words):
    labels.of_text(text, SETS[names])
  with pytest.raises(BadInput, match='has no labels'):
    labels.of_text('0', SETS[names]._replace(spec=SETS[names].spec._replace(num_classes=None)))


SCALE = np.array([1e-3, 1.0, 1000.0])
MEAN = np.array([5.0, 0.0, -300.0])


def gaussian_nats(path, **kw):
  """NLL of the test split under the fitted full Gaussian, in nats of the raw data; the data."""
  sets = data.load('npz', path=path, **kw)
  config = defaults.get()
  with config.unlocked():
    config.data.kw = {'path': path, **kw}
    config.data.name, config.model.family, config.objective.name = 'npz', 'gaussian', 'kl'
    config.model.kw = {}
  run = wiring.run(config)
  evaluate = wiring.evaluator('likelihood', {}, model=run.model, family='gaussian', dataset=sets,
                             split='test', encoder=None, num_samples=1, seed=0)
  return evaluate(wiring.fit(config, run), None)['nll_exact_nats'], sets


def test_likelihoods_of_standardised_data_are_of_the_raw_data(tmp_path):
  """A full Gaussian is the same density in any units: -log N(raw; mean, S S) by numpy."""
  z = np.random.RandomState(1).standard_normal((2000, 3)) @ np.array(
      [[1, 0, 0], [0.5, 1, 0], [0.2, -0.3, 1]]).T
  path = write(tmp_path, x=z * SCALE + MEAN)
  found, sets = gaussian_nats(path, standardise=True)
  raw = {split: data.to_raw(sets, a['x']).astype(np.float64) for split, a in sets.splits.items()}
  mean, covariance = raw['train'].mean(0), np.cov(raw['train'].T, bias=True)
  gap = raw['test'] - mean
  expected = 0.5 * (np.einsum('ni,ij,nj->n', gap, np.linalg.inv(covariance), gap)
                    + np.linalg.slogdet(2 * np.pi * covariance)[1]).mean()
  assert found.value == pytest.approx(expected, abs=2e-3)
  assert found.card['of'].startswith('raw values')
  assert found.card['dequantisation'] == 'none' and likelihood.KINDS['exact'] == 'exact'
  np.testing.assert_allclose(sets.splits['train']['x'].mean(0), 0, atol=1e-4)
  np.testing.assert_allclose(sets.splits['train']['x'].std(0), 1, atol=1e-4)


def test_standardising_is_part_of_the_identity_and_undone_in_samples(tmp_path):
  x = VECTORS * SCALE + MEAN
  path = write(tmp_path, x=x)
  scaled, plain = read(path, standardise=True), data.load('npz', path=path)
  assert scaled.identity['kw']['standardise'] and scaled.identity['sha256'] != plain.identity[
      'sha256'] and 'raw' in scaled.identity['recipe']
  for split in plain.splits:
    np.testing.assert_allclose(data.to_raw(scaled, scaled.splits[split]['x']),
                               plain.splits[split]['x'], rtol=1e-5, atol=1e-6)
  facts = json.loads(json.dumps(data.describe(scaled)))
  again = data.described(facts, scaled.identity)
  np.testing.assert_allclose(data.to_raw(again, np.zeros((1, 3))), scaled.standardised[0][None],
                             rtol=1e-6)
  assert 'standardised by train' in data.summary(scaled)
  np.testing.assert_array_equal(data.to_raw(plain, x), x)


@pytest.mark.parametrize(('content', 'kw', 'words'), [
    ({'x': PIXELS}, {'standardise': True}, 'standardise=True.*continuous'),
    ({'x': VECTORS}, {'standardise': 1}, 'standardise=1'),
    ({'x': VECTORS * [1, 0, 1]}, {'standardise': True}, 'component 1 of x does not vary'),
    ({'x': PIXELS}, {'levels': None}, 'levels=None says'),
    ({'x': PIXELS, 'y': Y}, {'num_classes': 0}, 'num_classes=0'),
    ({'x': PIXELS, 'y': Y}, {'num_classes': 2}, 'largest label is 2, of 2 classes'),
    ({'x': PIXELS, 'y': Y, 'classes': np.array(['a', 'a', 'b'])}, {}, '2 different')])
def test_arguments_that_do_not_fit_the_data(content, kw, words, tmp_path):
  with pytest.raises(BadInput, match=words):
    read(write(tmp_path, **content), **kw)
