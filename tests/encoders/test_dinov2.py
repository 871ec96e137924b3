"""DINOv2 in JAX: what it computes against PyTorch, and what it takes."""

import jax
import numpy as np
import pytest
import scipy.special

from genjax.encoders import dinov2, weights
from genjax.types import BadInput

SMALL = dinov2.Size(3, 128)


def images(batch, side=dinov2.SIDE, seed=1):
  return np.random.default_rng(seed).integers(0, 256, (batch, side, side, 3), np.uint8)


def state_of(size, seed=0):
  return dinov2.random_state(np.random.default_rng(seed), *size)


apply = jax.jit(dinov2.apply, static_argnums=2)


def peer(state, size, x):
  """Hidden states and x_norm of transformers' Dinov2Model (PyTorch) with the same weights.

  Given position embeddings of the grid of 16: its own interpolation is not the published one.
  """
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  state = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
  config = transformers.Dinov2Config(
      hidden_size=size.width, num_hidden_layers=size.depth, image_size=dinov2.SIDE,
      num_attention_heads=size.width // dinov2.HEAD, patch_size=14, layer_norm_eps=1e-6,
      hidden_act='gelu', qkv_bias=True)
  model = transformers.Dinov2Model(config).eval()
  named = {'embeddings.cls_token': state['cls_token'],
           'embeddings.mask_token': state['mask_token'],
           'embeddings.position_embeddings': published_positions(torch, state['pos_embed'], 16),
           'embeddings.patch_embeddings.projection.weight': state['patch_embed.proj.weight'],
           'embeddings.patch_embeddings.projection.bias': state['patch_embed.proj.bias'],
           'layernorm.weight': state['norm.weight'], 'layernorm.bias': state['norm.bias']}
  for i in range(size.depth):
    ours, theirs = f'blocks.{i}.', f'encoder.layer.{i}.'
    for leaf in ('weight', 'bias'):
      for part, value in zip('qkv', state[f'{ours}attn.qkv.{leaf}'].chunk(3), strict=True):
        named[f'{theirs}attention.{part}_proj.{leaf}'] = value
      named[f'{theirs}attention.o_proj.{leaf}'] = state[f'{ours}attn.proj.{leaf}']
      for name in ('norm1', 'norm2', 'mlp.fc1', 'mlp.fc2'):
        named[f'{theirs}{name}.{leaf}'] = state[f'{ours}{name}.{leaf}']
    for k in '12':
      named[f'{theirs}layer_scale{k}.lambda1'] = state[f'{ours}ls{k}.gamma']
  model.load_state_dict(named)
  pixels = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
  pixels = (pixels - torch.tensor(dinov2.MEAN)[:, None, None]) / torch.tensor(
      dinov2.STD)[:, None, None]
  with torch.no_grad():
    found = model(pixel_values=pixels, output_hidden_states=True)
  return [h.numpy() for h in found.hidden_states], found.last_hidden_state.numpy()


def published_positions(torch, embeddings, grid):
  """The call of PyTorch with which the published code interpolates, at its defaults."""
  square = embeddings[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
  made = torch.nn.functional.interpolate(square, mode='bicubic', antialias=False,
                                         scale_factor=(float(grid + 0.1) / 37,) * 2)
  assert made.shape[2:] == (grid, grid)
  return torch.cat([embeddings[:, :1], made.permute(0, 2, 3, 1).reshape(1, grid**2, -1)], 1)


def in_float64(state, size, x):
  """The tokens before and after each block and after the last norm, written out without JAX."""
  p = {name: array.astype(np.float64) for name, array in state.items()}

  def norm(h, name):
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
    return h * p[name + '.weight'] + p[name + '.bias']

  def affine(h, name):
    return h @ p[name + '.weight'].T + p[name + '.bias']

  x = (x / 255 - dinov2.MEAN) / dinov2.STD
  grid = x.shape[1] // 14
  rows = [[np.einsum('bijc,ocij->bo', x[:, 14 * r:14 * r + 14, 14 * c:14 * c + 14],
                     p['patch_embed.proj.weight']) for c in range(grid)] for r in range(grid)]
  h = np.stack([h for row in rows for h in row], 1) + p['patch_embed.proj.bias']
  cls = np.broadcast_to(p['cls_token'], (len(x), 1, size.width))
  h = np.concatenate([cls, h], 1) + dinov2.positions(state['pos_embed'], grid)
  found = [h]
  for i in range(size.depth):
    name = f'blocks.{i}.'
    q, k, v = np.split(affine(norm(h, name + 'norm1'), name + 'attn.qkv'), 3, -1)
    heads = []
    for part in np.split(np.arange(size.width), size.width // 64):
      a = np.exp(np.einsum('bqc,bkc->bqk', q[..., part], k[..., part]) / 8)
      heads.append(np.einsum('bqk,bkc->bqc', a / a.sum(-1, keepdims=True), v[..., part]))
    h = h + p[name + 'ls1.gamma'] * affine(np.concatenate(heads, -1), name + 'attn.proj')
    m = affine(norm(h, name + 'norm2'), name + 'mlp.fc1')
    m = m * (1 + scipy.special.erf(m / np.sqrt(2))) / 2
    h = h + p[name + 'ls2.gamma'] * affine(m, name + 'mlp.fc2')
    found.append(h)
  return found, norm(h, 'norm')


def error(found, expected):
  """Largest difference in standard deviations of what is expected."""
  return np.abs(np.asarray(found) - expected).max() / expected.std()


@pytest.mark.parametrize('scale', [1.0, 1e-3])  # with small tokens the norms' epsilon counts
def test_every_block_agrees_with_its_formula(scale):
  state, x = state_of(SMALL), images(2, 56)
  for name in ('cls_token', 'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias'):
    state[name] *= scale
  hidden, last = in_float64(state, SMALL, x)
  found = apply(dinov2.from_torch(state, SMALL, 56), x, True)
  assert error(found['tokens'], hidden[0]) < 5e-5
  assert all(error(a, b) < 5e-5 for a, b in zip(found['blocks'], hidden[1:], strict=True))
  assert error(found['cls'], last[:, 0]) < 5e-5
  assert error(found['patches'], last[:, 1:]) < 5e-5


@pytest.mark.parametrize('size', [SMALL, dinov2.Size(1, 1024)])
def test_every_block_agrees_with_pytorch(size):
  state, x = state_of(size), images(2)
  hidden, last = peer(state, size, x)
  found = apply(dinov2.from_torch(state, size), x, True)
  assert error(found['tokens'], hidden[0]) < 5e-5
  for i in range(size.depth):
    assert np.std(hidden[i + 1] - hidden[i]) > 0.1  # else nothing of the block would be compared
    assert error(found['blocks'][i], hidden[i + 1]) < 5e-5
  assert error(found['cls'], last[:, 0]) < 5e-5
  assert error(found['patches'], last[:, 1:]) < 5e-5


@pytest.mark.parametrize('grid', [1, 16, 36, 38, 50])
def test_positions_agree_with_pytorch(grid):
  torch = pytest.importorskip('torch')
  embeddings = np.random.default_rng(0).standard_normal((1, 1370, 5)).astype(np.float32)
  expected = published_positions(torch, torch.from_numpy(embeddings), grid)[0].numpy()
  found = dinov2.positions(embeddings, grid)
  assert found.shape == expected.shape and found.dtype == np.float32
  np.testing.assert_allclose(found, expected, atol=2e-5)
  assert grid == 1 or np.abs(_filled(embeddings, grid) - expected).max() > 1e-3


def _filled(embeddings, grid):
  """What a scale of grid / 37, without the offset, would give."""
  saved, dinov2.OFFSET = dinov2.OFFSET, 0.0
  try:
    return dinov2.positions(embeddings, grid)
  finally:
    dinov2.OFFSET = saved


def test_positions_are_sampled_where_they_should_be():
  """37 / 16.1 apart, the first at 0.649: read off a slope, which cubics bend by less than 0.05."""
  i = np.repeat(np.arange(37.0), 37)
  slope = np.concatenate([[-7.0], i])[None, :, None].astype(np.float32)
  found = dinov2.positions(slope, 16)[:, 0]
  assert found[0] == -7
  at = 0.5 * 37 / 16.1 - 0.5 + np.arange(16) * 37 / 16.1
  assert at[0] == pytest.approx(0.649, abs=1e-3)
  np.testing.assert_allclose(found[1:].reshape(16, 16), np.repeat(at[:, None], 16, 1), atol=0.1)
  np.testing.assert_allclose(found[1:].reshape(16, 16)[1:15, 3], at[1:15], atol=0.05)
  assert (dinov2.positions(slope, 37) == slope[0]).all()
  row = (i == 1)[None, :, None].astype(np.float32)  # A = -0.75: 1.25 d^3 - 2.25 d^2 + 1, d = 0.351
  row = np.concatenate([np.zeros((1, 1, 1), np.float32), row], 1)
  assert dinov2.positions(row, 16)[1, 0] == pytest.approx(0.77693, abs=1e-5)


def test_sizes_are_those_of_the_published_files():
  """What a published file has beside its numbers is 325 bytes an array, at both sizes."""
  for size, name in (('b', 'dinov2_b'), ('l', 'dinov2_l')):
    shapes = dinov2.shapes(dinov2.SIZES[size])
    rest = weights.WEIGHTS[name].bytes - 4 * sum(int(np.prod(s)) for s in shapes.values())
    assert 320 < rest / len(shapes) < 330


def test_images_are_taken_one_by_one_and_in_any_type():
  size, x = dinov2.Size(2, 64), images(4, 42)
  params = dinov2.from_torch(state_of(size), size, 42)
  whole = apply(params, x)['cls']
  assert whole.shape == (4, 64) and whole.dtype == np.float32
  np.testing.assert_allclose(whole, apply(params, x.astype(np.float32))['cls'], atol=1e-6)
  np.testing.assert_allclose(whole[::-1], apply(params, x[::-1])['cls'], atol=1e-5)
  assert np.abs(whole[0] - whole[1]).max() > 0.01


def test_the_published_side():
  size = dinov2.Size(1, 64)
  state = state_of(size)
  assert (dinov2.from_torch(state, size, 518)['position'] == state['pos_embed'][0]).all()


def test_every_product_is_at_highest_precision():
  params = dinov2.from_torch(state_of(dinov2.Size(2, 64)), dinov2.Size(2, 64), 28)
  made = str(jax.make_jaxpr(dinov2.apply)(params, images(1, 28)))
  products = made.count('dot_general[')
  assert products == 7 and made.count('precision=(Precision.HIGHEST') == products


def test_what_is_refused():
  state = state_of(SMALL)
  for wrong, said in (({'norm.weight': None}, r'1 missing \(norm.weight\)'),
                      ({'register_tokens': np.zeros(3)}, r'1 unknown \(register_tokens\)'),
                      ({'cls_token': np.zeros((1, 128))}, r'cls_token \(1, 128\) for')):
    arrays = {k: v for k, v in {**state, **wrong}.items() if v is not None}
    with pytest.raises(BadInput, match=said):
      dinov2.from_torch(arrays, SMALL)
  with pytest.raises(BadInput, match='no weights of DINOv2 ViT-L/14: .* missing'):
    dinov2.from_torch(state, 'l')
  with pytest.raises(BadInput, match="size 'g' is unknown; allowed: b, l"):
    dinov2.from_torch(state, 'g')
  with pytest.raises(BadInput, match='side 225; allowed: multiples of 14'):
    dinov2.from_torch(state, SMALL, 225)
  params = dinov2.from_torch(state, SMALL)
  for shape in ((1, 225, 224, 3), (224, 224, 3), (1, 224, 224, 1), (1, 3, 224, 224)):
    with pytest.raises(BadInput, match=r'allowed: \[B, 224, 224, 3\]'):
      dinov2.apply(params, np.zeros(shape, np.uint8))
  with pytest.raises(BadInput, match='width 100'):
    dinov2.random_state(np.random.default_rng(0), 1, 100)


@pytest.mark.slow
@pytest.mark.parametrize('size', dinov2.SIZES)
def test_published_weights(size):
  """Skips, and says which file with which sha256 it wants, where there is none."""
  try:
    arrays, _ = weights.load(f'dinov2_{size}', download=False)
  except BadInput as missing:
    pytest.skip(str(missing))
  x = images(1)
  hidden, last = peer(arrays, dinov2.SIZES[size], x)
  found = apply(dinov2.from_torch(arrays, size), x)
  assert error(found['cls'], last[:, 0]) < 1e-4
